//! Injection webhooks that overlap, or lead to a service that is not there.

use std::collections::BTreeSet;

use mesh_model::Labels;

use super::codes::INVALID_WEBHOOK;
use super::finding::Findings;
use super::injected::{INJECT, INJECTION, REVISION};
use super::mesh::Mesh;
use super::object::{MUTATING_WEBHOOK, SERVICE};
use super::{Shared, selector};
use crate::schema::At;

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    let mut webhooks: Vec<(&Shared, At<'_>)> = Vec::new();
    let mut revisions: BTreeSet<String> = BTreeSet::new();
    for object in mesh.all(MUTATING_WEBHOOK) {
        let own = object.at(&["webhooks"]).items();
        let named = named_revisions(object, &own);
        let is_istios = own.iter().any(|webhook| webhook.get("name").text().ends_with("istio.io"));
        if named.is_empty() && !is_istios {
            continue;
        }
        revisions.extend(named);
        webhooks.extend(own.into_iter().map(|webhook| (object, webhook)));
    }
    overlaps(&webhooks, &revisions, findings);
    for (object, webhook) in &webhooks {
        let service = webhook.path(&["clientConfig", "service"]);
        let (namespace, name) = (service.get("namespace").text(), service.get("name").text());
        if service.exists() && mesh.find(SERVICE, namespace, name).is_none() {
            let message = format!("The injector refers to the service {namespace}/{name}, which does not exist");
            findings.push_at(&INVALID_WEBHOOK, object, &service, message);
        }
    }
}

/// Revisions that a configuration's label or selectors name.
fn named_revisions(object: &Shared, webhooks: &[At<'_>]) -> BTreeSet<String> {
    let mut named: BTreeSet<String> = object.labels.get(REVISION).map(str::to_owned).into_iter().collect();
    for selector in
        webhooks.iter().flat_map(|webhook| ["namespaceSelector", "objectSelector"].map(|name| webhook.get(name)))
    {
        let exact = selector.get("matchLabels").get(REVISION);
        named.extend(Some(exact.text().to_owned()).filter(|_| exact.exists()));
        let expressions = selector.get("matchExpressions").items();
        let of_revisions = expressions.iter().filter(|expression| expression.get("key").text() == REVISION);
        named.extend(of_revisions.flat_map(|expression| expression.get("values").texts()).map(str::to_owned));
    }
    named
}

/// Every way that namespaces and Pods are labelled: no two webhooks may take one.
fn overlaps(webhooks: &[(&Shared, At<'_>)], revisions: &BTreeSet<String>, findings: &mut Findings) {
    let all = |base: [&[(&str, &str)]; 3]| -> Vec<Labels> {
        let plain = base.iter().map(|labels| labels.iter().copied().collect::<Labels>());
        let of_revision = |revision: &String| {
            let with = |labels: &&[(&str, &str)]| {
                labels.iter().copied().chain([(REVISION, revision.as_str())]).collect::<Labels>()
            };
            base.iter().map(with).collect::<Vec<_>>()
        };
        plain.chain(revisions.iter().flat_map(of_revision)).collect()
    };
    let namespaces = all([&[], &[(INJECTION, "enabled")], &[(INJECTION, "disabled")]]);
    let pods = all([&[], &[(INJECT, "true")], &[(INJECT, "false")]]);
    let name = |(object, webhook): &(&Shared, At<'_>)| format!("{}/{}", object.full_name(), webhook.get("name").text());
    for namespace in &namespaces {
        let taken: Vec<_> =
            webhooks.iter().filter(|(_, w)| selector::matches(&w.get("namespaceSelector"), namespace)).collect();
        for pod in &pods {
            let taken: Vec<_> =
                taken.iter().filter(|(_, w)| selector::matches(&w.get("objectSelector"), pod)).collect();
            let names: BTreeSet<String> = taken.iter().map(|webhook| name(webhook)).collect();
            if names.len() < 2 {
                continue;
            }
            for webhook in &taken {
                let own = name(webhook);
                let others: Vec<&str> = names.iter().filter(|other| **other != own).map(String::as_str).collect();
                let message = format!(
                    "Webhook {own} takes what others take too ({}): Pods may be injected twice",
                    others.join(", ")
                );
                findings.push_at(&INVALID_WEBHOOK, webhook.0, &webhook.1, message);
            }
        }
    }
}
