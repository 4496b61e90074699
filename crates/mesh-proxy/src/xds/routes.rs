//! Route tables by RDS.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_engine::RouteTable;
use mesh_engine::listener::NetworkFilter;
use mesh_proto::envoy::config::route::v3::RouteConfiguration;
use mesh_proto::google::protobuf::Any;
use mesh_xds::client::Update;

use super::record::{Refused, Versioned};
use super::store::{Store, decode};
use crate::stats::ScopeName;

impl Store {
    pub(super) fn on_routes(&mut self, update: &Update, errors: &mut Vec<String>) {
        for (name, any) in &update.added {
            let stats = self.shared.stats.rds.named(&self.shared.stats.store, ScopeName::plain(&format!("rds.{name}")));
            stats.update_attempt.inc();
            match self.route_table(name, any, &update.version) {
                Ok(()) => {
                    stats.update_success.inc();
                    stats.config_reload.inc();
                    update.version.clone_into(&mut stats.version_text.0.lock());
                }
                Err(text) => {
                    stats.update_rejected.inc();
                    errors.push(text);
                }
            }
        }
    }

    fn route_table(&mut self, name: &str, any: &Any, version: &str) -> Result<(), String> {
        if self.records.lock().routes.get(name).is_some_and(|e| e.holds(any)) {
            return Ok(());
        }
        let parsed = decode::<RouteConfiguration>(name, any)
            .and_then(|proto| RouteTable::parse(&proto).map_err(|e| e.to_string()))
            .and_then(|table| super::honour::routes(&table).map(|()| table))
            .and_then(|table| self.check_clusters(&table, false).map(|()| table));
        let mut records = self.records.lock();
        let entry = records.routes.entry(name.to_owned()).or_default();
        match parsed {
            Ok(table) => {
                entry.refused = None;
                entry.active = Some(Versioned::new(version, any.clone()));
                drop(records);
                self.runtime.routes.set(Arc::new(table));
                Ok(())
            }
            Err(text) => {
                entry.refused = Some(Refused::new(version, any.clone(), text.clone()));
                Err(text)
            }
        }
    }

    /// Refuses a table that names an unknown cluster, if it asks for that or
    /// `by_default`: tables inside listeners are checked, those by RDS are not.
    pub(super) fn check_clusters(&self, table: &RouteTable, by_default: bool) -> Result<(), String> {
        // What comes on demand is not here before it is asked for.
        if self.on_demand || !table.validate_clusters.unwrap_or(by_default) {
            return Ok(());
        }
        let unknown =
            |name: &str| self.shared.upstreams.get(name).is_none() && !self.warming_clusters.contains_key(name);
        match table.cluster_names().iter().find(|name| unknown(name)) {
            Some(name) => Err(format!("route: unknown cluster '{name}'")),
            None => Ok(()),
        }
    }

    /// Tables that active and warming listeners want.
    pub(super) fn route_names(&self) -> BTreeSet<String> {
        let active = self.listeners.values().map(|l| &l.listener);
        let warming = self.warming_listeners.values().map(|w| &w.listener);
        active.chain(warming).flat_map(|l| l.route_names()).map(|n| n.to_string()).collect()
    }

    /// Drops the tables that nobody wants any more.
    pub(super) fn forget_routes(&mut self, wanted: &BTreeSet<String>) {
        let mut records = self.records.lock();
        records.routes.retain(|name, _| {
            let keep = wanted.contains(name);
            if !keep {
                self.runtime.routes.clear(name);
            }
            keep
        });
    }

    /// Every cluster that a route table or a TCP proxy names.
    pub(super) fn clusters_named(&self) -> BTreeSet<String> {
        let mut named: BTreeSet<String> = BTreeSet::new();
        for table in self.runtime.routes.tables() {
            named.extend(table.cluster_names().iter().map(|n| n.to_string()));
        }
        let active = self.listeners.values().map(|l| &l.listener);
        for listener in active.chain(self.warming_listeners.values().map(|w| &w.listener)) {
            for chain in listener.filter_chains.iter().chain(&listener.default_filter_chain) {
                match &chain.filter {
                    NetworkFilter::Tcp(tcp) => named.extend(tcp.clusters.iter().map(|(n, _)| n.to_string())),
                    NetworkFilter::Http(hcm) => {
                        if let mesh_engine::hcm::RouteSource::Inline(table) = &hcm.routes {
                            named.extend(table.cluster_names().iter().map(|n| n.to_string()));
                        }
                    }
                }
            }
        }
        named
    }
}
