//! Many simulated proxies in one process, each with an ADS stream of its own.
//!
//! A proxy asks as Envoy does: clusters and listeners by wildcard, then the
//! endpoints and routes that those name. Which names these are is read from the
//! first proxy's resources; the others live in the same namespace, see the same
//! mesh, and ask for the same.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mesh_proto::envoy::config::cluster::v3::Cluster;
use mesh_proto::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use mesh_proto::envoy::config::core::v3::Node;
use mesh_proto::envoy::config::listener::v3::Listener;
use mesh_proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use mesh_proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use mesh_proto::google::protobuf::Any;
use mesh_proto::types;
use mesh_xds::Variant;
use mesh_xds::client::{AdsClient, Update, Wanted};
use mesh_xds::transport::client::{self, Event, Handle, Target};
use tokio::sync::mpsc;

/// Proxies that connect at the same time, so that none runs into its connect timeout.
const CONNECTING_MAX: usize = 50;

/// Names of endpoints and routes that a proxy of this mesh asks for.
#[derive(Default)]
struct Names {
    endpoints: BTreeSet<String>,
    routes: BTreeSet<String>,
}

/// What a proxy tells the fleet.
enum News {
    /// It has everything that it asked for.
    InSync(Option<Names>),
    /// It has acknowledged an update that held these resources.
    Acked { proxy: usize, at: Instant, type_url: String, names: Vec<String> },
    /// The measurement is void.
    Failed(String),
}

/// Connected proxies.
pub(super) struct Fleet {
    control_plane: SocketAddr,
    names: Option<Arc<Names>>,
    size: usize,
    bytes: Arc<AtomicU64>,
    sender: mpsc::UnboundedSender<News>,
    news: mpsc::UnboundedReceiver<News>,
}

impl Fleet {
    /// A fleet of nobody yet.
    pub(super) fn new(control_plane: SocketAddr) -> Self {
        let (sender, news) = mpsc::unbounded_channel();
        Self { control_plane, names: None, size: 0, bytes: Arc::default(), sender, news }
    }

    /// Proxies connected.
    pub(super) fn len(&self) -> usize {
        self.size
    }

    /// Bytes of resources received by all proxies so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Connects proxies until there are `size`, and waits until all are in sync.
    pub(super) async fn grow(&mut self, size: usize, limit: Duration) -> Result<(), String> {
        let deadline = Instant::now() + limit;
        let (mut pending, mut in_sync) = (0, self.size);
        while in_sync < size {
            while self.size < size && pending < CONNECTING_MAX && (self.names.is_some() || self.size == 0) {
                tokio::spawn(self.proxy().run());
                self.size += 1;
                pending += 1;
            }
            match self
                .next(deadline)
                .await
                .ok_or_else(|| format!("{in_sync} of {size} proxies in sync after {limit:?}"))?
            {
                News::InSync(names) => {
                    in_sync += 1;
                    pending -= 1;
                    self.names = self.names.take().or(names.map(Arc::new));
                }
                News::Failed(why) => return Err(why),
                News::Acked { .. } => {}
            }
        }
        Ok(())
    }

    /// Forgets what arrived so far.
    pub(super) async fn settle(&mut self) {
        tokio::task::yield_now().await;
        while self.news.try_recv().is_ok() {}
    }

    /// Waits until every proxy has acknowledged this resource; each one's milliseconds since `begun`.
    pub(super) async fn acknowledged(
        &mut self,
        (type_url, name): (&str, &str),
        begun: Instant,
        limit: Duration,
    ) -> Result<Vec<f64>, String> {
        let mut times: HashMap<usize, f64> = HashMap::new();
        while times.len() < self.size {
            match self.next(begun + limit).await {
                Some(News::Acked { proxy, at, type_url: t, names })
                    if t == type_url && names.iter().any(|n| n == name) =>
                {
                    times.insert(proxy, (at - begun).as_secs_f64() * 1e3);
                }
                Some(News::Failed(why)) => return Err(why),
                Some(_) => {}
                None => return Err(format!("{name}: {} of {} proxies after {limit:?}", times.len(), self.size)),
            }
        }
        Ok(times.into_values().collect())
    }

    async fn next(&mut self, deadline: Instant) -> Option<News> {
        tokio::time::timeout_at(deadline.into(), self.news.recv()).await.ok().flatten()
    }

    fn proxy(&self) -> Proxy {
        let ads = AdsClient::new(Variant::Delta, node(self.size));
        let mut options = client::Options::new(Target::Tcp(self.control_plane.to_string()));
        options.jitter_seed = self.size as u64;
        let (handle, events) = client::connect(ads, options);
        Proxy {
            number: self.size,
            handle,
            events,
            known: self.names.clone(),
            found: Names::default(),
            answered: BTreeSet::new(),
            bytes: self.bytes.clone(),
            news: self.sender.clone(),
        }
    }
}

