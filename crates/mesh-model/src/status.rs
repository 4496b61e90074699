//! What has become of an object: the conditions that its author is told, in the
//! shape of Kubernetes' `.status`.
//!
//! Deliberately absent: when a condition changed (nothing here has a clock), and
//! writing statuses back to a platform.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::rules::gateway_api::gateway::GatewayAddress;
use crate::rules::gateway_api::route::ParentRef;
use crate::rules::gateway_api::{GROUP, GroupKind};
use crate::{Kind, Name, ObjectRef};

/// The statuses of all objects that have one.
pub type Statuses = BTreeMap<ObjectRef, Arc<ObjectStatus>>;

/// What has become of one object. Parts that its kind does not have are empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ObjectStatus {
    /// Conditions of the object as a whole.
    pub conditions: Vec<Condition>,
    /// What holds towards each object that it is attached to, or is about.
    pub parents: Vec<ParentStatus>,
    /// What holds of each of its listeners.
    pub listeners: Vec<ListenerStatus>,
    /// Where it is reached.
    pub addresses: Vec<GatewayAddress>,
    /// How many ListenerSets are attached to it.
    pub attached_listener_sets: usize,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Such as `Accepted`.
    pub kind: Name,
    /// Whether it holds.
    pub holds: bool,
    /// Why, in one word that programs may read.
    pub reason: Name,
    /// Why, for people.
    pub message: String,
}

/// What holds towards one parent.
#[derive(Debug, Clone, PartialEq)]
pub struct ParentStatus {
    /// The parent, as the object names it.
    pub parent: ParentRef,
    /// Who says so.
    pub controller: Name,
    /// Conditions.
    pub conditions: Vec<Condition>,
}

/// What holds of one listener.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerStatus {
    /// Its name.
    pub name: Name,
    /// Kinds of route that it takes.
    pub supported_kinds: Vec<GroupKind>,
    /// How many routes are attached to it.
    pub attached_routes: usize,
    /// Conditions.
    pub conditions: Vec<Condition>,
}

impl ObjectStatus {
    /// `.status` of an object of this kind, as Kubernetes has it.
    pub fn to_json(&self, kind: Kind) -> Value {
        let mut status = Map::new();
        let mut enter = |name: &str, value: Value, there: bool| {
            if there {
                status.insert(name.to_owned(), value);
            }
        };
        enter("conditions", conditions(&self.conditions), !self.conditions.is_empty());
        let policy = matches!(kind, Kind::BackendTlsPolicy | Kind::XBackendTrafficPolicy);
        let (list, parent) = if policy { ("ancestors", "ancestorRef") } else { ("parents", "parentRef") };
        let parents = self.parents.iter().map(|p| {
            json!({
                parent: parent_ref(&p.parent),
                "controllerName": &*p.controller,
                "conditions": conditions(&p.conditions),
            })
        });
        enter(list, parents.collect(), !self.parents.is_empty());
        let listeners = self.listeners.iter().map(|l| {
            let kinds = l.supported_kinds.iter().map(|k| json!({ "group": &*k.group, "kind": &*k.kind }));
            json!({
                "name": &*l.name,
                "supportedKinds": kinds.collect::<Vec<_>>(),
                "attachedRoutes": l.attached_routes,
                "conditions": conditions(&l.conditions),
            })
        });
        enter("listeners", listeners.collect(), !self.listeners.is_empty());
        let addresses = self.addresses.iter().map(|a| match &a.kind {
            Some(kind) => json!({ "type": &**kind, "value": &*a.value }),
            None => json!({ "value": &*a.value }),
        });
        enter("addresses", addresses.collect(), !self.addresses.is_empty());
        enter("attachedListenerSets", self.attached_listener_sets.into(), self.attached_listener_sets > 0);
        Value::Object(status)
    }

    /// All conditions, of the object and of its parts.
    pub fn all_conditions(&self) -> impl Iterator<Item = &Condition> {
        let parts = self.parents.iter().map(|p| &p.conditions).chain(self.listeners.iter().map(|l| &l.conditions));
        self.conditions.iter().chain(parts.flatten())
    }
}

fn conditions(conditions: &[Condition]) -> Value {
    let condition = |c: &Condition| {
        let status = if c.holds { "True" } else { "False" };
        json!({ "type": &*c.kind, "status": status, "reason": &*c.reason, "message": c.message })
    };
    conditions.iter().map(condition).collect()
}

fn parent_ref(parent: &ParentRef) -> Value {
    let mut fields = Map::new();
    let texts = [("group", &parent.group), ("kind", &parent.kind), ("namespace", &parent.namespace)];
    for (name, value) in texts.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        fields.insert(name.to_owned(), json!(&**value));
    }
    fields.insert("name".to_owned(), json!(&*parent.name));
    if let Some(section) = &parent.section {
        fields.insert("sectionName".to_owned(), json!(&**section));
    }
    if let Some(port) = parent.port {
        fields.insert("port".to_owned(), json!(port));
    }
    Value::Object(fields)
}

impl ParentRef {
    /// Group and kind, with the defaults of the Gateway API.
    pub fn target(&self) -> GroupKind {
        GroupKind {
            group: self.group.clone().unwrap_or_else(|| GROUP.into()),
            kind: self.kind.clone().unwrap_or_else(|| "Gateway".into()),
        }
    }
}
