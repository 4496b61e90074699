//! Secrets by SDS, and what handshakes are made by.
//!
//! A context is built when its last secret arrives, and anew when one of its
//! secrets or files changes. What cannot be built leaves what was built before
//! in force; a context that never could be costs the connections of its own
//! filter chain or cluster, and nothing else.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use mesh_engine::tls::{CommonTls, Material, Secret, ServerTls, Unavailable};
use mesh_engine::{ClusterConfig, Listener};
use mesh_proto::envoy::extensions::transport_sockets::tls::v3::Secret as Proto;
use mesh_proto::google::protobuf::Any;
use mesh_xds::client::Update;

use super::record::{Refused, Versioned};
use super::store::{Store, decode};
use crate::tls::client::Client;
use crate::tls::server::Server;
use crate::tls::{Contexts, TlsError, material};
use crate::upstream::connect;

/// See the module.
#[derive(Default)]
pub(super) struct TlsState {
    /// Something changed that contexts are built of.
    pub(super) changed: bool,
    /// The control plane says that there is no such secret.
    missing: BTreeSet<String>,
    /// What each context was built of, or was not: equal numbers, equal result.
    built: HashMap<(Kind, u64), u64>,
    /// The files that contexts are built of, as they were then.
    files: BTreeMap<Arc<str>, u64>,
}

/// Which table of [`Contexts`] an entry belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Server,
    /// With whether names are verified.
    Client(bool),
}

/// A context in use.
enum Wanted {
    Server(Arc<ServerTls>),
    Client(Arc<mesh_engine::tls::ClientTls>, bool),
}

impl Wanted {
    fn common(&self) -> &CommonTls {
        match self {
            Self::Server(context) => &context.common,
            Self::Client(context, _) => &context.common,
        }
    }

    fn key(&self) -> (Kind, u64) {
        match self {
            Self::Server(context) => (Kind::Server, context.common.hash),
            Self::Client(context, verify) => (Kind::Client(*verify), context.common.hash),
        }
    }
}

/// Names of the secrets that a listener takes.
pub(super) fn of_listener(listener: &Listener) -> impl Iterator<Item = &Arc<str>> {
    listener.chains().filter_map(|c| c.tls.as_ref()).flat_map(|t| t.common.secret_names())
}

/// Names of the secrets that a cluster takes.
pub(super) fn of_cluster(config: &ClusterConfig) -> impl Iterator<Item = &Arc<str>> {
    config.transports.all().filter_map(|s| s.tls.as_ref()).flat_map(|t| t.common.secret_names())
}

impl Store {
    pub(super) fn on_secrets(&mut self, update: &Update, errors: &mut Vec<String>) {
        for (name, any) in &update.added {
            if let Err(text) = self.secret(name, any, &update.version) {
                errors.push(text);
            }
        }
        // A secret that is taken away stays in force where it is used, as in Envoy.
        let gone = update.removed.iter().filter(|name| self.runtime.secrets.get(name).is_none()).cloned();
        for name in gone.collect::<Vec<_>>() {
            tracing::warn!(secret = %name, "The control plane has no such secret; what needs it refuses connections.");
            self.tls.missing.insert(name);
        }
    }

    fn secret(&mut self, name: &str, any: &Any, version: &str) -> Result<(), String> {
        self.tls.missing.remove(name);
        if self.records.lock().secrets.get(name).is_some_and(|e| e.holds(any)) {
            return Ok(());
        }
        let parsed = decode::<Proto>(name, any).and_then(|proto| Secret::parse(&proto).map_err(|e| e.to_string()));
        let parsed = parsed.and_then(|secret| match material::check(&secret) {
            Ok(()) => Ok(secret),
            Err(error) => Err(format!("secret {name}: {error}")),
        });
        let mut records = self.records.lock();
        let entry = records.secrets.entry(name.to_owned()).or_default();
        match parsed {
            Ok(secret) => {
                entry.refused = None;
                entry.active = Some(Versioned::new(version, any.clone()));
                drop(records);
                self.runtime.secrets.set(secret);
                self.tls.changed = true;
                Ok(())
            }
            Err(text) => {
                entry.refused = Some(Refused::new(version, any.clone(), text.clone()));
                Err(text)
            }
        }
    }

