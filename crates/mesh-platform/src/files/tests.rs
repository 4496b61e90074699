#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use mesh_model::rules::Spec;
use mesh_model::{Change, Code, Diagnostic, Severity};
use tempfile::TempDir;

use super::*;
use crate::Update;

fn rule(name: &str, balancer: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}}}\n\
         spec:\n  host: {name}\n  trafficPolicy:\n    loadBalancer:\n      simple: {balancer}\n"
    )
}

fn service(name: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: 80, name: http}}]}}\n")
}

/// What a change is about, in a word: `+DestinationRule a`, `-Service a`.
fn word(change: &Change) -> String {
    match change {
        Change::Service(s) => format!("+{}", s.meta.object),
        Change::ServiceRemoved(key) => format!("-Service {}", key.hostname),
        Change::Endpoints { service, source, endpoints } => {
            let all: Vec<String> = endpoints.iter().map(|e| format!("{}:{}", e.address, e.port)).collect();
            format!("Endpoints {} {source} [{}]", service.hostname, all.join(" "))
        }
        Change::Workload(w) => format!("+{}", w.meta.object),
        Change::WorkloadRemoved(key) => format!("-Workload {}", key.name),
        Change::Namespace(n) => format!("+{}", n.meta.object),
        Change::NamespaceRemoved(name) => format!("-Namespace {name}"),
        Change::Rule(r) => format!("+{}", r.object()),
        Change::RuleRemoved(object) => format!("-{object}"),
        Change::Secret(secret) => format!("+{}", secret.meta.object),
        Change::SecretRemoved(object) => format!("-{object}"),
        Change::MeshConfig(mesh) => format!("MeshConfig {}", mesh.trust_domain),
    }
}

fn words(changes: &[Change]) -> Vec<String> {
    changes.iter().map(word).collect()
}

/// Diagnostics that are more than good to know, without the folder's path.
fn faults(folder: &TempDir, diagnostics: &[Diagnostic]) -> Vec<String> {
    let prefix = format!("{}/", folder.path().display());
    let serious = diagnostics.iter().filter(|d| d.severity > Severity::Info);
    serious.map(|d| d.to_string().replace(&prefix, "")).collect()
}

/// A folder that is followed.
struct Followed {
    folder: TempDir,
    updates: Updates,
}

