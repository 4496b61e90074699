//! TCP through a proxy with a static bootstrap.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use crate::support::{Proxy, eventually};

fn bootstrap(backend: SocketAddr, extra: &str) -> String {
    format!(
        "static_resources:
  listeners:
  - name: in
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: backend{extra}}}
  clusters:
  - {{name: backend, type: STATIC, load_assignment: {{cluster_name: backend, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}}}}}]}}]}}}}
",
        backend.port()
    )
}

#[test]
fn a_half_close_passes_and_the_answer_comes_back() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(&bootstrap(server.local_addr().unwrap(), ""));
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        stream.write_all(format!("{} bytes", got.len()).as_bytes()).unwrap();
    });
    let mut client = TcpStream::connect(proxy.address("in")).unwrap();
    client.write_all(&vec![7; 1_000_000]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "1000000 bytes");
    answering.join().unwrap();
    eventually("the session is counted", || proxy.stat("tcp.t.downstream_cx_rx_bytes_total") == 1_000_000);
    assert_eq!(proxy.stat("cluster.backend.upstream_cx_total"), 1);
}

#[test]
fn an_idle_connection_is_closed() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(&bootstrap(server.local_addr().unwrap(), ", idle_timeout: 0.1s"));
    let mut client = TcpStream::connect(proxy.address("in")).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
    eventually("the timeout is counted", || proxy.stat("tcp.t.idle_timeout") == 1);
}
