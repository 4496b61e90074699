//! Access logs: which requests are logged, where to, and in what words.

use std::path::PathBuf;

use mesh_proto::envoy::config::accesslog::v3 as xds;
use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::extensions::access_loggers as loggers;

use crate::error::{At, ConfigError};
use crate::format::{Facts, JsonTemplate, Template};
use crate::parse::{self, honour};

mod filter;
#[cfg(test)]
mod tests;

pub use filter::{Comparison, Filter, Operation};

/// One access log of a listener or filter.
#[derive(Debug, Clone)]
pub struct AccessLog {
    /// Where lines go.
    pub sink: Sink,
    /// Which requests are logged; `None`: all.
    pub filter: Option<Filter>,
    format: Format,
}

/// Where log lines go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Sink {
    /// A file, opened for appending. `/dev/stdout` and `/dev/stderr` come as the variants below.
    File(PathBuf),
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

#[derive(Debug, Clone)]
enum Format {
    Text(Template, bool),
    Json(JsonTemplate),
}

impl AccessLog {
    /// Whether its filter lets these facts through. `random` is any number.
    pub fn wants(&self, facts: &Facts<'_>, random: u64) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.matches(facts, random))
    }

    /// Appends one line, with its newline, to `out`.
    pub fn write(&self, facts: &Facts<'_>, out: &mut String) {
        match &self.format {
            Format::Text(template, omit_empty) => template.write_or(facts, out, if *omit_empty { "" } else { "-" }),
            Format::Json(template) => {
                template.write(facts, out);
                out.push('\n');
            }
        }
    }

    /// Reads the list in the field `access_log`.
    pub(crate) fn parse_all(at: &At<'_>, protos: &[xds::AccessLog]) -> Result<Vec<Self>, ConfigError> {
        protos.iter().enumerate().map(|(i, proto)| Self::parse(&at.index("access_log", i), proto)).collect()
    }

    fn parse(at: &At<'_>, proto: &xds::AccessLog) -> Result<Self, ConfigError> {
        let Some(xds::access_log::ConfigType::TypedConfig(any)) = &proto.config_type else {
            return Err(at.field("typed_config").missing("a configuration"));
        };
        let filter = match &proto.filter {
            Some(filter) => Some(Filter::parse(&at.field("filter"), filter)?),
            None => None,
        };
        let at = at.field("typed_config");
        let (sink, format) = match mesh_proto::any::message_name(&any.type_url) {
            "envoy.extensions.access_loggers.file.v3.FileAccessLog" => file(&at, &parse::unpack(&at, any)?)?,
            "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog" => {
                use loggers::stream::v3::{StdoutAccessLog, stdout_access_log::AccessLogFormat as F};
                let stdout: StdoutAccessLog = parse::unpack(&at, any)?;
                let format = stdout.access_log_format.map(|F::LogFormat(f)| f);
                (Sink::Stdout, log_format(&at.field("log_format"), format.as_ref())?)
            }
            "envoy.extensions.access_loggers.stream.v3.StderrAccessLog" => {
                use loggers::stream::v3::{StderrAccessLog, stderr_access_log::AccessLogFormat as F};
                let stderr: StderrAccessLog = parse::unpack(&at, any)?;
                let format = stderr.access_log_format.map(|F::LogFormat(f)| f);
                (Sink::Stderr, log_format(&at.field("log_format"), format.as_ref())?)
            }
            _ => return Err(parse::unknown_extension(&at, &proto.name, &any.type_url)),
        };
        Ok(Self { sink, filter, format })
    }
}

fn file(at: &At<'_>, proto: &loggers::file::v3::FileAccessLog) -> Result<(Sink, Format), ConfigError> {
    use loggers::file::v3::file_access_log::AccessLogFormat as F;
    let sink = match parse::non_empty(at, "path", &proto.path)? {
        "/dev/stdout" => Sink::Stdout,
        "/dev/stderr" => Sink::Stderr,
        path => Sink::File(path.into()),
    };
    let format = match &proto.access_log_format {
        None => log_format(at, None)?,
        Some(F::Format(text)) if text.is_empty() => log_format(at, None)?,
        Some(F::Format(text)) => Format::Text(Template::parse(&at.field("format"), text)?, false),
        Some(F::JsonFormat(json)) => Format::Json(JsonTemplate::parse(&at.field("json_format"), json, false)?),
        Some(F::TypedJsonFormat(json)) => {
            Format::Json(JsonTemplate::parse(&at.field("typed_json_format"), json, false)?)
        }
        Some(F::LogFormat(format)) => log_format(&at.field("log_format"), Some(format))?,
    };
    Ok((sink, format))
}

fn log_format(at: &At<'_>, proto: Option<&core::SubstitutionFormatString>) -> Result<Format, ConfigError> {
    use core::substitution_format_string::Format as F;
    let Some(proto) = proto else { return Ok(Format::Text(Template::parse(at, DEFAULT_FORMAT)?, false)) };
    honour!(at, proto, core::SubstitutionFormatString =>
        // The content type is for local replies; JSON keys are always sorted here.
        honour [omit_empty_values format formatters]
        ignore [content_type json_format_options]
        refuse []
    );
    // Istio lists the two formatters that Envoy needed for operators which are built in here.
    for (i, formatter) in proto.formatters.iter().enumerate() {
        let type_url = formatter.typed_config.as_ref().map_or("", |a| a.type_url.as_str());
        match mesh_proto::any::message_name(type_url) {
            "envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery"
            | "envoy.extensions.formatter.metadata.v3.Metadata" => {}
            _ => return Err(parse::unknown_extension(&at.index("formatters", i), &formatter.name, type_url)),
        }
    }
    match &proto.format {
        Some(F::TextFormat(text)) => {
            Ok(Format::Text(Template::parse(&at.field("text_format"), text)?, proto.omit_empty_values))
        }
        Some(F::TextFormatSource(source)) => {
            let at = at.field("text_format_source");
            let text = parse::inline_source(&at, source)?;
            let text = std::str::from_utf8(&text).map_err(|_| at.invalid("bytes that are not UTF-8", "UTF-8"))?;
            Ok(Format::Text(Template::parse(&at, text)?, proto.omit_empty_values))
        }
        Some(F::JsonFormat(json)) => {
            Ok(Format::Json(JsonTemplate::parse(&at.field("json_format"), json, proto.omit_empty_values)?))
        }
        None => Err(at.missing("a format")),
    }
}

/// Envoy's default.
const DEFAULT_FORMAT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n";
