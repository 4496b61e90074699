//! Which protocol a port speaks, and how that is told from its declaration.

use std::fmt;

/// A port's application protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the variants are the protocols' own names")]
pub enum Protocol {
    /// Not declared: told from the first bytes of a connection.
    Auto,
    Grpc,
    GrpcWeb,
    Http,
    HttpProxy,
    Http2,
    Https,
    Tls,
    Tcp,
    Mongo,
    Redis,
    Mysql,
    Udp,
}

impl Protocol {
    /// Reads a protocol's name, in any case: `http`, `HTTP2`, `grpc-web`, ...
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "grpc" => Protocol::Grpc,
            "grpc-web" => Protocol::GrpcWeb,
            "http" => Protocol::Http,
            "http_proxy" => Protocol::HttpProxy,
            "http2" => Protocol::Http2,
            "https" => Protocol::Https,
            "tls" => Protocol::Tls,
            "tcp" => Protocol::Tcp,
            "mongo" => Protocol::Mongo,
            "redis" => Protocol::Redis,
            "mysql" => Protocol::Mysql,
            "udp" => Protocol::Udp,
            _ => return None,
        })
    }

    /// The protocol of a Kubernetes Service port: transport UDP, else
    /// `appProtocol`, else the port name's prefix, else TCP for ports whose
    /// server speaks first (sniffing would break them), else [`Protocol::Auto`].
    ///
    /// Source: `ConvertProtocol`, istio `pkg/config/kube/conversion.go`.
    pub fn of_port(transport: &str, app_protocol: Option<&str>, name: &str, number: u16) -> Self {
        if transport == "UDP" {
            return Protocol::Udp;
        }
        let declared = match app_protocol {
            Some("kubernetes.io/h2c") => return Protocol::Http2,
            Some("kubernetes.io/ws") => return Protocol::Http,
            Some("kubernetes.io/wss") => return Protocol::Https,
            Some(text) if !text.is_empty() => text,
            _ => name,
        };
        if declared.len() >= 8 && declared.as_bytes()[..8].eq_ignore_ascii_case(b"grpc-web") {
            return Protocol::GrpcWeb;
        }
        let prefix = declared.split('-').next().unwrap_or(declared);
        match Self::parse(prefix) {
            Some(protocol) => protocol,
            None if SERVER_FIRST.contains(&number) => Protocol::Tcp,
            None => Protocol::Auto,
        }
    }

    /// Whether it is routed request by request.
    pub fn is_http(self) -> bool {
        matches!(self, Protocol::Grpc | Protocol::GrpcWeb | Protocol::Http | Protocol::HttpProxy | Protocol::Http2)
    }

    /// Whether it is HTTP/2 on the wire.
    pub fn is_http2(self) -> bool {
        matches!(self, Protocol::Grpc | Protocol::GrpcWeb | Protocol::Http2)
    }

    /// Whether it is forwarded as bytes, TLS included.
    pub fn is_tcp(self) -> bool {
        matches!(
            self,
            Protocol::Https | Protocol::Tls | Protocol::Tcp | Protocol::Mongo | Protocol::Redis | Protocol::Mysql
        )
    }

    /// Whether it is TLS on the wire that the mesh passes on as it is.
    pub fn is_tls(self) -> bool {
        matches!(self, Protocol::Https | Protocol::Tls)
    }

    /// The name as Istio's debug pages print it: `HTTP`, `GRPC-Web`, ...
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Auto => "UnsupportedProtocol",
            Protocol::Grpc => "GRPC",
            Protocol::GrpcWeb => "GRPC-Web",
            Protocol::Http => "HTTP",
            Protocol::HttpProxy => "HTTP_PROXY",
            Protocol::Http2 => "HTTP2",
            Protocol::Https => "HTTPS",
            Protocol::Tls => "TLS",
            Protocol::Tcp => "TCP",
            Protocol::Mongo => "Mongo",
            Protocol::Redis => "Redis",
            Protocol::Mysql => "MySQL",
            Protocol::Udp => "UDP",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// SMTP, DNS, MySQL and MongoDB: the server, or nobody, speaks first.
const SERVER_FIRST: [u16; 4] = [25, 53, 3306, 27017];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocol_comes_from_transport_then_app_protocol_then_name_then_number() {
        let check = |transport, app, name, number, expected| {
            assert_eq!(
                Protocol::of_port(transport, app, name, number),
                expected,
                "{transport} {app:?} {name} {number}"
            );
        };
        check("UDP", Some("http"), "http", 80, Protocol::Udp);
        check("TCP", Some("kubernetes.io/h2c"), "tcp", 80, Protocol::Http2);
        check("TCP", Some("kubernetes.io/wss"), "tcp", 80, Protocol::Https);
        check("TCP", Some("grpc"), "http", 80, Protocol::Grpc);
        check("TCP", Some("http-alt"), "", 80, Protocol::Http);
        check("TCP", None, "grpc-backend", 8000, Protocol::Grpc);
        check("TCP", None, "GRPC-WEB-ui", 8000, Protocol::GrpcWeb);
        check("TCP", None, "httpfoo", 8000, Protocol::Auto);
        check("TCP", None, "", 3306, Protocol::Tcp);
        check("TCP", None, "http", 3306, Protocol::Http);
    }
}
