//! `pilothouse analyze`: what is wrong between objects, in files or in a running
//! mesh, with Istio's codes.

mod live;
mod report;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use mesh_config::analysis::{self, Analyzer, Filter, Finding, Level, Mesh, Settings, Suppression, Unreadable};
use mesh_config::yaml::{self, Node};

use crate::excerpt::Layout;
use crate::failure::{Failure, Result};
use crate::sources::{self, Lines, Source};
use crate::terminal;

/// Find what is wrong between objects: references, conflicts, rules without effect
///
/// Reads files, or asks a running control plane (--pilot), or both: then the files are taken as if
/// they were applied. Codes are Istio's (IST...), and ours beyond them (PLT...). The exit code is 79
/// if there are findings at or above the failure threshold, 65 if a file could not be read.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files and folders; - is standard input
    #[arg(value_name = "FILE", required_unless_present_any = ["pilot", "list_analyzers"])]
    paths: Vec<PathBuf>,

    /// Debug address of a running control plane to ask for its objects
    #[arg(long, value_name = "ADDR")]
    pilot: Option<String>,

    /// Analyze all namespaces; objects without one stay without
    #[arg(short = 'A', long)]
    all_namespaces: bool,

    /// The namespace to analyze, which objects without one are taken to be in
    #[arg(short, long, default_value = "default", conflicts_with = "all_namespaces")]
    namespace: String,

    // Not a doc comment: its brackets would be links.
    #[arg(short = 'S', long, value_name = "CODE=OBJECT", value_parser = suppression, help = SUPPRESS_HELP)]
    suppress: Vec<Suppression>,

    /// Run this analyzer only; may be repeated
    #[arg(long, value_name = "NAME")]
    analyzer: Vec<String>,

    /// List the analyzers and do nothing else
    #[arg(short = 'L', long)]
    list_analyzers: bool,

    /// The least level that gives the exit code 79
    #[arg(long, value_name = "LEVEL", default_value = "Error", value_parser = level)]
    failure_threshold: Level,

    /// The least level that is printed
    #[arg(long, value_name = "LEVEL", default_value = "Info", value_parser = level)]
    output_threshold: Level,

    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,

    /// Colours: --color and --color=false; without it, where a terminal shows them
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    color: Option<bool>,

    /// MeshConfig, in place of that of the ConfigMap istio
    #[arg(long, visible_alias = "meshConfigFile", value_name = "FILE")]
    mesh_config_file: Option<PathBuf>,

    /// MeshNetworks, in place of those of the ConfigMap istio
    #[arg(long, visible_alias = "meshNetworksFile", value_name = "FILE")]
    mesh_networks_file: Option<PathBuf>,

    /// The namespace of the control plane
    #[arg(short = 'i', long, visible_alias = "istioNamespace", value_name = "NS", default_value = "istio-system")]
    istio_namespace: String,

    /// Do not fail for documents that are no Kubernetes objects
    #[arg(long)]
    ignore_unknown: bool,

    /// Folders are always read with all below them; here so that istioctl's command lines work
    #[arg(short = 'R', long, hide_short_help = true)]
    recursive: bool,
}

const SUPPRESS_HELP: &str = "Do not tell a code about an object, such as 'IST0102=Namespace shop' or \
                             'IST0103=Pod *.shop'; may be repeated";

/// How findings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Format {
    /// For people, each finding with its line.
    #[default]
    Log,
    /// One JSON array.
    Json,
    /// One YAML list.
    Yaml,
}

fn level(text: &str) -> std::result::Result<Level, String> {
    let found = Level::ALL.into_iter().find(|level| level.as_str().eq_ignore_ascii_case(text));
    found.ok_or_else(|| "expected Info, Warning or Error".to_owned())
}

fn suppression(text: &str) -> std::result::Result<Suppression, String> {
    text.parse()
}

