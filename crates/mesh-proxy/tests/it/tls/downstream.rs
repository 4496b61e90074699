//! TLS that clients speak.

use std::io::Write as _;

use super::pki::{Ask, Ca, Pair};
use super::{SERVER, behind_tls, socket};
use crate::support::{Proxy, TO_BACKEND, bootstrap, eventually, server};

#[test]
fn both_versions_and_both_protocols_go_through() {
    let (backend, _) = server();
    let ca = Ca::new("ca");
    let pair = ca.issue("a", &["a.test"]);
    let context =
        format!("common_tls_context: {{alpn_protocols: [h2, http/1.1], tls_certificates: [{}]}}", pair.yaml());
    let proxy = Proxy::start(&behind_tls(backend, &context, ""));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let told = Ask { version, alpn: &["http/1.1"], ..Ask::default() }.get(proxy.address("in")).unwrap();
        assert!(told.answer.starts_with("HTTP/1.1 200") && told.showed(&pair), "{}", told.answer);
        assert!(told.answer.contains("\"x-forwarded-proto\": \"https\""), "{}", told.answer);
        assert_eq!(told.alpn.as_deref(), Some("http/1.1"));
    }
    assert_eq!(h2_status(proxy.address("in")), 200);
    assert_eq!(proxy.stat("http.in.downstream_cx_http2_total"), 1);
    let unknown = Ask { alpn: &["other"], ..Ask::default() }.get(proxy.address("in")).unwrap();
    assert_eq!(unknown.alpn, None, "a protocol that is not known here is no reason to refuse");
    let listener = format!("listener.{}.ssl", proxy.address("in").to_string().replace(':', "_"));
    let port = proxy.address("in").port();
    assert_eq!(proxy.stat(&format!("{listener}.handshake").replace(&port.to_string(), "0")), 4);
}

fn h2_status(address: std::net::SocketAddr) -> u16 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let config = Ask { alpn: &["h2"], ..Ask::default() }.config();
        let connector = tokio_rustls::TlsConnector::from(config);
        let stream = connector.connect("a.test".try_into().unwrap(), stream).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::get("https://a.test/").body(()).unwrap();
        let mut send = send.ready().await.unwrap();
        let (response, _) = send.send_request(request, true).unwrap();
        response.await.unwrap().status().as_u16()
    })
}

#[test]
fn the_server_name_chooses_the_chain_and_none_is_refused() {
    let (backend, _) = server();
    let ca = Ca::new("ca");
    let (one, two) = (ca.issue("one", &["one.test"]), ca.issue("two", &["two.test"]));
    let yaml = bootstrap(backend, "", TO_BACKEND, "");
    let (head, rest) = yaml.split_once("    - filters:\n").unwrap();
    let (filters, clusters) = rest.split_once("  clusters:\n").unwrap();
    let chain = |name: &str, pair: &Pair| {
        let context = format!("common_tls_context: {{tls_certificates: [{}]}}", pair.yaml());
        format!(
            "    - filter_chain_match: {{server_names: [{name}], transport_protocol: tls}}\n      {}\n      filters:\n{filters}",
            socket(SERVER, &context)
        )
    };
    let inspector = "    listener_filters: [{name: tls, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}}]\n";
    let yaml = format!(
        "{}{}{}  clusters:\n{clusters}",
        head.replace("    filter_chains:\n", &format!("{inspector}    filter_chains:\n")),
        chain("one.test", &one),
        chain("'*.two.test'", &two)
    );
    let proxy = Proxy::start(&yaml);
    let ask = |name| Ask { name, ..Ask::default() }.get(proxy.address("in"));
    assert!(ask("one.test").unwrap().showed(&one));
    assert!(ask("x.two.test").unwrap().showed(&two));
    assert!(ask("three.test").is_err());
}

