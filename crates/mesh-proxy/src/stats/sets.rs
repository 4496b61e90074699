//! The sets of statistics the proxy keeps, under the names Envoy gives them.
//!
//! Only what is really counted is declared: a statistic that could never move
//! would lie.

use std::sync::OnceLock;

use parking_lot::Mutex;

use super::{Counter, Gauge, StatSet, Value, stat_set};

stat_set! {
    /// `cluster.<name>.`
    ClusterStats {
        counters: [
            assignment_stale, bind_errors, init_fetch_timeout, lb_healthy_panic, membership_change,
            retry_or_shadow_abandoned, update_attempt, update_empty, update_failure, update_no_rebuild,
            update_rejected, update_success, upstream_cx_close_notify, upstream_cx_connect_attempts_exceeded,
            upstream_cx_connect_fail, upstream_cx_connect_timeout, upstream_cx_destroy,
            upstream_cx_destroy_local, upstream_cx_destroy_local_with_active_rq, upstream_cx_destroy_remote,
            upstream_cx_destroy_remote_with_active_rq, upstream_cx_destroy_with_active_rq,
            upstream_cx_http1_total, upstream_cx_http2_total, upstream_cx_idle_timeout,
            upstream_cx_max_requests, upstream_cx_none_healthy, upstream_cx_overflow, upstream_cx_protocol_error,
            upstream_cx_rx_bytes_total, upstream_cx_total, upstream_cx_tx_bytes_total,
            upstream_rq_cancelled, upstream_rq_completed, upstream_rq_pending_failure_eject,
            upstream_rq_pending_overflow, upstream_rq_pending_total, upstream_rq_per_try_timeout,
            upstream_rq_retry, upstream_rq_retry_backoff_exponential, upstream_rq_retry_limit_exceeded,
            upstream_rq_retry_overflow, upstream_rq_retry_success, upstream_rq_rx_reset, upstream_rq_timeout,
            upstream_rq_total, upstream_rq_tx_reset, upstream_rq_1xx, upstream_rq_2xx, upstream_rq_3xx,
            upstream_rq_4xx, upstream_rq_5xx,
        ],
        gauges: [
            max_host_weight, membership_degraded, membership_excluded, membership_healthy, membership_total,
            upstream_cx_active, upstream_rq_active, upstream_rq_pending_active, warming_state,
        ],
        histograms: [upstream_cx_connect_ms, upstream_cx_length_ms, upstream_rq_time],
        more: [codes: StatusCodes, outlier: OutlierStats, grpc: GrpcStats, ssl: Ssl<true>],
    }
}

stat_set! {
    /// `http.<stat_prefix>.`
    HttpStats {
        counters: [
            downstream_cx_destroy, downstream_cx_destroy_active_rq, downstream_cx_destroy_local,
            downstream_cx_destroy_remote, downstream_cx_drain_close, downstream_cx_http1_total,
            downstream_cx_http2_total, downstream_cx_idle_timeout, downstream_cx_max_duration_reached,
            downstream_cx_max_requests_reached, downstream_cx_protocol_error, downstream_cx_rx_bytes_total,
            downstream_cx_total, downstream_cx_tx_bytes_total, downstream_cx_upgrades_total,
            downstream_rq_1xx, downstream_rq_2xx, downstream_rq_3xx, downstream_rq_4xx, downstream_rq_5xx,
            downstream_rq_completed, downstream_rq_failed_path_normalization, downstream_rq_header_timeout,
            downstream_rq_http1_total, downstream_rq_http2_total, downstream_rq_idle_timeout,
            downstream_rq_max_duration_reached, downstream_rq_non_relative_path,
            downstream_rq_redirected_with_normalized_path, downstream_rq_response_before_rq_complete,
            downstream_rq_rx_reset, downstream_rq_timeout, downstream_rq_too_large, downstream_rq_total,
            downstream_rq_tx_reset, downstream_rq_ws_on_non_ws_route, no_cluster, no_route, rq_direct_response,
            rq_redirect, rq_reset_after_downstream_response_started, rq_total,
        ],
        gauges: [
            downstream_cx_active, downstream_cx_http1_active, downstream_cx_http2_active,
            downstream_cx_upgrades_active, downstream_rq_active,
        ],
        histograms: [downstream_cx_length_ms, downstream_rq_time],
    }
}

stat_set! {
    /// `tcp.<stat_prefix>.`
    TcpStats {
        counters: [
            downstream_cx_no_route, downstream_cx_rx_bytes_total, downstream_cx_total,
            downstream_cx_tx_bytes_total, idle_timeout, max_downstream_connection_duration,
        ],
        gauges: [downstream_cx_active],
        histograms: [downstream_cx_length_ms],
    }
}