impl Followed {
    async fn new(files: &[(&str, &str)]) -> (Self, Update) {
        let folder = TempDir::new().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let updates = start(Options::new([folder.path()])).unwrap();
        let mut followed = Self { folder, updates };
        let first = followed.next().await;
        (followed, first)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// The next update; a test that waits longer than a slow machine needs has
    /// failed.
    async fn next(&mut self) -> Update {
        tokio::time::timeout(Duration::from_secs(20), self.updates.next()).await.unwrap().unwrap()
    }

    async fn check(&mut self, changes: &[&str], faults_expected: &[&str]) {
        let update = self.next().await;
        assert_eq!(words(&update.changes), changes);
        assert_eq!(faults(&self.folder, &update.diagnostics), faults_expected);
    }
}

/// Istio's own data, where it lies beside the project.
fn istio(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/istio").join(path);
    if !path.exists() {
        println!("skipped: {} is absent", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn istios_samples_load_without_an_error() {
    let Some(samples) = istio("samples") else { return };
    let (changes, diagnostics) = load_once(&[samples]);
    let errors: Vec<String> =
        diagnostics.iter().filter(|d| d.severity == Severity::Error).map(|d| d.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    assert!(changes.iter().any(|c| matches!(c, Change::Service(s) if &**s.meta.name() == "reviews")));
    assert!(changes.iter().any(|c| matches!(c, Change::Rule(r) if &**r.meta.name() == "reviews")));
}

#[tokio::test]
async fn a_save_is_one_update_with_only_what_differs() {
    let (mut followed, first) =
        Followed::new(&[("a.yaml", &rule("a", "RANDOM")), ("b.yml", &rule("b", "RANDOM"))]).await;
    assert_eq!(words(&first.changes), ["+DestinationRule default/a", "+DestinationRule default/b"]);
    let before = Instant::now();
    followed.write("b.yml", &rule("b", "ROUND_ROBIN"));
    followed.check(&["+DestinationRule default/b"], &[]).await;
    // The promise is 100 ms; a loaded test machine is given more.
    assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
    followed.write("c.json", r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop"}}"#);
    followed.check(&["+Namespace shop"], &[]).await;
    fs::remove_file(followed.path("a.yaml")).unwrap();
    followed.check(&["-DestinationRule default/a"], &[]).await;
}

#[tokio::test]
async fn an_editors_rename_is_a_change_and_not_a_removal() {
    let (mut followed, _) = Followed::new(&[("a.yaml", &rule("a", "RANDOM"))]).await;
    followed.write(".a.yaml.swp", "garbage: [");
    followed.write("a.yaml~", &rule("a", "RANDOM"));
    followed.write("4913.tmp", &rule("a", "ROUND_ROBIN"));
    fs::rename(followed.path("4913.tmp"), followed.path("a.yaml")).unwrap();
    followed.check(&["+DestinationRule default/a"], &[]).await;
}

#[test]
fn a_file_that_is_suddenly_empty_keeps_its_objects_until_that_is_believed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.yaml");
    let options = Options::new([folder.path()]);
    let mut store = store::Store::new(&options);
    let mut look = |text: &str, believe_empty| {
        fs::write(&path, text).unwrap();
        let touched = [path.clone()].into();
        let refreshed = store.refresh(&scan::scan(&options.paths), &touched, believe_empty);
        (refreshed.changed, refreshed.emptied, store.known().rules.len())
    };
    assert_eq!(look(&rule("a", "RANDOM"), false), (true, false, 1));
    assert_eq!(look("", false), (false, true, 1));
    assert_eq!(look("", false), (false, true, 1));
    assert_eq!(look(&rule("a", "ROUND_ROBIN"), false), (true, false, 1));
    assert_eq!(look("", false), (false, true, 1));
    assert_eq!(look("", true), (true, false, 0));
}

#[tokio::test]
async fn a_file_that_stays_empty_loses_its_objects() {
    let (mut followed, _) = Followed::new(&[("a.yaml", &rule("a", "RANDOM"))]).await;
    followed.write("a.yaml", "");
    followed.check(&["-DestinationRule default/a"], &[]).await;
}

#[tokio::test]
async fn a_wrong_value_keeps_the_previous_version_until_it_is_right() {
    let (mut followed, _) = Followed::new(&[("a.yaml", &rule("a", "RANDOM"))]).await;
    followed.write("a.yaml", &rule("a", "RANDUM"));
    let fault = "a.yaml:8: DestinationRule default/a: spec.trafficPolicy.loadBalancer.simple: found \"RANDUM\", \
                 expected one of LEAST_REQUEST, ROUND_ROBIN, RANDOM, PASSTHROUGH, LEAST_CONN, UNSPECIFIED; \
                 did you mean RANDOM?; the previous version stays in force";
    followed.check(&[], &[fault]).await;
    followed.write("a.yaml", &rule("a", "ROUND_ROBIN"));
    followed.check(&["+DestinationRule default/a"], &[]).await;
}

#[tokio::test]
async fn a_broken_document_keeps_its_own_objects_and_leaves_the_others_alone() {
    let both = |a: &str, b: &str| format!("{a}---\n{b}");
    let (mut followed, _) = Followed::new(&[("a.yaml", &both(&rule("a", "RANDOM"), &rule("b", "RANDOM")))]).await;
    followed.write("a.yaml", &both("spec: [\n", &rule("b", "ROUND_ROBIN")));
    let fault = "a.yaml:2: column 1: not YAML: while parsing a node, did not find expected node content; \
                 the previous version of DestinationRule default/a stays in force";
    followed.check(&["+DestinationRule default/b"], &[fault]).await;
    // It stands on another line now, which is a change to those who name it.
    followed.write("a.yaml", &rule("b", "ROUND_ROBIN"));
    followed.check(&["+DestinationRule default/b", "-DestinationRule default/a"], &[]).await;
}

#[tokio::test]
async fn an_object_that_stands_twice_counts_once_and_the_other_takes_over() {
    let (mut followed, first) =
        Followed::new(&[("a.yaml", &rule("x", "RANDOM")), ("b.yaml", &rule("x", "ROUND_ROBIN"))]).await;
    let twice = format!(
        "b.yaml:1: DestinationRule default/x: the same object stands at {}:1; that one is in force, this one is ignored",
        "a.yaml"
    );
    assert_eq!(faults(&followed.folder, &first.diagnostics), [twice]);
    fs::remove_file(followed.path("a.yaml")).unwrap();
    followed.check(&["+DestinationRule default/x"], &[]).await;
}

#[tokio::test]
async fn folders_appear_and_vanish_with_all_that_is_in_them() {
    let (mut followed, _) = Followed::new(&[]).await;
    fs::create_dir_all(followed.path("new/deep")).unwrap();
    followed.write("new/deep/a.yaml", &service("a"));
    followed.check(&["+Service default/a"], &[]).await;
    followed.write("new/deep/b.yaml", &service("b"));
    followed.check(&["+Service default/b"], &[]).await;
    fs::rename(followed.path("new"), followed.path(".hidden")).unwrap();
    followed.check(&["-Service a.default.svc.cluster.local", "-Service b.default.svc.cluster.local"], &[]).await;
}

#[tokio::test]
async fn a_mounted_config_map_is_followed_through_its_links() {
    let (mut followed, _) = Followed::new(&[]).await;
    fs::create_dir(followed.path("..v1")).unwrap();
    followed.write("..v1/a.yaml", &rule("a", "RANDOM"));
    symlink("..v1", followed.path("..data")).unwrap();
    symlink("..data/a.yaml", followed.path("a.yaml")).unwrap();
    followed.check(&["+DestinationRule default/a"], &[]).await;
    fs::create_dir(followed.path("..v2")).unwrap();
    followed.write("..v2/a.yaml", &rule("a", "ROUND_ROBIN"));
    symlink("..v2", followed.path("..new")).unwrap();
    fs::rename(followed.path("..new"), followed.path("..data")).unwrap();
    followed.check(&["+DestinationRule default/a"], &[]).await;
}

#[tokio::test]
async fn a_single_file_is_followed_whatever_it_is_called() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("manifest.txt");
    fs::write(&path, rule("a", "RANDOM")).unwrap();
    fs::write(folder.path().join("other.yaml"), rule("b", "RANDOM")).unwrap();
    let updates = start(Options::new([&path])).unwrap();
    let mut followed = Followed { folder, updates };
    followed.check(&["+DestinationRule default/a"], &[]).await;
    followed.write("manifest.txt", &rule("a", "ROUND_ROBIN"));
    followed.check(&["+DestinationRule default/a"], &[]).await;
    fs::remove_file(&path).unwrap();
    let missing = "manifest.txt:1: cannot be read: entity not found; the file is ignored";
    followed.check(&["-DestinationRule default/a"], &[missing]).await;
    followed.write("manifest.txt", &rule("a", "ROUND_ROBIN"));
    followed.check(&["+DestinationRule default/a"], &[]).await;
}

#[tokio::test]
async fn mesh_settings_reach_rules_that_did_not_change() {
    let virtual_service = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\n\
                           spec: {hosts: [a], http: [{route: [{destination: {host: a}}]}]}\n";
    let (mut followed, _) = Followed::new(&[("v.yaml", virtual_service)]).await;
    let mesh = |trust: &str, export: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\n\
             data:\n  mesh: |\n    trustDomain: {trust}\n    defaultVirtualServiceExportTo: ['{export}']\n"
        )
    };
    followed.write("mesh.yaml", &mesh("one.example", "."));
    followed
        .check(&["MeshConfig one.example", "+ConfigMap istio-system/istio", "+VirtualService default/v"], &[])
        .await;
    followed.write("mesh.yaml", &mesh("'", "."));
    let update = followed.next().await;
    assert_eq!(words(&update.changes), [""; 0]);
    assert_eq!(update.diagnostics.iter().filter(|d| d.consequence.contains("previous version")).count(), 1);
    followed.write("mesh.yaml", &mesh("two.example", "."));
    followed.check(&["MeshConfig two.example"], &[]).await;
    fs::remove_file(followed.path("mesh.yaml")).unwrap();
    followed
        .check(&["MeshConfig cluster.local", "+VirtualService default/v", "-ConfigMap istio-system/istio"], &[])
        .await;
}

#[test]
fn what_cannot_be_read_is_said_and_the_rest_is_read() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("a.yaml"), service("a")).unwrap();
    fs::write(folder.path().join("binary.yaml"), b"\xff\xfe\x00").unwrap();
    symlink("nowhere.yaml", folder.path().join("dangling.yaml")).unwrap();
    symlink("circle.yaml", folder.path().join("circle.yaml")).unwrap();
    symlink(".", folder.path().join("round")).unwrap();
    let missing = folder.path().join("missing.yaml");
    let (changes, diagnostics) = load_once(&[folder.path(), missing.as_path()]);
    assert_eq!(words(&changes), ["+Service default/a"]);
    let unreadable: Vec<String> = diagnostics
        .iter()
        .filter(|d| matches!(d.code, Code::Unreadable | Code::Syntax))
        .map(|d| d.to_string().replace(&format!("{}/", folder.path().display()), ""))
        .filter(|d| !d.starts_with("round"))
        .collect();
    assert_eq!(
        unreadable,
        [
            "binary.yaml:1: column 1: found bytes that are not UTF-8 text; the document that begins on line 1 is ignored",
            "circle.yaml:1: cannot be read: filesystem loop or indirection limit (e.g. symlink loop); the file is ignored",
            "missing.yaml:1: cannot be read: entity not found; the file is ignored",
        ]
    );
    assert!(matches!(start(Options::new([missing])), Err(Error::Unreadable { .. })));
    assert!(matches!(start(Options::new([""; 0])), Err(Error::NoPath)));
}

#[test]
fn the_same_text_gives_the_same_rule_from_any_of_its_versions() {
    let folder = TempDir::new().unwrap();
    for version in ["v1", "v1beta1", "v1alpha3"] {
        let text = rule(version, "RANDOM").replace("istio.io/v1\n", &format!("istio.io/{version}\n"));
        fs::write(folder.path().join(format!("{version}.yaml")), text).unwrap();
    }
    let known = read_once(Options::new([folder.path()]));
    assert_eq!(known.rules.len(), 3);
    assert!(known.rules.values().all(|rule| matches!(rule.spec, Spec::DestinationRule(_))));
}

#[tokio::test]
async fn dropping_the_updates_ends_the_thread() {
    let (followed, _) = Followed::new(&[]).await;
    let Followed { folder, updates } = followed;
    drop(updates);
    let threads = || {
        let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
        let name = |path: PathBuf| fs::read_to_string(path.join("comm")).unwrap_or_default();
        tasks.filter(|task| name(task.path()).trim() == "files").count()
    };
    // Other tests' threads come and go; ours goes within its idle time.
    let before = Instant::now();
    while threads() > 0 && before.elapsed() < Duration::from_secs(30) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(threads(), 0);
    drop(folder);
}
