//! A subject from a running control plane: its debug pages say which proxies
//! there are, what each was given, and which services exist.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bytes::Bytes;
use mesh_model::SourceLocation;
use mesh_proto::origin::Origin;
use serde_json::Value;

use super::subject::{self, Candidate, Host, Subject};
use crate::explanation::convert::Locations;
use crate::failure::{Failure, Result};
use crate::web;

/// What the control plane at `pilot` (a URL or `host:port`) gives the proxy of
/// the workload `from`.
///
/// # Errors
/// If the control plane does not answer, or no such proxy is connected.
pub(crate) async fn subject(pilot: &str, from: &str, domain: &str) -> Result<Subject> {
    let base = if pilot.contains("://") { pilot.to_owned() } else { format!("http://{pilot}") };
    let base = base.trim_end_matches('/').to_owned();
    let clients = web::json(&format!("{base}/debug/adsz")).await.map_err(|failure| {
        Failure::Other(format!("{failure}; give the control plane's address with --pilot, or manifests with -f"))
    })?;
    let proxies: Vec<Proxy> = list(&clients["clients"]).filter_map(Proxy::read).collect();
    if proxies.is_empty() {
        return Err(Failure::Data(format!("no proxy is connected to {base}; --from {from:?} cannot be answered")));
    }
    let candidates: Vec<Candidate> = proxies.iter().map(|p| p.candidate.clone()).collect();
    let proxy = &proxies[subject::choose(from, &candidates).map_err(Failure::Data)?];
    let Candidate { name, namespace, .. } = &proxy.candidate;
    let id = format!("{name}.{namespace}");
    let dump = web::json(&format!("{base}/debug/config_dump?proxyID={id}&include_eds")).await?;
    Ok(Subject {
        name: id,
        namespace: namespace.clone(),
        address: proxy.address,
        domain: domain.to_owned(),
        resources: resources(&dump),
        hosts: hosts(
            &web::json(&format!("{base}/debug/registryz")).await?,
            &web::json(&format!("{base}/debug/endpointz")).await?,
        ),
        locations: locations(&web::json(&format!("{base}/debug/objectz")).await?),
    })
}

/// A connected proxy.
struct Proxy {
    candidate: Candidate,
    address: IpAddr,
}

impl Proxy {
    /// From an entry of `adsz`: the node id is in `connectionId`, before the
    /// last dash.
    fn read(entry: &Value) -> Option<Self> {
        let id = entry["connectionId"].as_str()?;
        let mut parts = id.split('~');
        let (_, ip, name, _) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let namespace = entry["metadata"]["NAMESPACE"].as_str().map(str::to_owned);
        let namespace = namespace.or_else(|| name.rsplit_once('.').map(|(_, ns)| ns.to_owned()))?;
        let name = name.strip_suffix(&format!(".{namespace}")).unwrap_or(name).to_owned();
        let app = entry["labels"]["app"].as_str().or_else(|| entry["metadata"]["LABELS"]["app"].as_str());
        let app = app.map(str::to_owned);
        Some(Self { address: ip.parse().ok()?, candidate: Candidate { namespace, name, app } })
    }
}

/// Every resource in a config dump, encoded again.
fn resources(dump: &Value) -> Vec<(String, Bytes)> {
    let mut found = Vec::new();
    collect(dump, &mut found);
    found
}

fn collect(value: &Value, found: &mut Vec<(String, Bytes)>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(fields) => {
            let type_url = fields.get("@type").and_then(Value::as_str).unwrap_or_default();
            match encode(type_url, value) {
                Some(body) => found.push((type_url.to_owned(), body)),
                None => fields.values().for_each(|field| collect(field, found)),
            }
        }
        _ => {}
    }
}

/// `value` encoded, if it is one of the four types that the engine reads.
fn encode(type_url: &str, value: &Value) -> Option<Bytes> {
    use mesh_proto::types::{CLUSTER, ENDPOINT, LISTENER, ROUTE};
    if ![CLUSTER, ENDPOINT, LISTENER, ROUTE].contains(&type_url) {
        return None;
    }
    let mut fields = value.as_object()?.clone();
    fields.shift_remove("@type");
    let name = mesh_proto::any::message_name(type_url);
    let text = Value::Object(fields).to_string();
    mesh_proto::json::yaml_to_bytes(name, &text).ok().map(Bytes::from)
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

/// Where objects stand, from `objectz`: `Kind/namespace/name` to file and line.
fn locations(objects: &Value) -> Locations {
    let place = |(key, place): (&String, &Value)| {
        let line = u32::try_from(place["line"].as_u64()?).ok()?;
        Some((Origin::parse(key)?, SourceLocation { file: place["file"].as_str()?.into(), line }))
    };
    objects.as_object().into_iter().flatten().filter_map(place).collect()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