stat_set! {
    /// `listener.<address>.`
    ListenerStats {
        counters: [
            downstream_cx_destroy, downstream_cx_overflow, downstream_cx_total, downstream_listener_filter_error,
            downstream_listener_filter_remote_close, downstream_pre_cx_timeout, no_filter_chain_match,
        ],
        gauges: [downstream_cx_active, downstream_pre_cx_active],
        histograms: [downstream_cx_length_ms],
        more: [ssl: Ssl<false>],
    }
}

stat_set! {
    /// `cluster_manager.`
    ClusterSetStats {
        counters: [cluster_added, cluster_modified, cluster_removed, cluster_updated],
        gauges: [active_clusters, warming_clusters],
        histograms: [],
    }
}

stat_set! {
    /// `listener_manager.`
    ListenerSetStats {
        counters: [
            listener_added, listener_create_failure, listener_create_success, listener_in_place_updated,
            listener_modified, listener_removed, listener_stopped,
        ],
        gauges: [
            total_filter_chains_draining, total_listeners_active, total_listeners_draining, total_listeners_warming,
            workers_started,
        ],
        histograms: [],
    }
}

stat_set! {
    /// `cluster_manager.cds.`, `listener_manager.lds.`, `http.<prefix>.rds.<name>.`
    DiscoveryStats {
        counters: [config_reload, init_fetch_timeout, update_attempt, update_failure, update_rejected, update_success],
        gauges: [config_reload_time_ms, update_time, version],
        histograms: [],
        more: [version_text: VersionText],
    }
}

stat_set! {
    /// `control_plane.`
    ControlPlaneStats {
        counters: [rate_limit_enforced],
        gauges: [connected_state, pending_requests],
        histograms: [],
        more: [identifier: Identifier],
    }
}

stat_set! {
    /// `server.`
    ServerStats {
        counters: [dynamic_unknown_fields, static_unknown_fields],
        gauges: [
            concurrency, days_until_first_cert_expiring, hot_restart_epoch, live, memory_allocated, memory_heap_size,
            memory_physical_size, parent_connections, state, total_connections, uptime, version,
        ],
        histograms: [initialization_time_ms],
    }
}

/// Requests by exact status: `upstream_rq_200` and so on. Allocated on the
/// first response.
#[derive(Default)]
pub(crate) struct StatusCodes(OnceLock<Box<[Counter]>>);

impl StatusCodes {
    pub(crate) fn inc(&self, status: u16) {
        let codes = self.0.get_or_init(|| (0..500).map(|_| Counter::default()).collect());
        if let Some(counter) = (status as usize).checked_sub(100).and_then(|i| codes.get(i)) {
            counter.inc();
        }
    }
}

