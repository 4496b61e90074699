//! What the process is started with: Envoy's command line, as values.
//!
//! [`Options::parse`] reads the flags that Envoy takes (and that an agent
//! passes it). Flags that have no meaning here but do no harm (hot restart,
//! base id, log format) are accepted and kept for `/server_info`.
//!
//! Deliberately absent: reading the configuration file (`bootstrap`).

use std::path::PathBuf;
use std::time::Duration;

/// A command line that cannot be understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OptionError {
    /// A flag that neither Envoy nor this proxy has.
    #[error("unknown flag {flag}; see --help")]
    Unknown {
        /// As it was written.
        flag: String,
    },
    /// A flag that needs a value stands last.
    #[error("flag {flag} needs a value")]
    NoValue {
        /// The flag.
        flag: String,
    },
    /// A value of the wrong form.
    #[error("flag {flag}: found {found:?}, expected {expected}")]
    BadValue {
        /// The flag.
        flag: String,
        /// The value as written.
        found: String,
        /// What would be right.
        expected: &'static str,
    },
}

/// How connections are asked to close while draining.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DrainStrategy {
    /// The share of connections asked to close grows over the drain time.
    #[default]
    Gradual,
    /// All are asked to close at once.
    Immediate,
}

/// Whether to serve or only to check the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Serve.
    #[default]
    Serve,
    /// Check the configuration, bind nothing, and return.
    Validate,
}

/// Everything a proxy is started with. `Default` is Envoy's default for every
/// flag; a configuration must be given in `config_path`, `config_yaml` or both.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bootstrap file, YAML or JSON (`-c`).
    pub config_path: Option<PathBuf>,
    /// Bootstrap text, YAML or JSON (`--config-yaml`); merged over the file.
    pub config_yaml: Option<String>,
    /// Worker threads (`--concurrency`); one for each CPU if `None` or zero.
    pub concurrency: Option<usize>,
    /// How long draining connections get before they are closed (`--drain-time-s`).
    pub drain_time: Duration,
    /// See [`DrainStrategy`] (`--drain-strategy`).
    pub drain_strategy: DrainStrategy,
    /// Kept for `/server_info` only: there is no hot restart (`--parent-shutdown-time-s`).
    pub parent_shutdown_time: Duration,
    /// `v4` or `v6`: the local address in access logs and DNS lookups (`--local-address-ip-version`).
    pub local_address_ip_version: String,
    /// `trace|debug|info|warning|error|critical|off` (`-l`, `--log-level`).
    pub log_level: String,
    /// Per-component levels as written; kept for `/server_info` (`--component-log-level`).
    pub component_log_level: String,
    /// Accepted and kept for `/server_info`; our own log format is used (`--log-format`).
    pub log_format: String,
    /// Accepted; there is never a hot restart (`--disable-hot-restart`).
    pub disable_hot_restart: bool,
    /// Accepted and kept (`--base-id`).
    pub base_id: u32,
    /// Accepted and kept (`--restart-epoch`).
    pub restart_epoch: u32,
    /// Unknown bootstrap fields are reported in the log instead of refused
    /// (`--allow-unknown-static-fields`).
    pub allow_unknown_static_fields: bool,
    /// How often buffered access-log lines reach the disk (`--file-flush-interval-msec`).
    pub file_flush_interval: Duration,
    /// Overrides `node.cluster` (`--service-cluster`).
    pub service_cluster: Option<String>,
    /// Overrides `node.id` (`--service-node`).
    pub service_node: Option<String>,
    /// Overrides `node.locality.zone` (`--service-zone`).
    pub service_zone: Option<String>,
    /// Names that clients ask for (dynamic forward proxy) may lead to this
    /// machine and its link (`--allow-local-destinations`).
    pub allow_local_destinations: bool,
    /// Clusters are asked for by name when they are first needed, instead of
    /// all at once (`--on-demand-clusters`). Only over incremental xDS.
    pub on_demand_clusters: bool,
    /// Serve, or validate and return (`--mode`).
    pub mode: Mode,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            config_path: None,
            config_yaml: None,
            concurrency: None,
            drain_time: Duration::from_secs(600),
            drain_strategy: DrainStrategy::default(),
            parent_shutdown_time: Duration::from_secs(900),
            local_address_ip_version: "v4".to_owned(),
            log_level: "info".to_owned(),
            component_log_level: String::new(),
            log_format: String::new(),
            disable_hot_restart: false,
            base_id: 0,
            restart_epoch: 0,
            allow_unknown_static_fields: false,
            file_flush_interval: Duration::from_secs(10),
            service_cluster: None,
            service_node: None,
            service_zone: None,
            allow_local_destinations: false,
            on_demand_clusters: false,
            mode: Mode::default(),
        }
    }
}

