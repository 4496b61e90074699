//! The statistics of one proxy: counters, gauges and histograms under Envoy's
//! names, resolved once and then only incremented.
//!
//! A [`Scope`] is a name prefix (`cluster.<name>.`) with one or more sets of
//! atomics behind it. Names are put together only when somebody asks, so a
//! thousand clusters cost a thousand structs, not a hundred thousand strings.
//! Workers hold `Arc`s to the structs and never touch the registry; the
//! registry's lock is for creating, dropping and rendering.
//!
//! Deliberately absent: what the numbers mean for decisions (`mesh-engine`
//! keeps its own in-flight and circuit-breaker counters).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use parking_lot::RwLock;

mod histogram;
pub(crate) mod render;
pub(crate) mod sets;

pub(crate) use histogram::Histogram;

/// A number that only grows (until `/reset_counters`).
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn inc(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(crate) fn reset(&self) {
        self.0.store(0, Relaxed);
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicI64);

impl Gauge {
    pub(crate) fn inc(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub(crate) fn dec(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(i64::try_from(value).unwrap_or(i64::MAX), Relaxed);
    }

    /// Never below zero: workers may pass each other.
    pub(crate) fn value(&self) -> u64 {
        u64::try_from(self.0.load(Relaxed)).unwrap_or(0)
    }
}

/// One statistic, as shown to a visitor.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    Counter(&'a Counter),
    Gauge(u64),
    Histogram(&'a Histogram),
    Text(&'a str),
}

/// A struct of statistics that can name its members.
pub(crate) trait StatSet: Send + Sync {
    /// Shows every member with its name behind the scope's prefix.
    fn visit(&self, see: &mut dyn FnMut(&str, Value<'_>));
}

/// A label that Prometheus output carries instead of the part of the name that
/// it was taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) name: &'static str,
    pub(crate) value: String,
}

/// Where a set of statistics is filed.
#[derive(Debug, Clone, Default)]
pub(crate) struct ScopeName {
    /// `cluster.<name>.`, with the final dot.
    pub(crate) prefix: String,
    /// The prefix without the tagged parts: `cluster.`.
    pub(crate) family: String,
    pub(crate) tags: Vec<Tag>,
}

impl ScopeName {
    /// `<kind>.<name>.`, tagged with `name`.
    pub(crate) fn tagged(kind: &str, tag: &'static str, name: &str) -> Self {
        Self {
            prefix: format!("{kind}.{name}."),
            family: format!("{kind}."),
            tags: vec![Tag { name: tag, value: name.to_owned() }],
        }
    }

    /// `<kind>.`, without a tag.
    pub(crate) fn plain(kind: &str) -> Self {
        Self { prefix: format!("{kind}."), family: format!("{kind}."), tags: Vec::new() }
    }

    pub(crate) fn cluster(name: &str) -> Self {
        Self::tagged("cluster", "envoy_cluster_name", name)
    }

    pub(crate) fn http(prefix: &str) -> Self {
        Self::tagged("http", "envoy_http_conn_manager_prefix", prefix)
    }

    pub(crate) fn tcp(prefix: &str) -> Self {
        Self::tagged("tcp", "envoy_tcp_prefix", prefix)
    }

    pub(crate) fn listener(address: &str) -> Self {
        Self::tagged("listener", "envoy_listener_address", &address.replace(':', "_"))
    }
}

/// A registered set.
pub(crate) struct Scope {
    pub(crate) name: ScopeName,
    pub(crate) set: Arc<dyn StatSet>,
}

/// All statistics of one proxy.
#[derive(Default)]
pub(crate) struct Store {
    scopes: RwLock<BTreeMap<(String, &'static str), Scope>>,
}

impl Store {
    /// Files `set` under `name`, replacing what `kind` had there.
    pub(crate) fn file(&self, kind: &'static str, name: ScopeName, set: Arc<dyn StatSet>) {
        self.scopes.write().insert((name.prefix.clone(), kind), Scope { name, set });
    }

    /// Forgets everything under `prefix`. Workers that still hold the set may
    /// go on counting into it unseen.
    pub(crate) fn drop_prefix(&self, prefix: &str) {
        self.scopes.write().retain(|(p, _), _| p != prefix);
    }

    /// Shows every statistic. Holds the registry's read lock meanwhile, which
    /// no worker ever takes.
    pub(crate) fn visit(&self, see: &mut dyn FnMut(&ScopeName, &str, Value<'_>)) {
        for scope in self.scopes.read().values() {
            scope.set.visit(&mut |name, value| see(&scope.name, name, value));
        }
    }

    /// Sets all counters to zero.
    pub(crate) fn reset_counters(&self) {
        self.visit(&mut |_, _, value| {
            if let Value::Counter(counter) = value {
                counter.reset();
            }
        });
    }
}

/// Sets of one type that several owners share by name (two listeners with one
/// `stat_prefix` count into one set).
pub(crate) struct Shared<S> {
    kind: &'static str,
    sets: RwLock<BTreeMap<String, Arc<S>>>,
}

impl<S: StatSet + Default + 'static> Shared<S> {
    pub(crate) fn new(kind: &'static str) -> Self {
        Self { kind, sets: RwLock::default() }
    }

    /// The set under `name`; made and filed in `store` if there is none.
    pub(crate) fn named(&self, store: &Store, name: ScopeName) -> Arc<S> {
        if let Some(set) = self.sets.read().get(&name.prefix) {
            return set.clone();
        }
        let set = self.sets.write().entry(name.prefix.clone()).or_default().clone();
        store.file(self.kind, name, set.clone());
        set
    }
}

/// The registry and the sets that more than one part of the proxy counts into.
pub(crate) struct Stats {
    pub(crate) store: Store,
    pub(crate) server: Arc<sets::ServerStats>,
    pub(crate) clusters: Arc<sets::ClusterSetStats>,
    pub(crate) listeners: Arc<sets::ListenerSetStats>,
    pub(crate) control_plane: Arc<sets::ControlPlaneStats>,
    pub(crate) cds: Arc<sets::DiscoveryStats>,
    pub(crate) lds: Arc<sets::DiscoveryStats>,
    pub(crate) files: Arc<crate::access_log::LogStats>,
    pub(crate) http: Shared<sets::HttpStats>,
    pub(crate) tcp: Shared<sets::TcpStats>,
    pub(crate) listener: Shared<sets::ListenerStats>,
    pub(crate) rds: Shared<sets::DiscoveryStats>,
}

impl Default for Stats {
    fn default() -> Self {
        let stats = Self {
            store: Store::default(),
            server: Arc::default(),
            clusters: Arc::default(),
            listeners: Arc::default(),
            control_plane: Arc::default(),
            cds: Arc::default(),
            lds: Arc::default(),
            files: Arc::default(),
            http: Shared::new("http"),
            tcp: Shared::new("tcp"),
            listener: Shared::new("listener"),
            rds: Shared::new("rds"),
        };
        let store = &stats.store;
        store.file("server", ScopeName::plain("server"), stats.server.clone());
        store.file("clusters", ScopeName::plain("cluster_manager"), stats.clusters.clone());
        store.file("listeners", ScopeName::plain("listener_manager"), stats.listeners.clone());
        store.file("control_plane", ScopeName::plain("control_plane"), stats.control_plane.clone());
        store.file("cds", ScopeName::plain("cluster_manager.cds"), stats.cds.clone());
        store.file("lds", ScopeName::plain("listener_manager.lds"), stats.lds.clone());
        store.file("files", ScopeName::plain("filesystem"), stats.files.clone());
        stats
    }
}

/// Declares a struct of statistics with its [`StatSet`]: member names are the
/// statistics' names.
macro_rules! stat_set {
    ($(#[$doc:meta])* $name:ident {
        counters: [$($counter:ident),* $(,)?],
        gauges: [$($gauge:ident),* $(,)?],
        histograms: [$($histogram:ident),* $(,)?]
        $(, more: [$($more:ident: $more_type:ty),* $(,)?])? $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Default)]
        pub(crate) struct $name {
            $(pub(crate) $counter: $crate::stats::Counter,)*
            $(pub(crate) $gauge: $crate::stats::Gauge,)*
            $(pub(crate) $histogram: $crate::stats::Histogram,)*
            $($(pub(crate) $more: $more_type,)*)?
        }

        impl $crate::stats::StatSet for $name {
            fn visit(&self, see: &mut dyn FnMut(&str, $crate::stats::Value<'_>)) {
                $(see(stringify!($counter), $crate::stats::Value::Counter(&self.$counter));)*
                $(see(stringify!($gauge), $crate::stats::Value::Gauge(self.$gauge.value()));)*
                $(see(stringify!($histogram), $crate::stats::Value::Histogram(&self.$histogram));)*
                $($($crate::stats::StatSet::visit(&self.$more, see);)*)?
            }
        }
    };
}
pub(crate) use stat_set;