/// # Errors
/// If a file cannot be read, the control plane does not answer, an analyzer is
/// not known, or there are findings at or above the failure threshold.
pub(crate) fn run(args: &Args) -> Result {
    match args.color {
        Some(true) => anstream::ColorChoice::AlwaysAnsi.write_global(),
        Some(false) => anstream::ColorChoice::Never.write_global(),
        None => {}
    }
    let analyzers = analysis::named(&args.analyzer).map_err(|name| {
        Failure::Usage(format!("--analyzer {name:?}: there is none of that name; --list-analyzers lists them"))
    })?;
    if args.list_analyzers {
        terminal::print(&report::list(&analyzers));
        return Ok(());
    }
    let sources = sources::read(&args.paths)?;
    let (found, unreadable) = findings(args, &sources, analyzers)?;
    let shown = analysis::without_lower(&found, args.output_threshold);
    match args.output {
        Format::Log => print_log(args, &shown, &unreadable, &sources),
        Format::Json => terminal::print(&report::json(&shown)),
        Format::Yaml => terminal::print(&report::yaml(&shown)),
    }
    outcome(args, &found, &unreadable)
}

/// What is found, and what of the files is no object.
fn findings(
    args: &Args,
    sources: &[Source],
    analyzers: Vec<&'static Analyzer>,
) -> Result<(Vec<Finding>, Vec<Unreadable>)> {
    let namespace = if args.all_namespaces { "" } else { &*args.namespace };
    let mut analyzers = analyzers;
    let mut objects = Vec::new();
    if let Some(pilot) = &args.pilot {
        objects = live::objects(pilot)?;
        // A control plane does not tell of Pods, Secrets and the like.
        analyzers.retain(|analyzer| live::can_run(analyzer));
    }
    let mut unreadable = Vec::new();
    for source in sources {
        let (read, broken) = analysis::read(&source.name, &source.bytes, namespace);
        objects.extend(read);
        unreadable.extend(broken);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let settings = Settings {
        root_namespace: args.istio_namespace.as_str().into(),
        mesh_config: document(args.mesh_config_file.as_ref())?,
        mesh_networks: document(args.mesh_networks_file.as_ref())?,
        now: i64::try_from(now).unwrap_or(i64::MAX),
        default_ingress: true,
    };
    let mesh = Mesh::new(objects, settings);
    let namespaces = (!args.all_namespaces).then(|| args.namespace.as_str().into()).into_iter().collect();
    let filter = Filter { namespaces, suppressions: args.suppress.clone() };
    Ok((filter.apply(analysis::analyze(&mesh, analyzers)), unreadable))
}

fn document(path: Option<&PathBuf>) -> Result<Option<Node>> {
    let Some(path) = path else { return Ok(None) };
    let failure = |why: String| Failure::Data(format!("{}: {why}", path.display()));
    let bytes = std::fs::read(path).map_err(|error| failure(error.to_string()))?;
    match yaml::parse(&bytes).into_iter().next().map(|document| document.root) {
        Some(Ok(root)) => Ok(Some(root)),
        Some(Err(error)) => Err(failure(format!("line {}, {error}", error.line))),
        None => Ok(None),
    }
}

fn print_log(args: &Args, shown: &[Finding], unreadable: &[Unreadable], sources: &[Source]) {
    let (layout, lines) = (Layout::of_stdout(), Lines::of(sources));
    terminal::print(&report::log(shown, &layout, &lines));
    for part in unreadable {
        anstream::eprintln!("{}:{}: {}", part.file, part.line, part.message);
    }
    if shown.is_empty() {
        let what = args.pilot.iter().cloned().chain(sources.iter().map(|source| source.name.to_string()));
        let what: Vec<String> = what.collect();
        let rest = what.len().saturating_sub(NAMES_SHOWN);
        let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        let names = what[..what.len().min(NAMES_SHOWN)].join(", ");
        anstream::eprintln!("{}", terminal::paint(terminal::GOOD, &format!("No issues found in {names}{more}.")));
    }
}

/// As many files as a line takes.
const NAMES_SHOWN: usize = 3;

/// As istioctl: only the output for people decides about the exit code.
fn outcome(args: &Args, found: &[Finding], unreadable: &[Unreadable]) -> Result {
    if args.output != Format::Log {
        return Ok(());
    }
    let issues = found.iter().filter(|finding| finding.code.level <= args.failure_threshold).count();
    if issues > 0 {
        let namespace =
            if args.all_namespaces { "all namespaces".to_owned() } else { format!("namespace {}", args.namespace) };
        return Err(Failure::Issues(format!(
            "the analysis of {namespace} found {issues} issues of level {} and above",
            args.failure_threshold
        )));
    }
    match unreadable.len() {
        0 => Ok(()),
        _ if args.ignore_unknown => Ok(()),
        parts => Err(Failure::Data(format!("{parts} documents could not be read; --ignore-unknown lets them pass"))),
    }
}
