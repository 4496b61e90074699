//! What is asked for: a URL, a method and headers, as an application would
//! send them.

use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, TE};
use http::{Method, Uri};

/// Schemes that `--to` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// HTTP/1.1 without TLS.
    Http,
    /// TLS, in which the proxy sees nothing but the server name.
    Https,
    /// gRPC: HTTP/2 without TLS.
    Grpc,
    /// Bytes.
    Tcp,
}

/// A request before anyone has sent it.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The URL as it was given.
    pub(crate) url: String,
    /// What is spoken.
    pub(crate) scheme: Scheme,
    /// Host without port, lower case, without brackets.
    pub(crate) host: String,
    /// The port in the URL, or the scheme's.
    pub(crate) port: u16,
    /// What stands in `Host` or `:authority`.
    pub(crate) authority: String,
    /// Path and query.
    pub(crate) path: String,
    /// Method.
    pub(crate) method: Method,
    /// Headers, with those that the scheme adds.
    pub(crate) headers: HeaderMap,
}

/// A `--to`, `-X` or `-H` that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetError {
    /// Not a URL.
    #[error("--to {url:?}: expected SCHEME://HOST[:PORT][/PATH] with the scheme http, https, grpc or tcp")]
    Url {
        /// As given.
        url: String,
    },
    /// A scheme that is none of the four.
    #[error("--to {url:?}: found the scheme {found:?}, expected http, https, grpc or tcp")]
    Scheme {
        /// As given.
        url: String,
        /// The scheme in it.
        found: String,
    },
    /// `tcp` has no port of its own.
    #[error("--to {url:?}: a tcp URL needs a port")]
    NoPort {
        /// As given.
        url: String,
    },
    /// `-X`
    #[error("-X {found:?} is not an HTTP method")]
    Method {
        /// As given.
        found: String,
    },
    /// `-H`
    #[error("-H {found:?}: expected 'name: value'")]
    Header {
        /// As given.
        found: String,
    },
}

impl Target {
    /// Reads a URL, a method (`None`: GET, or POST for gRPC) and headers. A
    /// header `host` replaces the URL's authority, as it does for curl.
    ///
    /// # Errors
    /// [`TargetError`], naming the flag and what it found.
    pub(crate) fn parse(url: &str, method: Option<&str>, headers: &[String]) -> Result<Self, TargetError> {
        let bad_url = || TargetError::Url { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_| bad_url())?;
        let scheme = match uri.scheme_str().ok_or_else(bad_url)? {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "grpc" => Scheme::Grpc,
            "tcp" => Scheme::Tcp,
            found => return Err(TargetError::Scheme { url: url.to_owned(), found: found.to_owned() }),
        };
        let authority = uri.authority().filter(|a| !a.host().is_empty()).ok_or_else(bad_url)?;
        let port = match (authority.port_u16(), scheme) {
            (Some(port), _) => port,
            (None, _) if has_port(authority) => return Err(bad_url()),
            (None, Scheme::Http | Scheme::Grpc) => 80,
            (None, Scheme::Https) => 443,
            (None, Scheme::Tcp) => return Err(TargetError::NoPort { url: url.to_owned() }),
        };
        let default_method = if scheme == Scheme::Grpc { Method::POST } else { Method::GET };
        let method = match method {
            None => default_method,
            Some(text) => text.parse().map_err(|_| TargetError::Method { found: text.to_owned() })?,
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let path = uri.path_and_query().map_or("/", |p| p.as_str());
        let mut target = Self {
            url: url.to_owned(),
            scheme,
            host,
            port,
            authority: authority.as_str().rsplit('@').next().unwrap_or_default().to_owned(),
            path: if path.is_empty() { "/".to_owned() } else { path.to_owned() },
            method,
            headers: HeaderMap::new(),
        };
        target.add_headers(headers)?;
        Ok(target)
    }

    fn add_headers(&mut self, headers: &[String]) -> Result<(), TargetError> {
        if self.scheme == Scheme::Grpc {
            self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            self.headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        for text in headers {
            let bad = || TargetError::Header { found: text.clone() };
            let (name, value) = text.split_once(':').ok_or_else(bad)?;
            let name: HeaderName = name.trim().parse().map_err(|_| bad())?;
            let value: HeaderValue = value.trim().parse().map_err(|_| bad())?;
            if name == HOST {
                self.authority = value.to_str().map_err(|_| bad())?.to_owned();
            } else {
                self.headers.append(name, value);
            }
        }
        Ok(())
    }
}

/// Whether something stands after the host's colon, be it not a port.
fn has_port(authority: &http::uri::Authority) -> bool {
    let text = authority.as_str();
    let text = text.rsplit('@').next().unwrap_or(text);
    text.len() > authority.host().len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(url: &str) -> Result<Target, TargetError> {
        Target::parse(url, None, &[])
    }

    #[test]
    fn a_grpc_url_is_a_post_with_grpc_headers() {
        let target = parse("grpc://backend.default.svc.cluster.local:8000/pkg.Svc/Method").unwrap();
        assert_eq!((target.host.as_str(), target.port), ("backend.default.svc.cluster.local", 8000));
        assert_eq!((target.method, target.path.as_str()), (Method::POST, "/pkg.Svc/Method"));
        assert_eq!(target.authority, "backend.default.svc.cluster.local:8000");
        assert_eq!(target.headers["content-type"], "application/grpc");
    }

    #[test]
    fn without_a_port_the_scheme_says_which() {
        let check = |url: &str, port: u16| assert_eq!(parse(url).unwrap().port, port, "{url}");
        check("http://reviews", 80);
        check("https://reviews/", 443);
        check("grpc://reviews/a.B/C", 80);
        assert!(matches!(parse("tcp://reviews"), Err(TargetError::NoPort { .. })));
    }

    #[test]
    fn addresses_queries_and_credentials_are_taken_apart() {
        let target = parse("http://u:p@[2001:db8::1]:9080/a?b=c").unwrap();
        assert_eq!((target.host.as_str(), target.port), ("2001:db8::1", 9080));
        assert_eq!((target.authority.as_str(), target.path.as_str()), ("[2001:db8::1]:9080", "/a?b=c"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |url: &str, expected: &str| {
            let text = parse(url).unwrap_err().to_string();
            assert!(text.contains(expected), "{url}: {text}");
        };
        check("reviews:9080", "expected SCHEME://HOST");
        check("reviews", "expected SCHEME://HOST");
        check("ftp://reviews", "found the scheme \"ftp\"");
        check("http://reviews:99999/", "expected SCHEME://HOST");
        check("http:///path", "expected SCHEME://HOST");
    }

    #[test]
    fn headers_and_method_are_the_applications_own() {
        let headers = ["x-user: ann".to_owned(), "Host: ratings:9080".to_owned()];
        let target = Target::parse("http://reviews/", Some("DELETE"), &headers).unwrap();
        assert_eq!(target.headers["x-user"], "ann");
        assert_eq!((target.authority.as_str(), target.host.as_str()), ("ratings:9080", "reviews"));
        assert_eq!(target.method, Method::DELETE);
        assert!(Target::parse("http://a/", Some("A B"), &[]).is_err());
        assert!(Target::parse("http://a/", None, &["nocolon".to_owned()]).is_err());
    }
}
