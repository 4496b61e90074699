//! The command `pilothouse`: reads the command line, runs one command, and
//! turns its outcome into an exit code.
//!
//! Invariant: no decision of the mesh is made in this crate. Commands wire the
//! other crates together and print what those decide.

mod command;
mod excerpt;
mod explanation;
mod failure;
mod proxies;
mod report;
mod signals;
mod sources;
mod terminal;
mod web;

use std::process::ExitCode;

use clap::Parser;

// The C allocator returns memory late and fragments under many short requests.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let args = match command::Args::try_parse() {
        Ok(args) => args,
        Err(error) => return failure::usage(&error),
    };
    match command::run(args.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            anstream::eprintln!("{}", terminal::paint(terminal::ERROR, &format!("pilothouse: {failure}")));
            failure.exit_code()
        }
    }
}
