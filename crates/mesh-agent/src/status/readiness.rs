//! Whether a proxy is ready, judged by what its admin interface says.

use serde_json::Value;

/// What a proxy lacks to be ready.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// The admin interface does not answer.
    #[error("the proxy's admin interface does not answer: {why}")]
    Unreachable {
        /// What happened.
        why: String,
    },
    /// The proxy is starting or draining.
    #[error("server is not live, current state is: {state}")]
    NotLive {
        /// As `/server_info` tells it.
        state: String,
    },
    /// Its listeners do not accept yet.
    #[error("workers have not yet started")]
    NoWorkers,
    /// The control plane has not yet sent all it must.
    #[error(
        "config not fully received from XDS server: cds updates: {cds_success} successful, {cds_rejected} rejected; lds updates: {lds_success} successful, {lds_rejected} rejected"
    )]
    NoConfig {
        /// Cluster updates accepted.
        cds_success: u64,
        /// Cluster updates refused.
        cds_rejected: u64,
        /// Listener updates accepted.
        lds_success: u64,
        /// Listener updates refused.
        lds_rejected: u64,
    },
    /// It was told to end.
    #[error("the proxy is terminating")]
    Terminating,
}

/// Judges by the text of `/server_info` (JSON) and of `/stats` (lines
/// `name: value`).
///
/// # Errors
/// [`NotReady`]: the first thing that is missing.
pub fn judge(server_info: &str, stats: &str) -> Result<(), NotReady> {
    let info: Value = serde_json::from_str(server_info).unwrap_or_default();
    // Envoy leaves out the value 0, which is LIVE.
    let state = info.get("state").and_then(Value::as_str).unwrap_or(if info.is_object() { "LIVE" } else { "unknown" });
    if state != "LIVE" {
        return Err(NotReady::NotLive { state: state.to_owned() });
    }
    let stat = |name: &str| -> Option<u64> {
        let values = stats.lines().filter_map(|line| line.split_once(": "));
        values.filter(|(n, _)| *n == name).find_map(|(_, value)| value.trim().parse().ok())
    };
    if stat("listener_manager.workers_started").is_none_or(|started| started == 0) {
        return Err(NotReady::NoWorkers);
    }
    let count = |name: &str| stat(name).unwrap_or(0);
    let cds_success = count("cluster_manager.cds.update_success");
    let lds_success = count("listener_manager.lds.update_success");
    if cds_success > 0 && lds_success > 0 {
        return Ok(());
    }
    let cds_rejected = count("cluster_manager.cds.update_rejected");
    let lds_rejected = count("listener_manager.lds.update_rejected");
    Err(NotReady::NoConfig { cds_success, cds_rejected, lds_success, lds_rejected })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(state: &str, stats: &str, expected: &str) {
        let found = judge(state, stats).map_or_else(|why| why.to_string(), |()| "ready".to_owned());
        assert!(found.starts_with(expected), "{found}");
    }

    const LIVE: &str = r#"{"version": "x", "state": "LIVE"}"#;
    const ALL: &str = "cluster_manager.cds.update_success: 2\nlistener_manager.lds.update_success: 1\nlistener_manager.workers_started: 1\n";

    #[test]
    fn a_live_proxy_with_clusters_and_listeners_is_ready() {
        check(LIVE, ALL, "ready");
        check("{}", ALL, "ready");
    }

    #[test]
    fn a_proxy_that_is_not_live_is_not_ready() {
        check(r#"{"state": "PRE_INITIALIZING"}"#, ALL, "server is not live, current state is: PRE_INITIALIZING");
        check(r#"{"state": "DRAINING"}"#, ALL, "server is not live, current state is: DRAINING");
        check("<html>", ALL, "server is not live, current state is: unknown");
    }

    #[test]
    fn a_proxy_without_workers_is_not_ready() {
        check(LIVE, &ALL.replace("started: 1", "started: 0"), "workers have not yet started");
        check(LIVE, "", "workers have not yet started");
    }

    #[test]
    fn a_proxy_without_configuration_says_what_it_has_refused() {
        let stats = "listener_manager.workers_started: 1\ncluster_manager.cds.update_success: 1\nlistener_manager.lds.update_rejected: 3\n";
        check(
            LIVE,
            stats,
            "config not fully received from XDS server: cds updates: 1 successful, 0 rejected; lds updates: 0 successful, 3 rejected",
        );
    }
}
