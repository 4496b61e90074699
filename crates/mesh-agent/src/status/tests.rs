//! The status server over loopback, before an admin interface that is a table.
#![allow(clippy::unwrap_used)]

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::wait;

/// Answers GET of a path that begins with one of `answers`, 404 otherwise.
async fn serve_table(answers: &'static [(&'static str, &'static str)]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 2048];
            let n = stream.read(&mut buffer).await.unwrap();
            let request = String::from_utf8_lossy(&buffer[..n]).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default();
            let answer = match answers.iter().find(|(prefix, _)| path.starts_with(prefix)) {
                Some((_, body)) => format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
                None => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    address
}

const READY: &[(&str, &str)] = &[
    ("/server_info", "{\"state\":\"LIVE\"}"),
    (
        "/stats?",
        "cluster_manager.cds.update_success: 1\nlistener_manager.lds.update_success: 1\nlistener_manager.workers_started: 1\n",
    ),
    ("/stats/prometheus", "envoy_up 1"),
    ("/app", "app_up 1"),
];

async fn start(admin: SocketAddr, scrape: Option<Scrape>) -> (Status, String, mpsc::Receiver<Order>) {
    let (orders, received) = mpsc::channel(1);
    let status = Status::new(admin, scrape, orders);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serving = status.clone();
    tokio::spawn(async move { serving.serve(listener).await });
    (status, address, received)
}

async fn ask(method: Method, address: &str, path: &str) -> (u16, String) {
    let (status, body) = fetch::fetch(&method, address, path, SCRAPE).await.unwrap();
    (status.as_u16(), String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn a_ready_proxy_stays_ready_until_it_ends_or_terminates() {
    let (status, address, _orders) = start(serve_table(READY).await, None).await;
    assert_eq!(ask(Method::GET, &address, "/healthz/ready").await.0, 200);
    status.proxy_terminates();
    let (code, text) = ask(Method::GET, &address, "/healthz/ready").await;
    assert_eq!((code, text.as_str()), (503, "the proxy is terminating\n"));

    let (status, address, _orders) = start(serve_table(&[]).await, None).await;
    status.inner.ready.store(true, Ordering::Relaxed);
    assert_eq!(ask(Method::GET, &address, "/healthz/ready").await.0, 200, "it is not asked again");
    status.proxy_ended();
    let (code, text) = ask(Method::GET, &address, "/healthz/ready").await;
    assert!(code == 503 && text.contains("/server_info answers 404"), "{text}");
}

#[tokio::test]
async fn metrics_of_agent_proxy_and_application_are_on_one_page() {
    let admin = serve_table(READY).await;
    let scrape = |path: &str| Some(Scrape { port: admin.port(), path: path.to_owned() });
    for path in ["/stats/prometheus", "/metrics"] {
        let (_, address, _orders) = start(admin, scrape("/app")).await;
        let (code, page) = ask(Method::GET, &address, path).await;
        assert_eq!(code, 200);
        for expected in ["istio_agent_scrapes_total 1\n", "envoy_up 1\n", "app_up 1\n"] {
            assert!(page.contains(expected), "{expected}: {page}");
        }
    }
}

#[tokio::test]
async fn a_source_of_metrics_that_fails_costs_its_own_part() {
    let admin = serve_table(READY).await;
    let (_, address, _orders) = start(admin, Some(Scrape { port: admin.port(), path: "/gone".to_owned() })).await;
    ask(Method::GET, &address, "/metrics").await;
    let (_, page) = ask(Method::GET, &address, "/metrics").await;
    assert!(page.contains("envoy_up 1\n"), "{page}");
    assert!(page.contains("istio_agent_scrape_failures_total{type=\"application\"} 2\n"), "{page}");
}

#[tokio::test]
async fn orders_are_taken_by_post_and_only_while_somebody_carries_them_out() {
    let (_, address, mut orders) = start(serve_table(READY).await, None).await;
    assert_eq!(ask(Method::GET, &address, "/drain").await.0, 405);
    assert_eq!(ask(Method::POST, &address, "/drain").await.0, 200);
    assert_eq!(orders.recv().await, Some(Order::Drain));
    assert_eq!(ask(Method::POST, &address, "/quitquitquit").await.0, 200);
    assert_eq!(orders.recv().await, Some(Order::Stop));
    drop(orders);
    assert_eq!(ask(Method::POST, &address, "/drain").await.0, 503);
}

#[tokio::test]
async fn orders_from_another_machine_are_refused() {
    let (status, _, mut orders) = start(serve_table(&[]).await, None).await;
    let response = status.order("192.0.2.1:5".parse().unwrap(), Order::Stop);
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert!(orders.try_recv().is_err());
}

#[tokio::test]
async fn waiting_ends_when_the_proxy_is_ready_or_says_why_it_is_not() {
    let options = |address: &str| wait::Options {
        url: format!("http://{address}/healthz/ready"),
        timeout: Duration::from_millis(300),
        period: Duration::from_millis(10),
        ..wait::Options::default()
    };
    let (_, address, _orders) = start(serve_table(READY).await, None).await;
    wait::wait(&options(&address)).await.unwrap();
    let (_, address, _orders) = start(serve_table(&[]).await, None).await;
    let error = wait::wait(&options(&address)).await.unwrap_err().to_string();
    assert!(error.contains("503 Service Unavailable: the proxy's admin interface does not answer"), "{error}");
    for url in ["", "https://a/", "/path"] {
        let error = wait::wait(&wait::Options { url: url.to_owned(), ..options("") }).await.unwrap_err();
        assert!(matches!(error, wait::WaitError::Url { .. }), "{url}");
    }
}
