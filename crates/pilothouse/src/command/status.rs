//! `pilothouse status`: what has become of each rule: accepted, in conflict, in
//! effect on how many proxies.
//!
//! A running control plane knows all three; a folder tells the first two.

use std::path::PathBuf;

use mesh_model::ObjectRef;
use mesh_pilot::offline::{self, LoadOptions};
use mesh_pilot::rule_status::{Condition, RuleStatus};

use super::Output;
use crate::failure::{Failure, Result};
use crate::terminal;
use crate::web;

mod text;

/// Say what has become of each rule object: accepted, in conflict, effective on
/// how many proxies
///
/// Exit code 1 if an object is not accepted, is in conflict, or is refused by a
/// proxy.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Objects to show, as KIND NAMESPACE/NAME or KIND/NAMESPACE/NAME; all by default
    #[arg(value_name = "OBJECT")]
    objects: Vec<String>,

    /// Folder or file of manifests to judge, without a running mesh; may be repeated
    #[arg(short = 'f', long = "file", value_name = "DIR", conflicts_with = "pilot")]
    files: Vec<PathBuf>,

    /// Debug address of the running control plane to ask
    #[arg(long, value_name = "ADDR", default_value = "http://127.0.0.1:15014")]
    pilot: String,

    /// DNS domain of the platform's services
    #[arg(long, default_value = "cluster.local")]
    domain: String,

    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub(crate) fn run(args: Args) -> Result {
    let wanted = parse(&args.objects)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::other("cannot start", &error))?;
    let all = runtime.block_on(async {
        if args.files.is_empty() { online(&args.pilot).await } else { offline(&args.files, &args.domain).await }
    })?;
    if let Some(missing) = wanted.iter().find(|w| !all.iter().any(|s| names(&s.object, w))) {
        return Err(Failure::Data(format!("no rule {missing} is known")));
    }
    let shown: Vec<RuleStatus> =
        all.into_iter().filter(|s| wanted.is_empty() || wanted.iter().any(|w| names(&s.object, w))).collect();
    terminal::print(&match args.output {
        Output::Text => text::render(&shown, terminal::width()),
        Output::Json => json(&shown)?,
    });
    let bad = shown.iter().filter(|s| !is_well(s)).count();
    match bad {
        0 => Ok(()),
        1 => Err(Failure::Other("one object is not as its author wants it".to_owned())),
        n => Err(Failure::Other(format!("{n} objects are not as their authors want them"))),
    }
}

/// What a running control plane says of its rules.
pub(super) async fn online(pilot: &str) -> Result<Vec<RuleStatus>> {
    let base = if pilot.contains("://") { pilot.to_owned() } else { format!("http://{pilot}") };
    let url = format!("{}/debug/rule_status", base.trim_end_matches('/'));
    let document = web::json(&url).await.map_err(|failure| {
        Failure::Other(format!("{failure}; give the control plane's address with --pilot, or manifests with -f"))
    })?;
    let entries = document.as_array().into_iter().flatten();
    entries.map(|e| RuleStatus::from_json(e).map_err(|error| Failure::other(&url, &error))).collect()
}

async fn offline(files: &[PathBuf], domain: &str) -> Result<Vec<RuleStatus>> {
    for path in files {
        std::fs::metadata(path).map_err(|error| Failure::Data(format!("-f {}: {error}", path.display())))?;
    }
    let options = LoadOptions { config_dirs: files.to_vec(), mesh_config: None, domain: domain.to_owned() };
    Ok(offline::load(&options).await.rule_statuses())
}

/// Each `KIND/NAMESPACE/NAME`, or `KIND NAMESPACE/NAME` as two arguments; a
/// name without a namespace is in `default`.
pub(super) fn parse(words: &[String]) -> Result<Vec<String>> {
    let mut objects = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let parts: Vec<&str> = word.split('/').collect();
        objects.push(match parts[..] {
            [kind, namespace, name] => format!("{kind}/{namespace}/{name}"),
            [kind] => match words.next().map(|rest| rest.split('/').collect::<Vec<_>>()).as_deref() {
                Some([namespace, name]) => format!("{kind}/{namespace}/{name}"),
                Some([name]) => format!("{kind}/default/{name}"),
                _ => return Err(Failure::Usage(format!("{word}: expected KIND NAMESPACE/NAME"))),
            },
            _ => return Err(Failure::Usage(format!("{word}: expected KIND NAMESPACE/NAME"))),
        });
    }
    Ok(objects)
}

/// Whether `wanted` means `object`; kinds are compared without regard to case.
pub(super) fn names(object: &ObjectRef, wanted: &str) -> bool {
    let mut parts = wanted.splitn(3, '/');
    let (kind, namespace, name) = (parts.next(), parts.next(), parts.next());
    kind.is_some_and(|k| {
        k.eq_ignore_ascii_case(object.kind.as_str()) || k.eq_ignore_ascii_case(object.kind.qualified())
    }) && namespace == Some(&*object.namespace)
        && name == Some(&*object.name)
}

/// Whether there is nothing for its author to do. Proxies that have not
/// answered yet will; one that refuses will not.
fn is_well(status: &RuleStatus) -> bool {
    let refused = status.condition("Effective").is_some_and(|c| c.reason == "Refused");
    let holds = |kind, wanted| status.condition(kind).is_none_or(|c| c.holds == Some(wanted));
    holds("Accepted", true) && holds("Conflicting", false) && !refused
}

fn json(shown: &[RuleStatus]) -> Result<String> {
    let values: Vec<serde_json::Value> = shown.iter().map(RuleStatus::to_json).collect();
    let text = serde_json::to_string_pretty(&values).map_err(|error| Failure::other("cannot write JSON", &error))?;
    Ok(text + "\n")
}

/// What stands behind a condition, unless it says nothing of interest.
fn reason(condition: &Condition) -> Option<&str> {
    let dull = matches!(condition.reason.as_str(), "Accepted" | "NoConflict" | "Effective");
    Some(condition.message.as_str()).filter(|m| !dull && !m.is_empty())
}