/// One simulated proxy.
struct Proxy {
    number: usize,
    handle: Handle,
    events: mpsc::Receiver<Event>,
    /// What to ask for; the first proxy finds out.
    known: Option<Arc<Names>>,
    found: Names,
    /// Types that have been answered once.
    answered: BTreeSet<String>,
    bytes: Arc<AtomicU64>,
    news: mpsc::UnboundedSender<News>,
}

impl Proxy {
    async fn run(mut self) {
        self.handle.want(types::CLUSTER, Wanted::Wildcard);
        while let Some(event) = self.events.recv().await {
            match event {
                Event::Update(update) => self.take(update),
                Event::Connected => {}
                Event::Disconnected { reason, .. } => self.fail(&reason),
                Event::Refused(error) => self.fail(&error.to_string()),
            }
        }
    }

    fn fail(&self, why: &str) {
        // The fleet may be gone already; then nobody needs to know.
        self.news.send(News::Failed(format!("proxy {}: {why}", self.number))).ok();
    }

    /// Acknowledges at once, asks for what comes next, and reports.
    fn take(&mut self, update: Update) {
        self.handle.ack(update.type_url.as_str(), update.nonce.as_str());
        let at = Instant::now();
        let bytes: usize = update.added.iter().map(|(_, any)| any.value.len() + any.type_url.len()).sum();
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if self.known.is_none() {
            self.found.read(&update);
        }
        if self.answered.insert(update.type_url.clone()) {
            self.ask_next(&update.type_url);
        }
        let names = update.added.into_iter().map(|(name, _)| name).collect();
        self.news.send(News::Acked { proxy: self.number, at, type_url: update.type_url, names }).ok();
    }

    /// As Envoy does: clusters, their endpoints, listeners, their routes.
    fn ask_next(&mut self, answered: &str) {
        let names = self.known.as_deref().unwrap_or(&self.found);
        match answered {
            types::CLUSTER => self.handle.want(types::ENDPOINT, Wanted::Names(names.endpoints.clone())),
            types::ENDPOINT => self.handle.want(types::LISTENER, Wanted::Wildcard),
            types::LISTENER => self.handle.want(types::ROUTE, Wanted::Names(names.routes.clone())),
            _ => {
                let found = self.known.is_none().then(|| std::mem::take(&mut self.found));
                self.news.send(News::InSync(found)).ok();
            }
        }
    }
}

impl Names {
    fn read(&mut self, update: &Update) {
        for (name, any) in &update.added {
            match update.type_url.as_str() {
                types::CLUSTER if is_eds(any) => {
                    self.endpoints.insert(name.clone());
                }
                types::LISTENER => self.routes.extend(route_names(any)),
                _ => {}
            }
        }
    }
}

fn is_eds(any: &Any) -> bool {
    let cluster = mesh_proto::any::unpack::<Cluster>(any).ok();
    let kind = cluster.and_then(|cluster| cluster.cluster_discovery_type);
    kind == Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into()))
}

/// The route tables that a listener fetches.
fn route_names(any: &Any) -> Vec<String> {
    let listener = mesh_proto::any::unpack::<Listener>(any).unwrap_or_default();
    let chains = listener.filter_chains.into_iter().chain(listener.default_filter_chain);
    let configs = chains.flat_map(|chain| chain.filters).filter_map(|filter| filter.config_type);
    configs.filter_map(|config| route_name(&config)).collect()
}

fn route_name(config: &mesh_proto::envoy::config::listener::v3::filter::ConfigType) -> Option<String> {
    use mesh_proto::envoy::config::listener::v3::filter::ConfigType;
    let ConfigType::TypedConfig(any) = config else { return None };
    let manager = mesh_proto::any::unpack::<HttpConnectionManager>(any).ok()?;
    match manager.route_specifier? {
        RouteSpecifier::Rds(rds) => Some(rds.route_config_name),
        _ => None,
    }
}

fn node(number: usize) -> Node {
    let address = format!("10.200.{}.{}", number / 250, number % 250 + 1);
    let metadata = serde_json::json!({
        "NAMESPACE": "default",
        "CLUSTER_ID": "Kubernetes",
        "INSTANCE_IPS": address,
        "SERVICE_ACCOUNT": "default",
        "ISTIO_VERSION": "1.24.0",
        "LABELS": {"app": "client"},
        "NAME": format!("client-{number}"),
    });
    Node {
        id: format!("sidecar~{address}~client-{number}.default~default.svc.cluster.local"),
        cluster: "client.default".to_owned(),
        metadata: mesh_proto::json::from_json(&metadata).ok(),
        ..Node::default()
    }
}