impl StatSet for StatusCodes {
    fn visit(&self, see: &mut dyn FnMut(&str, Value<'_>)) {
        for (i, counter) in self.0.get().into_iter().flat_map(|c| c.iter().enumerate()) {
            if counter.value() > 0 {
                see(&format!("upstream_rq_{}", i + 100), Value::Counter(counter));
            }
        }
    }
}

impl ClusterStats {
    /// Counts one finished response, by status.
    pub(crate) fn count_status(&self, status: u16) {
        self.upstream_rq_completed.inc();
        match status / 100 {
            1 => self.upstream_rq_1xx.inc(),
            2 => self.upstream_rq_2xx.inc(),
            3 => self.upstream_rq_3xx.inc(),
            4 => self.upstream_rq_4xx.inc(),
            _ => self.upstream_rq_5xx.inc(),
        }
        self.codes.inc(status);
    }
}

impl HttpStats {
    /// Counts one response sent downstream, by status.
    pub(crate) fn count_status(&self, status: u16) {
        self.downstream_rq_completed.inc();
        match status / 100 {
            1 => self.downstream_rq_1xx.inc(),
            2 => self.downstream_rq_2xx.inc(),
            3 => self.downstream_rq_3xx.inc(),
            4 => self.downstream_rq_4xx.inc(),
            _ => self.downstream_rq_5xx.inc(),
        }
    }
}

/// `outlier_detection.` within a cluster.
#[derive(Default)]
pub(crate) struct OutlierStats {
    pub(crate) ejections_active: Gauge,
    pub(crate) ejections_enforced_total: Counter,
    pub(crate) ejections_detected: Counter,
}

impl StatSet for OutlierStats {
    fn visit(&self, see: &mut dyn FnMut(&str, Value<'_>)) {
        see("outlier_detection.ejections_detected", Value::Counter(&self.ejections_detected));
        see("outlier_detection.ejections_enforced_total", Value::Counter(&self.ejections_enforced_total));
        see("outlier_detection.ejections_active", Value::Gauge(self.ejections_active.value()));
    }
}

/// `grpc.` within a cluster, for chains that have the gRPC statistics filter.
#[derive(Default)]
pub(crate) struct GrpcStats {
    success: Counter,
    failure: Counter,
    total: Counter,
    codes: OnceLock<[Counter; GRPC_CODES]>,
}

impl GrpcStats {
    /// Counts one call that ended with `status`; `None` if it ended without one.
    pub(crate) fn count(&self, status: Option<u32>) {
        self.total.inc();
        if status == Some(0) {
            self.success.inc()
        } else {
            self.failure.inc()
        }
        if let Some(status) = status
            && let Some(code) = self.codes.get_or_init(Default::default).get(status as usize)
        {
            code.inc();
        }
    }
}

impl StatSet for GrpcStats {
    fn visit(&self, see: &mut dyn FnMut(&str, Value<'_>)) {
        if self.total.value() == 0 {
            return;
        }
        see("grpc.success", Value::Counter(&self.success));
        see("grpc.failure", Value::Counter(&self.failure));
        see("grpc.total", Value::Counter(&self.total));
        for (code, counter) in self.codes.get().into_iter().flatten().enumerate() {
            if counter.value() > 0 {
                see(&format!("grpc.{code}"), Value::Counter(counter));
            }
        }
    }
}

/// gRPC statuses are 0 to 16.
const GRPC_CODES: usize = 17;

/// `ssl.` within a listener, or within a cluster (`UPSTREAM`). Allocated on the
/// first handshake: most have none.
#[derive(Default)]
pub(crate) struct Ssl<const UPSTREAM: bool>(OnceLock<Box<SslStats>>);

/// See [`Ssl`].
#[derive(Default)]
pub(crate) struct SslStats {
    pub(crate) handshake: Counter,
    pub(crate) connection_error: Counter,
    pub(crate) fail_verify_no_cert: Counter,
    pub(crate) fail_verify_error: Counter,
    pub(crate) fail_verify_san: Counter,
    pub(crate) fail_verify_cert_hash: Counter,
    pub(crate) no_certificate: Counter,
    pub(crate) session_reused: Counter,
    pub(crate) secrets_not_ready: Counter,
    tls12: Counter,
    tls13: Counter,
}

impl<const UPSTREAM: bool> std::ops::Deref for Ssl<UPSTREAM> {
    type Target = SslStats;

    fn deref(&self) -> &SslStats {
        self.0.get_or_init(Box::default)
    }
}

impl SslStats {
    /// Counts a finished handshake.
    pub(crate) fn count(&self, facts: &mesh_engine::tls::TlsFacts) {
        self.handshake.inc();
        if facts.peer.is_none() {
            self.no_certificate.inc();
        }
        if facts.resumed {
            self.session_reused.inc();
        }
        match facts.version {
            mesh_engine::tls::Version::V12 => self.tls12.inc(),
            mesh_engine::tls::Version::V13 => self.tls13.inc(),
        }
    }
}

impl<const UPSTREAM: bool> StatSet for Ssl<UPSTREAM> {
    fn visit(&self, see: &mut dyn FnMut(&str, Value<'_>)) {
        let Some(s) = self.0.get() else { return };
        for (name, counter) in [
            ("ssl.handshake", &s.handshake),
            ("ssl.connection_error", &s.connection_error),
            ("ssl.fail_verify_no_cert", &s.fail_verify_no_cert),
            ("ssl.fail_verify_error", &s.fail_verify_error),
            ("ssl.fail_verify_san", &s.fail_verify_san),
            ("ssl.fail_verify_cert_hash", &s.fail_verify_cert_hash),
            ("ssl.no_certificate", &s.no_certificate),
            ("ssl.session_reused", &s.session_reused),
            ("ssl.versions.TLSv1.2", &s.tls12),
            ("ssl.versions.TLSv1.3", &s.tls13),
        ] {
            see(name, Value::Counter(counter));
        }
        let not_ready = match UPSTREAM {
            true => "client_ssl_socket_factory.upstream_context_secrets_not_ready",
            false => "server_ssl_socket_factory.downstream_context_secrets_not_ready",
        };
        see(not_ready, Value::Counter(&s.secrets_not_ready));
    }
}

/// `version_text`
#[derive(Default)]
pub(crate) struct VersionText(pub(crate) Mutex<String>);

impl StatSet for VersionText {
    fn visit(&self, see: &mut dyn FnMut(&str, Value<'_>)) {
        see("version_text", Value::Text(&self.0.lock()));
    }
}

/// `identifier`
#[derive(Default)]
pub(crate) struct Identifier(pub(crate) Mutex<String>);

impl StatSet for Identifier {
    fn visit(&self, see: &mut dyn FnMut(&str, Value<'_>)) {
        see("identifier", Value::Text(&self.0.lock()));
    }
}
