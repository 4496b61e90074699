//! Supervision of a child that is a shell script.
#![allow(clippy::unwrap_used)]

use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

fn options(script: &str, admin: SocketAddr) -> Options {
    Options {
        program: "/bin/sh".into(),
        args: vec!["-c".to_owned(), script.to_owned()],
        admin,
        drain: Duration::from_millis(50),
        exit_on_zero_active_connections: false,
        minimum_drain: Duration::from_millis(10),
        own_ports: vec![15021],
        restarts: Restarts { base: Duration::from_millis(1), limit: 3, ..Restarts::default() },
    }
}

fn nobody() -> SocketAddr {
    "127.0.0.1:1".parse().unwrap()
}

/// An admin interface that answers everything with `body` and notes the
/// request lines.
async fn admin(body: &'static str) -> (SocketAddr, std::sync::Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = std::sync::Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 1024];
            let n = stream.read(&mut buffer).await.unwrap();
            let request = String::from_utf8_lossy(&buffer[..n]).into_owned();
            log.lock().unwrap().push(request.lines().next().unwrap_or_default().to_owned());
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (address, seen)
}

async fn bounded<T>(work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), work).await.unwrap()
}

#[tokio::test]
async fn a_proxy_that_ends_by_itself_is_started_again_and_given_up_after_the_limit() {
    let (_orders, received) = mpsc::channel(1);
    let starts = Mutex::new(0);
    let told = |event| *starts.lock().unwrap() += i32::from(event == Event::Started);
    let exit = bounded(supervise(&options("exit 7", nobody()), received, told)).await.unwrap();
    assert_eq!((exit, exit.code(), *starts.lock().unwrap()), (Exit::GaveUp { code: 7 }, 7, 3));
}

#[tokio::test]
async fn a_proxy_that_is_killed_or_ends_with_zero_is_a_failure_too() {
    for (script, code) in [("kill -9 $$", 137), ("exit 0", 1)] {
        let (_orders, received) = mpsc::channel(1);
        let exit = bounded(supervise(&options(script, nobody()), received, |_| ())).await.unwrap();
        assert_eq!(exit.code(), code, "{script}");
    }
}

#[tokio::test]
async fn an_executable_that_is_not_there_is_an_error_that_names_it() {
    let (_orders, received) = mpsc::channel(1);
    let options = Options { program: "/no/such/proxy".into(), ..options("", nobody()) };
    let error = bounded(supervise(&options, received, |_| ())).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot start the proxy /no/such/proxy: "), "{error}");
}

#[tokio::test]
async fn an_order_to_drain_is_passed_to_the_admin_interface_before_the_proxy_ends() {
    let (address, seen) = admin("OK").await;
    let (orders, received) = mpsc::channel(1);
    let terminating = Mutex::new(false);
    let options = options("while :; do sleep 0.01; done", address);
    let running = supervise(&options, received, |event| {
        *terminating.lock().unwrap() |= event == Event::Terminating;
    });
    let order = async {
        sleep(Duration::from_millis(50)).await;
        orders.send(Order::Drain).await.unwrap();
        Instant::now()
    };
    let (exit, ordered) = bounded(async { tokio::join!(running, order) }).await;
    assert_eq!(exit.unwrap(), Exit::Ordered);
    assert!(ordered.elapsed() >= options.drain && *terminating.lock().unwrap());
    assert_eq!(*seen.lock().unwrap(), ["POST /drain_listeners?graceful HTTP/1.1"]);
}

#[tokio::test]
async fn an_order_to_stop_does_not_drain() {
    let (address, seen) = admin("OK").await;
    let (orders, received) = mpsc::channel(1);
    orders.send(Order::Stop).await.unwrap();
    let exit = bounded(supervise(&options("sleep 60", address), received, |_| ())).await.unwrap();
    assert_eq!(exit, Exit::Ordered);
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn draining_ends_when_no_connection_is_left() {
    let (address, seen) = admin("listener.0.0.0.0_80.downstream_cx_active: 0\n").await;
    let (orders, received) = mpsc::channel(1);
    orders.send(Order::Drain).await.unwrap();
    let options = Options {
        exit_on_zero_active_connections: true,
        drain: Duration::from_secs(3600),
        ..options("sleep 60", address)
    };
    assert_eq!(bounded(supervise(&options, received, |_| ())).await.unwrap(), Exit::Ordered);
    assert_eq!(seen.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_signal_is_passed_on_to_the_proxy() {
    let folder = tempfile::tempdir().unwrap();
    let (ready, got) = (folder.path().join("ready"), folder.path().join("got"));
    let script =
        format!("trap 'touch {}' USR1; touch {}; while :; do sleep 0.01; done", got.display(), ready.display());
    let (orders, received) = mpsc::channel(1);
    let options = options(&script, nobody());
    let running = supervise(&options, received, |_| ());
    let order = async {
        while !ready.exists() {
            sleep(Duration::from_millis(5)).await;
        }
        orders.send(Order::Forward(Signal::SIGUSR1)).await.unwrap();
        while !got.exists() {
            sleep(Duration::from_millis(5)).await;
        }
        orders.send(Order::Stop).await.unwrap();
    };
    let (exit, ()) = bounded(async { tokio::join!(running, order) }).await;
    assert_eq!(exit.unwrap(), Exit::Ordered);
}

#[test]
fn delays_double_up_to_the_longest_and_end_at_the_limit() {
    let restarts = Restarts::default();
    let delays: Vec<_> = (1..=10).map(|n| restarts.delay(n).map(|d| d.as_millis())).collect();
    let expected = [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000];
    assert_eq!(delays[..9], expected.map(Some));
    assert_eq!(delays[9], None);
    assert_eq!(Restarts { limit: u32::MAX, ..restarts }.delay(1_000).unwrap(), Duration::from_secs(30));
}

#[test]
fn connections_to_the_proxys_own_interfaces_do_not_count() {
    let stats = "listener.0.0.0.0_8000.downstream_cx_active: 2\nlistener.admin.downstream_cx_active: 1\n\
        listener.0.0.0.0_15021.downstream_cx_active: 4\nlistener.0.0.0.0_8000.worker_0.downstream_cx_active: 2\n\
        http.admin.downstream_cx_active: 1\nlistener.10.0.0.1_15006.downstream_cx_active: 3\n";
    assert_eq!(count_active(stats, &[15021, 15090]), 5);
    assert_eq!(count_active("", &[]), 0);
}
