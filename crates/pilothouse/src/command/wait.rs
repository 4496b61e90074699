//! `pilothouse wait`: blocks until rules are accepted, or in effect everywhere.

use std::time::{Duration, Instant};

use mesh_pilot::rule_status::RuleStatus;

use super::status;
use crate::failure::{Failure, Result};
use crate::terminal;

/// Wait until rule objects are accepted, or effective on every proxy that needs
/// them
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Objects, as KIND NAMESPACE/NAME or KIND/NAMESPACE/NAME
    #[arg(value_name = "OBJECT", required = true)]
    objects: Vec<String>,

    /// What to wait for
    #[arg(long = "for", value_enum, default_value_t = Goal::Effective)]
    goal: Goal,

    /// For how long at most, such as 30s
    #[arg(long, default_value = "60s", value_parser = duration)]
    timeout: Duration,

    /// Debug address of the running control plane to ask
    #[arg(long, value_name = "ADDR", default_value = "http://127.0.0.1:15014")]
    pilot: String,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Goal {
    /// The control plane has read it and found no error.
    Accepted,
    /// Every proxy that it is for has acknowledged what it shaped.
    Effective,
}

pub(crate) fn run(args: Args) -> Result {
    let wanted = status::parse(&args.objects)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::other("cannot start", &error))?;
    runtime.block_on(wait(&wanted, &args))
}

async fn wait(wanted: &[String], args: &Args) -> Result {
    let started = Instant::now();
    loop {
        let missing = match status::online(&args.pilot).await {
            Ok(all) => wanted.iter().find_map(|w| unmet(&all, w, args.goal)),
            // A control plane that is starting is waited for, too.
            Err(failure) => Some(failure.to_string()),
        };
        let Some(missing) = missing else {
            terminal::print(&format!("{} {}\n", wanted.join(", "), args.goal.word()));
            return Ok(());
        };
        if started.elapsed() >= args.timeout {
            return Err(Failure::Other(format!("after {:?}: {missing}", args.timeout)));
        }
        tokio::time::sleep(INTERVAL.min(args.timeout)).await;
    }
}

/// Why `wanted` is not there yet.
fn unmet(all: &[RuleStatus], wanted: &str, goal: Goal) -> Option<String> {
    let Some(found) = all.iter().find(|s| status::names(&s.object, wanted)) else {
        return Some(format!("no rule {wanted} is known"));
    };
    let kinds: &[&str] = match goal {
        Goal::Accepted => &["Accepted"],
        Goal::Effective => &["Accepted", "Effective"],
    };
    let unmet = kinds.iter().filter_map(|kind| found.condition(kind)).find(|c| c.holds != Some(true))?;
    Some(format!("{} is not {} yet: {}", found.object, unmet.kind.to_lowercase(), unmet.message))
}

impl Goal {
    fn word(self) -> &'static str {
        match self {
            Goal::Accepted => "accepted",
            Goal::Effective => "effective",
        }
    }
}

/// A whole number with `ms`, `s` or `m`.
fn duration(text: &str) -> std::result::Result<Duration, String> {
    let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..unit].parse().map_err(|_| format!("{text}: expected a duration such as 30s"))?;
    match &text[unit..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        _ => Err(format!("{text}: expected a duration such as 30s")),
    }
}

/// How often the control plane is asked.
const INTERVAL: Duration = Duration::from_millis(200);
