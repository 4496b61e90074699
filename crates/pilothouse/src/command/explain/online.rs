//! A subject from a running control plane: its debug pages say which proxies
//! there are, what each was given, and which services exist.

use std::collections::BTreeMap;
use std::net::IpAddr;

use mesh_pilot::offline::{self, ProxyView};
use serde_json::Value;

use super::subject::{self, Candidate, Host, Subject};
use crate::explanation::convert;
use crate::failure::{Failure, Result};
use crate::{terminal, web};

/// What the control plane at `pilot` (a URL or `host:port`) gives the proxy of
/// the workload `from`; or would give it, if it is not connected.
///
/// # Errors
/// If the control plane does not answer, or knows no such workload.
pub(crate) async fn subject(pilot: &str, from: &str, domain: &str) -> Result<Subject> {
    let base = if pilot.contains("://") { pilot.to_owned() } else { format!("http://{pilot}") };
    let base = base.trim_end_matches('/').to_owned();
    let clients = web::json(&format!("{base}/debug/adsz")).await.map_err(|failure| {
        Failure::Other(format!("{failure}; give the control plane's address with --pilot, or manifests with -f"))
    })?;
    let proxies: Vec<Candidate> = list(&clients["clients"]).filter_map(candidate).collect();
    let which = match subject::choose(from, &proxies) {
        Ok(index) => format!("proxyID={}.{}", proxies[index].name, proxies[index].namespace),
        Err(why) => match from.rsplit_once('.') {
            Some((name, namespace)) => format!("workload={namespace}/{name}"),
            None => return Err(Failure::Data(why)),
        },
    };
    let unreadable = |page: &str, error: offline::JsonError| Failure::other(format!("{base}{page}"), &error);
    let document = web::json(&format!("{base}/debug/resources?{which}")).await.map_err(|failure| {
        let names: Vec<String> = proxies.iter().map(|p| format!("{}.{}", p.name, p.namespace)).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Failure::Data(format!("--from {from:?}: {failure}; connected proxies are: {names}"))
    })?;
    let view = ProxyView::from_json(&document).map_err(|error| unreadable("/debug/resources", error))?;
    if !view.connected {
        let text = format!("the proxy of {from} is not connected; this is what it would be given");
        anstream::eprintln!("{}", terminal::paint(terminal::WARNING, &text));
    }
    let places = web::json(&format!("{base}/debug/objectz")).await?;
    let places = offline::locations_from_json(&places).map_err(|error| unreadable("/debug/objectz", error))?;
    let hosts = hosts(
        &web::json(&format!("{base}/debug/registryz")).await?,
        &web::json(&format!("{base}/debug/endpointz")).await?,
    );
    let locations = places.into_iter().map(|(object, place)| (convert::key(&object), place)).collect();
    Subject::of_view(&view, domain, hosts, locations).ok_or_else(|| {
        Failure::Other(format!("{base}/debug/resources: {:?} is not the node id of a sidecar", view.node_id))
    })
}

/// From an entry of `adsz`: its connection id begins with the node id.
fn candidate(entry: &Value) -> Option<Candidate> {
    let id = entry["connectionId"].as_str()?.split('~').nth(2)?;
    let (name, namespace) = id.rsplit_once('.')?;
    let app = entry["labels"]["app"].as_str().map(str::to_owned);
    Some(Candidate { namespace: namespace.to_owned(), name: name.to_owned(), app })
}

/// Services and what their names resolve to: the virtual addresses in
/// `registryz`, or else the endpoints in `endpointz`.
fn hosts(registry: &Value, endpoints: &Value) -> Vec<Host> {
    let mut behind: BTreeMap<&str, Vec<IpAddr>> = BTreeMap::new();
    for service in list(endpoints) {
        let host = service["svc"].as_str().and_then(|svc| svc.rsplit_once(':')).map_or("", |(host, _)| host);
        let addresses = list(&service["ep"]).filter_map(|e| e["endpoint"]["Address"].as_str()?.parse::<IpAddr>().ok());
        behind.entry(host).or_default().extend(addresses);
    }
    let host = |service: &Value| {
        let name = service["hostname"].as_str()?.to_owned();
        let listed = service["clusterVIPs"]["Addresses"].as_object();
        let texts = listed.into_iter().flat_map(|a| a.values()).flat_map(list).filter_map(Value::as_str);
        let virtual_ones = texts.chain(service["defaultAddress"].as_str()).filter_map(|a| a.parse().ok());
        let mut addresses: Vec<IpAddr> = virtual_ones.filter(|a: &IpAddr| !a.is_unspecified()).collect();
        if addresses.is_empty() {
            addresses = behind.get(name.as_str()).cloned().unwrap_or_default();
        }
        Some(Host { name, addresses })
    };
    list(registry).filter_map(host).collect()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