    /// Whether every secret has arrived, or is known not to exist.
    pub(super) fn has_secrets<'a>(&self, mut names: impl Iterator<Item = &'a Arc<str>>) -> bool {
        names.all(|name| self.runtime.secrets.get(name).is_some() || self.tls.missing.contains(&**name))
    }

    /// Secrets that active and warming listeners and clusters take.
    pub(super) fn secret_names(&self) -> BTreeSet<String> {
        let wanted = self.contexts_wanted();
        wanted.iter().flat_map(|w| w.common().secret_names()).map(|n| n.to_string()).collect()
    }

    /// Drops the secrets that nobody takes any more.
    pub(super) fn forget_secrets(&mut self, wanted: &BTreeSet<String>) {
        self.runtime.secrets.retain(|name| wanted.contains(name));
        self.tls.missing.retain(|name| wanted.contains(name));
        self.records.lock().secrets.retain(|name, _| wanted.contains(name));
    }

    /// All contexts of active and warming listeners and clusters, each once.
    fn contexts_wanted(&self) -> Vec<Wanted> {
        let listeners = self.listeners.values().map(|l| &l.listener);
        let listeners = listeners.chain(self.warming_listeners.values().map(|w| &w.listener));
        let mut all: HashMap<(Kind, u64), Wanted> = HashMap::new();
        for context in listeners.flat_map(|l| l.chains()).filter_map(|c| c.tls.as_ref()) {
            let wanted = Wanted::Server(context.clone());
            all.entry(wanted.key()).or_insert(wanted);
        }
        let mut take = |config: &ClusterConfig| {
            for context in config.transports.all().filter_map(|s| s.tls.as_ref()) {
                let wanted = Wanted::Client(context.clone(), connect::verifies(config, context));
                all.entry(wanted.key()).or_insert(wanted);
            }
        };
        self.shared.upstreams.all().iter().for_each(|u| take(&u.cluster.config()));
        self.warming_clusters.values().for_each(|w| take(&w.config));
        all.into_values().collect()
    }

    /// Builds what changed, and publishes it.
    pub(super) fn build_contexts(&mut self) {
        if !std::mem::take(&mut self.tls.changed) {
            return;
        }
        let before = self.shared.tls.load_full();
        let wanted = self.contexts_wanted();
        let (mut next, mut built, mut files) = (Contexts::default(), HashMap::new(), BTreeMap::new());
        for context in wanted {
            let key = context.key();
            match context.common().material(|name| self.runtime.secrets.get(name)) {
                Ok(material) => {
                    let stamp = stamp(&material, &mut files);
                    if self.tls.built.get(&key) != Some(&stamp) {
                        build(&context, &material, &before, &mut next);
                    } else {
                        keep(&context, &before, &mut next);
                    }
                    built.insert(key, stamp);
                }
                Err(Unavailable { name, wrong_kind }) => {
                    if wrong_kind {
                        tracing::warn!(secret = %name, "A secret is of another kind than it is used for.");
                    }
                    keep(&context, &before, &mut next);
                }
            }
        }
        self.tls.built = built;
        self.tls.files = files;
        self.note_expiry(&next);
        self.shared.tls.store(Arc::new(next));
    }

    /// Sees whether a file changed that a context is built of.
    pub(super) fn look_at_files(&mut self) {
        let changed = self.tls.files.iter().any(|(path, then)| material::signature(path) != *then);
        self.tls.changed |= changed;
    }

    fn note_expiry(&self, contexts: &Contexts) {
        let servers = contexts.servers.values().flat_map(|s| s.shown.0.iter().chain(&s.shown.1));
        let clients = contexts.clients.values().flat_map(|c| c.shown.0.iter().chain(&c.shown.1));
        let first = servers.chain(clients).map(|shown| crate::admin::days_left(shown.facts.not_after)).min();
        self.shared.stats.server.days_until_first_cert_expiring.set(first.unwrap_or(u64::from(u32::MAX)));
    }
}

/// A number for what a context is made of beside itself. Notes the files.
fn stamp(material: &Material, files: &mut BTreeMap<Arc<str>, u64>) -> u64 {
    let mut hasher = DefaultHasher::new();
    // The secrets' text stands for them: it differs when they do, keys aside, which come with their certificates.
    for certificate in &material.certificates {
        (&certificate.chain, &certificate.key, &certificate.ocsp).hash(&mut hasher);
    }
    if let Some(validation) = &material.validation {
        (&validation.crl, validation.hashes.len(), &validation.hashes, &validation.spki).hash(&mut hasher);
        format!("{:?}", validation.names).hash(&mut hasher);
        (validation.allow_expired, validation.accept_untrusted, validation.crl_leaf_only).hash(&mut hasher);
        match &validation.roots {
            Some(mesh_engine::tls::Roots::Pem(data)) => data.hash(&mut hasher),
            other => other.is_some().hash(&mut hasher),
        }
    }
    let named = material.certificates.iter().flat_map(|c| c.files());
    for path in named.chain(material.validation.iter().flat_map(|v| v.files())) {
        let signature = material::signature(path);
        signature.hash(&mut hasher);
        files.insert(path.clone(), signature);
    }
    hasher.finish()
}

fn build(context: &Wanted, material: &Material, before: &Contexts, next: &mut Contexts) {
    for what in &context.common().left_out {
        tracing::warn!(%what, "A TLS parameter is not supported and left out; the others of its list are used.");
    }
    let refused: TlsError = match context {
        Wanted::Server(server) => match Server::new(server, material) {
            Ok(made) => return drop(next.servers.insert(server.common.hash, Arc::new(made))),
            Err(error) => error,
        },
        Wanted::Client(client, verify) => match Client::new(client, material, *verify) {
            Ok(made) => return drop(next.clients.insert((client.common.hash, *verify), Arc::new(made))),
            Err(error) => error,
        },
    };
    tracing::warn!(error = %refused, "Certificates cannot be used; those in force, if any, stay.");
    keep(context, before, next);
}

fn keep(context: &Wanted, before: &Contexts, next: &mut Contexts) {
    match context {
        Wanted::Server(server) => {
            let key = server.common.hash;
            next.servers.extend(before.servers.get(&key).map(|kept| (key, kept.clone())));
        }
        Wanted::Client(client, verify) => {
            let key = (client.common.hash, *verify);
            next.clients.extend(before.clients.get(&key).map(|kept| (key, kept.clone())));
        }
    }
}