impl Options {
    /// Reads Envoy's flags, without the program name. `--flag value` and
    /// `--flag=value` are the same.
    ///
    /// # Errors
    /// [`OptionError`] naming the first flag that is wrong.
    pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, OptionError> {
        let mut options = Self::default();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let (flag, mut inline) = match arg.split_once('=') {
                Some((flag, value)) if flag.starts_with("--") => (flag.to_owned(), Some(value.to_owned())),
                _ => (arg, None),
            };
            if options.set_switch(&flag) {
                continue;
            }
            if !VALUE_FLAGS.contains(&flag.as_str()) {
                return Err(OptionError::Unknown { flag });
            }
            let value =
                inline.take().or_else(|| args.next()).ok_or_else(|| OptionError::NoValue { flag: flag.clone() })?;
            options.set_value(&flag, value)?;
        }
        Ok(options)
    }

    fn set_switch(&mut self, flag: &str) -> bool {
        match flag {
            "--disable-hot-restart" => self.disable_hot_restart = true,
            "--on-demand-clusters" => self.on_demand_clusters = true,
            "--allow-local-destinations" => self.allow_local_destinations = true,
            "--allow-unknown-static-fields" | "--allow-unknown-fields" => self.allow_unknown_static_fields = true,
            "--reject-unknown-dynamic-fields"
            | "--ignore-unknown-dynamic-fields"
            | "--skip-deprecated-logs"
            | "--use-dynamic-base-id"
            | "--cpuset-threads"
            | "--enable-fine-grain-logging"
            | "--log-format-escaped" => {}
            _ => return false,
        }
        true
    }

    fn set_value(&mut self, flag: &str, value: String) -> Result<(), OptionError> {
        match flag {
            "-c" | "--config-path" => self.config_path = Some(PathBuf::from(value)),
            "--config-yaml" => self.config_yaml = Some(value),
            "--concurrency" => self.concurrency = Some(number(flag, &value)?),
            "--drain-time-s" => self.drain_time = Duration::from_secs(number(flag, &value)?),
            "--parent-shutdown-time-s" => self.parent_shutdown_time = Duration::from_secs(number(flag, &value)?),
            "--drain-strategy" => {
                self.drain_strategy = match value.as_str() {
                    "gradual" => DrainStrategy::Gradual,
                    "immediate" => DrainStrategy::Immediate,
                    _ => return Err(bad(flag, &value, "gradual or immediate")),
                }
            }
            "--local-address-ip-version" => match value.as_str() {
                "v4" | "v6" => self.local_address_ip_version = value,
                _ => return Err(bad(flag, &value, "v4 or v6")),
            },
            "-l" | "--log-level" => {
                if crate::logging::level(&value).is_none() {
                    return Err(bad(flag, &value, "trace, debug, info, warning, error, critical or off"));
                }
                self.log_level = value;
            }
            "--component-log-level" => self.component_log_level = value,
            "--log-format" => self.log_format = value,
            "--base-id" => self.base_id = number(flag, &value)?,
            "--restart-epoch" => self.restart_epoch = number(flag, &value)?,
            "--file-flush-interval-msec" => self.file_flush_interval = Duration::from_millis(number(flag, &value)?),
            "--service-cluster" => self.service_cluster = Some(value),
            "--service-node" => self.service_node = Some(value),
            "--service-zone" => self.service_zone = Some(value),
            "--mode" => {
                self.mode = match value.as_str() {
                    "serve" => Mode::Serve,
                    "validate" => Mode::Validate,
                    _ => return Err(bad(flag, &value, "serve or validate")),
                }
            }
            // Accepted for Envoy's sake: sockets, logs and statistics that this process does not have.
            _ => {}
        }
        Ok(())
    }

    /// How many worker threads to run: the flag, else the number of CPUs.
    pub fn workers(&self) -> usize {
        match self.concurrency {
            Some(n) if n > 0 => n.min(WORKERS_MAX),
            _ => std::thread::available_parallelism().map_or(1, |n| n.get()).min(WORKERS_MAX),
        }
    }
}

fn number<T: std::str::FromStr>(flag: &str, value: &str) -> Result<T, OptionError> {
    value.parse().map_err(|_| bad(flag, value, "a whole number"))
}

fn bad(flag: &str, value: &str, expected: &'static str) -> OptionError {
    OptionError::BadValue { flag: flag.to_owned(), found: value.to_owned(), expected }
}

/// More workers than this only multiply upstream connections.
const WORKERS_MAX: usize = 256;

const VALUE_FLAGS: [&str; 26] = [
    "-c",
    "--config-path",
    "--config-yaml",
    "--concurrency",
    "--drain-time-s",
    "--drain-strategy",
    "--parent-shutdown-time-s",
    "--local-address-ip-version",
    "-l",
    "--log-level",
    "--component-log-level",
    "--log-format",
    "--log-path",
    "--base-id",
    "--base-id-path",
    "--restart-epoch",
    "--file-flush-interval-msec",
    "--file-flush-min-size-kb",
    "--service-cluster",
    "--service-node",
    "--service-zone",
    "--mode",
    "--admin-address-path",
    "--socket-path",
    "--socket-mode",
    "--stats-tag",
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(line: &str) -> Result<Options, OptionError> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_flags_an_agent_passes_are_understood() {
        let options = parse(
            "-c etc/istio/proxy/envoy-rev.json --drain-time-s 45 --drain-strategy immediate \
             --local-address-ip-version v4 --file-flush-interval-msec 1000 --disable-hot-restart \
             --allow-unknown-static-fields -l warning --component-log-level misc:error --concurrency=2",
        )
        .unwrap();
        assert_eq!(options.drain_time, Duration::from_secs(45));
        assert_eq!(options.drain_strategy, DrainStrategy::Immediate);
        assert_eq!(options.workers(), 2);
        assert!(options.disable_hot_restart && options.allow_unknown_static_fields);
    }

    #[test]
    fn a_wrong_flag_is_named() {
        assert_eq!(parse("--concurency 2").unwrap_err().to_string(), "unknown flag --concurency; see --help");
        assert_eq!(
            parse("--concurrency two").unwrap_err().to_string(),
            "flag --concurrency: found \"two\", expected a whole number"
        );
        assert_eq!(parse("--mode").unwrap_err().to_string(), "flag --mode needs a value");
    }
}
