#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use std::path::Path;

use clap::{CommandFactory, Parser};

use super::*;

/// The help of `command` and all below it, at the width that a wide terminal gets.
fn help(command: &mut clap::Command, path: &str, text: &mut String) {
    let shown = command.clone().term_width(100).render_long_help().to_string();
    writeln!(text, "$ {path} --help\n{}\n", shown.trim_end()).unwrap();
    for inner in command.get_subcommands_mut().filter(|c| c.get_name() != "help") {
        help(inner, &format!("{path} {}", inner.get_name()), text);
    }
}

#[test]
fn help_is_as_committed() {
    let mut text = String::new();
    let mut command = Args::command();
    command.build();
    help(&mut command, "pilothouse", &mut text);
    let text: String = text.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/help.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "testdata/help.txt is not current; `cargo xtask golden` rewrites it\n{text}");
}

fn parse(line: &str) -> std::result::Result<Command, clap::error::ErrorKind> {
    Args::try_parse_from(line.split_whitespace()).map(|args| args.command).map_err(|error| error.kind())
}

#[test]
fn istios_flags_and_kebab_case_are_the_same() {
    let camel = "pilothouse discovery --configDir a --configDir b --grpcAddr :0 --monitoringAddr :0 \
                 --httpAddr :0 --legacy-monitoring-addr :9093 --meshConfig m.yaml --domain d";
    let kebab = "pilothouse discovery --config-dir a --config-dir b --grpc-addr :0 --monitoring-addr :0 \
                 --http-addr :0 --legacyMonitoringAddr :9093 --mesh-config m.yaml --domain d";
    assert_eq!(format!("{:?}", parse(camel).unwrap()), format!("{:?}", parse(kebab).unwrap()));
}

#[test]
fn envoys_flags_reach_the_proxy_as_they_are() {
    let Command::Proxy(args) = parse("pilothouse proxy -c x.yaml --drain-time-s 45 -l warning").unwrap() else {
        panic!("another command");
    };
    assert!(format!("{args:?}").contains(r#"["-c", "x.yaml", "--drain-time-s", "45", "-l", "warning"]"#), "{args:?}");
}

#[test]
fn numbers_outside_their_bounds_are_refused() {
    use clap::error::ErrorKind::{MissingRequiredArgument, ValueValidation};
    let check = |line: &str, kind| assert_eq!(parse(line).unwrap_err(), kind, "{line}");
    check("pilothouse demo --replicas 0", ValueValidation);
    check("pilothouse demo --replicas 51", ValueValidation);
    check("pilothouse demo --requests 0", ValueValidation);
    check("pilothouse discovery --configDir a --grpcAddr localhost:1", ValueValidation);
    check("pilothouse discovery", MissingRequiredArgument);
    check("pilothouse up", MissingRequiredArgument);
}

#[tokio::test]
async fn the_examples_load_without_a_word() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut folders: Vec<_> = std::fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() >= 2, "{folders:?}");
    for folder in folders {
        let loaded = mesh_pilot::offline::load(&mesh_pilot::offline::LoadOptions::new([folder.clone()])).await;
        assert_eq!(loaded.diagnostics, [], "{}", folder.display());
        assert!(loaded.snapshot.workloads.iter().count() > 0, "{}", folder.display());
    }
}