#[test]
fn a_client_must_show_a_certificate_that_is_trusted_and_named() {
    let (backend, _) = server();
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let own = ca.issue("me", &["a.test", "spiffe://t/me"]);
    let file = tempfile::NamedTempFile::new().unwrap();
    let log = format!(
        "          access_log: [{{name: f, typed_config: {{'@type': type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: {}, log_format: {{text_format_source: {{inline_string: \"%REQUESTED_SERVER_NAME% %DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER% %DOWNSTREAM_PEER_URI_SAN% %DOWNSTREAM_LOCAL_URI_SAN% %DOWNSTREAM_PEER_SUBJECT%\\n\"}}}}}}}}]
          forward_client_cert_details: APPEND_FORWARD
          set_current_client_cert_details: {{subject: true, uri: true}}",
        file.path().display()
    );
    let context = format!(
        "require_client_certificate: true, common_tls_context: {{tls_certificates: [{}], validation_context: {{trusted_ca: {{inline_string: {:?}}}, match_typed_subject_alt_names: [{{san_type: URI, matcher: {{prefix: 'spiffe://t/'}}}}]}}}}",
        own.yaml(),
        ca.pem()
    );
    let proxy = Proxy::start(&behind_tls(backend, &context, &log));
    let ask = |own: Option<&Pair>| Ask { own, ..Ask::default() }.get(proxy.address("in"));
    let good = ca.issue("them", &["spiffe://t/them"]);
    let told = ask(Some(&good)).unwrap();
    assert!(told.answer.starts_with("HTTP/1.1 200"), "{}", told.answer);
    assert!(told.answer.contains("By=spiffe://t/me;Hash="), "{}", told.answer);
    assert!(told.answer.contains(";Subject=\\\"CN=them\\\";URI=spiffe://t/them"), "{}", told.answer);
    assert!(ask(None).is_err());
    assert!(ask(Some(&other.issue("them", &["spiffe://t/them"]))).is_err());
    assert!(ask(Some(&ca.issue("them", &["spiffe://elsewhere/them"]))).is_err());
    let ssl = "listener.127.0.0.1_0.ssl";
    for name in ["fail_verify_no_cert", "fail_verify_error", "fail_verify_san"] {
        eventually(name, || proxy.stat(&format!("{ssl}.{name}")) == 1);
    }
    assert_eq!(proxy.stat(&format!("{ssl}.connection_error")), 3);
    let line = "a.test TLSv1.3 TLS_AES_256_GCM_SHA384 spiffe://t/them spiffe://t/me CN=them\n";
    eventually("the line is in the file", || std::fs::read_to_string(file.path()).unwrap() == line);
}

#[test]
fn a_certificate_is_optional_where_it_is_not_required_but_still_verified() {
    let (backend, _) = server();
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let context = format!(
        "common_tls_context: {{tls_certificates: [{}], validation_context: {{trusted_ca: {{inline_string: {:?}}}}}}}",
        ca.issue("me", &["a.test"]).yaml(),
        ca.pem()
    );
    let proxy = Proxy::start(&behind_tls(backend, &context, ""));
    let ask =
        |own: Option<&Pair>| Ask { own, version: &rustls::version::TLS12, ..Ask::default() }.get(proxy.address("in"));
    assert!(ask(None).is_ok() && ask(Some(&ca.issue("a", &["b"]))).is_ok());
    assert!(ask(Some(&other.issue("a", &["b"]))).is_err());
}

#[test]
fn plaintext_at_a_tls_port_is_refused_and_nobody_else_notices() {
    let (backend, _) = server();
    let pair = Ca::new("ca").issue("a", &["a.test"]);
    let context = format!("common_tls_context: {{tls_certificates: [{}]}}", pair.yaml());
    let proxy = Proxy::start(&behind_tls(backend, &context, ""));
    let mut silent = std::net::TcpStream::connect(proxy.address("in")).unwrap();
    silent.write_all(&[22, 3]).unwrap();
    let answer = crate::support::http1(proxy.address("in"), "GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(!answer.contains("HTTP"), "{answer}");
    assert_eq!(proxy.stat("listener.127.0.0.1_0.ssl.connection_error"), 1);
    assert!(Ask::default().get(proxy.address("in")).is_ok());
}

#[test]
fn a_client_certificate_without_extensions_is_accepted() {
    use std::process::{Command, Stdio};
    let folder = tempfile::tempdir().unwrap();
    let at = |file: &str| folder.path().join(file).display().to_string();
    let run = |line: &str| {
        let status = Command::new("openssl").args(line.split(' ')).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|s| s.success())
    };
    let subject = "-newkey rsa:2048 -nodes -subj";
    let made = run(&format!("req -x509 {subject} /CN=ca -keyout {} -out {}", at("ca.key"), at("ca.pem")))
        && run(&format!("req {subject} /CN=me -keyout {} -out {}", at("me.key"), at("me.csr")))
        && run(&format!(
            "x509 -req -in {} -CA {} -CAkey {} -CAcreateserial -out {}",
            at("me.csr"),
            at("ca.pem"),
            at("ca.key"),
            at("me.pem")
        ));
    if !made {
        eprintln!("skipped: there is no openssl command here");
        return;
    }
    let (backend, _) = server();
    let context = format!(
        "require_client_certificate: true, common_tls_context: {{tls_certificates: [{}], validation_context: {{trusted_ca: {{filename: {}}}}}}}",
        Ca::new("own").issue("a", &["a.test"]).yaml(),
        at("ca.pem")
    );
    let proxy = Proxy::start(&behind_tls(backend, &context, ""));
    for version in ["-tls1_2", "-tls1_3"] {
        let mut client = Command::new("openssl")
            .args(["s_client", "-quiet", version, "-connect", &proxy.address("in").to_string()])
            .args(["-cert", &at("me.pem"), "-key", &at("me.key")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let request = b"GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n";
        client.stdin.as_mut().unwrap().write_all(request).unwrap();
        let answer = client.wait_with_output().unwrap().stdout;
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{version}: {}", String::from_utf8_lossy(&answer));
    }
}
