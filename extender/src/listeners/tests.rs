use std::sync::Arc;

use axum::routing::{get, post};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;
use crate::json_body::JsonBody;

/// Longer than any test waits.
const NEVER: Duration = Duration::from_secs(3600);
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const HALF: &str = "GET / HTTP/1.1\r\nHost:";

/// Limits of which none is reached by time.
fn patient() -> Limits {
    Limits {
        connections: 8,
        first_request: NEVER,
        idle: NEVER,
        body: NEVER,
        body_bytes: 1000,
        bodies_bytes: 1 << 20,
        patience: Duration::from_millis(10),
    }
}

/// Answers `GET /`, and says what is wrong with the body of `POST /`.
fn router() -> Router {
    let body = |JsonBody(body): JsonBody<Value>| async move { body.err().unwrap_or_default() };
    Router::new().route("/", get(|| async { "hello" }).merge(post(body)))
}

/// A port with these limits.
async fn port(limits: Limits) -> (Listeners, SocketAddr) {
    let mut listeners = Listeners::new(limits);
    let at = listeners.serve_apart("test", ANY_PORT, router()).await.unwrap();
    (listeners, at)
}

async fn connect(at: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// Reads until `end` has arrived or the connection is closed.
async fn read_until(stream: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut bytes = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&bytes).contains(end) {
            // A connection that is reset is closed, too.
            match stream.read_buf(&mut bytes).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
    };
    timeout(Duration::from_secs(30), reading).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

async fn get_root(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> bool {
    if stream.write_all(GET.as_bytes()).await.is_err() {
        return false;
    }
    read_until(stream, "hello").await.ends_with("hello")
}

/// Waits until the server closes the connection.
async fn closed(stream: &mut TcpStream) {
    assert_eq!(read_until(stream, "nothing ends so").await, "");
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_error_at_once() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0").await?;
    let at = taken.local_addr()?;
    let served = Listeners::new(Limits::default())
        .serve_apart("health", at, Router::new())
        .await;
    let error = format!("{:#}", served.err().context("it was served")?);
    assert!(error.starts_with(&format!("serve health at {at}: ")), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_half_request_is_closed_after_its_time() {
    let limits = Limits {
        first_request: Duration::from_millis(50),
        ..patient()
    };
    let (_listeners, at) = port(limits).await;
    closed(&mut connect(at, HALF).await).await;
    closed(&mut connect(at, "").await).await;
}

#[tokio::test]
async fn half_requests_above_the_places_of_a_port_hold_neither_it_nor_another() {
    let mut listeners = Listeners::new(patient());
    let one = listeners.serve_apart("one", ANY_PORT, router()).await.unwrap();
    let other = listeners.serve_apart("other", ANY_PORT, router()).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(connect(one, HALF).await);
    }
    for at in [other, one] {
        assert!(get_root(&mut connect(at, "").await).await);
    }
    // The first were closed for the later ones.
    for stream in &mut held[..30] {
        closed(stream).await;
    }
}

#[tokio::test]
async fn a_connection_is_kept_between_requests_until_it_is_idle_for_too_long() {
    let limits = Limits {
        idle: Duration::from_millis(200),
        ..patient()
    };
    let (_listeners, at) = port(limits).await;
    let mut stream = connect(at, "").await;
    assert!(get_root(&mut stream).await && get_root(&mut stream).await);
    closed(&mut stream).await;
}

#[tokio::test]
async fn a_connection_whose_request_is_being_answered_keeps_its_place() {
    let (go, begun) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let answer = {
        let (go, begun) = (Arc::clone(&go), Arc::clone(&begun));
        move || async move {
            begun.add_permits(1);
            let _permit = go.acquire().await;
            "hello"
        }
    };
    let mut listeners = Listeners::new(patient());
    let router = Router::new().route("/", get(answer));
    let at = listeners.serve_apart("test", ANY_PORT, router).await.unwrap();
    let mut slow = connect(at, GET).await;
    let _begun = begun.acquire().await.unwrap();
    let mut halves = Vec::new();
    for _ in 0..20 {
        halves.push(connect(at, HALF).await);
    }
    closed(&mut halves[0]).await;
    go.add_permits(1);
    assert!(read_until(&mut slow, "hello").await.ends_with("hello"));
}

#[tokio::test]
async fn a_slow_body_is_answered_in_the_protocols_own_words() {
    let limits = Limits {
        body: Duration::from_millis(50),
        ..patient()
    };
    let (_listeners, at) = port(limits).await;
    let mut stream = connect(at, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{").await;
    let answer = read_until(&mut stream, "within 50ms").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        answer.ends_with("the body did not arrive within 50ms"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_body_that_is_too_large_is_answered_with_what_is_accepted() {
    let (_listeners, at) = port(patient()).await;
    let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n";
    let mut stream = connect(at, &format!("{head}{}", "x".repeat(100_000))).await;
    let answer = read_until(&mut stream, "accepted").await;
    assert!(
        answer.ends_with("the body has more than 1000 bytes, which is the most that is accepted"),
        "{answer}"
    );
    // Nothing is left of it on the connection.
    assert!(get_root(&mut stream).await);
}

#[tokio::test]
async fn memory_that_an_unfinished_body_holds_goes_to_another_body() {
    let limits = Limits {
        bodies_bytes: 1,
        ..patient()
    };
    let (_listeners, at) = port(limits).await;
    let unfinished = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{";
    let mut first = connect(at, unfinished).await;
    let mut second = connect(at, unfinished).await;
    closed(&mut first).await;
    // The second has the memory now, and gets an answer when it is finished.
    second.write_all(b"\"a\": 1  }").await.unwrap();
    let answer = read_until(&mut second, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// A connection with the scheduler's certificate.
async fn scheduler(dir: &Path, at: SocketAddr) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(dir.join("ca.crt")).unwrap())
        .unwrap();
    let certificate = CertificateDer::from_pem_file(dir.join("scheduler.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(dir.join("scheduler.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key)
        .unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = TcpStream::connect(at).await.unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap()
}

#[tokio::test]
async fn the_scheduler_keeps_and_gets_its_place_among_clients_without_a_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let mut request = certificates::CertificateRequest::new(dir.path().to_owned());
    request.hosts = vec!["127.0.0.1".to_owned()];
    request.generate().unwrap();
    let mut listeners = Listeners::new(patient());
    let serving = listeners.serve_tls("test", ANY_PORT, dir.path(), Clients::Authenticated, router());
    let at = serving.await.unwrap();
    let mut kept = scheduler(dir.path(), at).await;
    assert!(get_root(&mut kept).await);
    let mut others = Vec::new();
    for _ in 0..20 {
        others.push(connect(at, "").await);
    }
    closed(&mut others[0]).await;
    assert!(get_root(&mut scheduler(dir.path(), at).await).await);
    assert!(get_root(&mut kept).await);
}

#[tokio::test]
async fn the_end_waits_for_requests_that_have_begun_and_not_for_idle_connections() {
    let (listeners, at) = port(patient()).await;
    let mut stream = connect(at, "").await;
    assert!(get_root(&mut stream).await);
    listeners.end().await;
    closed(&mut stream).await;
    assert!(TcpStream::connect(at).await.is_err());
}

#[tokio::test]
async fn before_the_end_each_connection_ends_with_an_answer_that_says_so() {
    let (listeners, at) = port(patient()).await;
    let mut kept = connect(at, GET).await;
    let answer = read_until(&mut kept, "hello").await;
    assert!(!answer.contains("connection: close"), "{answer}");
    listeners.give_last_answers();
    // A connection from before, which an idle client keeps, and a new one.
    let mut streams = [kept, connect(at, "").await];
    for stream in &mut streams {
        stream.write_all(GET.as_bytes()).await.unwrap();
        let answer = read_until(stream, "nothing ends so").await;
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        assert!(answer.ends_with("hello"), "{answer}");
    }
}
