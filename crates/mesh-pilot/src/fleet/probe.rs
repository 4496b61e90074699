//! What is wrong with rules that no connected proxy has asked about yet.
//!
//! Translation finds what parsing cannot: a route to a subset that no rule
//! defines, two services that claim one port. Its author should hear of that
//! when the rule is written, not when the first proxy of the namespace starts.
//! So one workload of each namespace without a proxy is translated for as if it
//! had one, some time after a change, with a translator of its own: no proxy
//! waits for it.
//!
//! Deliberately absent: namespaces past [`NAMESPACES_MAX`]; theirs is said when
//! their first proxy connects.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use mesh_model::{Diagnostic, MeshSnapshot, Name};
use mesh_translate::{Proxy, Translator};

use crate::view::sidecar;

/// Namespaces that are looked at without a proxy.
const NAMESPACES_MAX: usize = 8;

/// What was found, by namespace.
pub(super) type Found = BTreeMap<Name, Arc<[Diagnostic]>>;

/// The proxies that are imagined, by namespace.
#[derive(Debug, Default)]
pub(super) struct Probe {
    translator: Translator,
    /// Kept as long as it is the same, so that the translator knows it again.
    proxies: BTreeMap<Name, Arc<Proxy>>,
}

impl Probe {
    /// Looks at the namespaces of `mesh` that are not among `served`.
    pub(super) fn look(&mut self, mesh: &Arc<MeshSnapshot>, served: &BTreeSet<Name>) -> Found {
        let mut proxies: BTreeMap<Name, Arc<Proxy>> = BTreeMap::new();
        for workload in mesh.workloads.iter().filter(|w| !w.host_network) {
            let namespace = workload.meta.namespace();
            if proxies.len() == NAMESPACES_MAX {
                break;
            }
            if !served.contains(namespace) && !proxies.contains_key(namespace) {
                let Some(proxy) = sidecar(mesh, workload) else { continue };
                let before = self.proxies.get(namespace).filter(|before| ***before == proxy);
                proxies.insert(namespace.clone(), before.cloned().unwrap_or_else(|| Arc::new(proxy)));
            }
        }
        self.proxies = proxies;
        let translate = |proxy| catch_unwind(AssertUnwindSafe(|| self.translator.resources(mesh, proxy))).ok();
        // One that fails will be told when a real proxy asks.
        let made = self.proxies.iter().filter_map(|(namespace, proxy)| Some((namespace.clone(), translate(proxy)?)));
        made.map(|(namespace, resources)| (namespace, resources.diagnostics().clone())).collect()
    }
}
