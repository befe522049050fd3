//! A receiver that replies as a test has it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use futures_util::stream;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::time;
use tokio_rustls::TlsAcceptor;

use crate::tls::ServerTls;

/// The upper bound of every wait.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(60);

/// A receiver that replies 204 unless it has a script.
pub(super) struct TestReceiver {
    pub(super) url: String,
    shared: Arc<Shared>,
}

/// The reply to a request.
pub(super) enum Reply {
    /// This status, and this header.
    Status(u16, &'static str, String),
    /// 200 with a body that never ends.
    Endless,
    /// No response; the connection is closed.
    Disconnect,
    /// No response.
    Hang,
    /// 204, once the test permits it.
    Hold,
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Received {
    /// The method and the target.
    pub(super) line: String,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
    pub(super) at: Instant,
}

struct Shared {
    script: Mutex<VecDeque<Reply>>,
    /// The text in events that the receiver cannot process.
    poison: Mutex<Option<&'static str>>,
    received: watch::Sender<Vec<Received>>,
    released: Notify,
    connections: AtomicUsize,
}

// === impl TestReceiver ===

impl TestReceiver {
    pub(super) async fn start() -> Self {
        TestReceiver::serve(TcpListener::bind("127.0.0.1:0").await.unwrap(), None)
    }

    pub(super) async fn with_tls(tls: ServerTls) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        TestReceiver::serve(listener, Some(tls))
    }

    pub(super) fn serve(listener: TcpListener, tls: Option<ServerTls>) -> Self {
        let port = listener.local_addr().unwrap().port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared {
            script: Mutex::default(),
            poison: Mutex::default(),
            received: watch::Sender::default(),
            released: Notify::new(),
            connections: AtomicUsize::new(0),
        });
        let url = format!("{scheme}://localhost:{port}");
        tokio::spawn(accept(listener, tls, Arc::clone(&shared)));
        TestReceiver { url, shared }
    }

    /// Replies to the next requests in this way.
    pub(super) fn script(&self, replies: impl IntoIterator<Item = Reply>) {
        self.shared.script.lock().extend(replies);
    }

    /// Replies with a 500 to events that contain this text.
    pub(super) fn poison(&self, text: Option<&'static str>) {
        *self.shared.poison.lock() = text;
    }

    /// Lets the reply be sent that is held back.
    pub(super) fn release(&self) {
        self.shared.released.notify_one();
    }

    /// Waits until this many requests were received, and returns all of them.
    pub(super) async fn wait_for(&self, count: usize) -> Vec<Received> {
        let mut received = self.shared.received.subscribe();
        let enough = received.wait_for(|received| received.len() >= count);
        let enough = time::timeout(MAX_WAIT, enough).await;
        enough.expect("requests in time").unwrap().clone()
    }

    pub(super) fn count(&self) -> usize {
        self.shared.received.borrow().len()
    }

    pub(super) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, tls: Option<ServerTls>, shared: Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(&shared);
        match &tls {
            None => {
                tokio::spawn(connection(stream, shared));
            }
            Some(tls) => {
                let handshake = TlsAcceptor::from(tls.current()).accept(stream);
                tokio::spawn(async move {
                    if let Ok(stream) = handshake.await {
                        connection(stream, shared).await;
                    }
                });
            }
        }
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    shared: Arc<Shared>,
) {
    let service = service_fn(|request| reply(request, Arc::clone(&shared)));
    let _closed = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn reply(request: Request<Incoming>, shared: Arc<Shared>) -> io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.into()).unwrap();
    let is_poisoned = shared.poison.lock().is_some_and(|text| body.contains(text));
    let reply = match shared.script.lock().pop_front() {
        None if is_poisoned => Some(Reply::status(500)),
        reply => reply,
    };
    shared.received.send_modify(|received| {
        received.push(Received {
            line: format!("{} {}", head.method, head.uri),
            headers: head.headers,
            body,
            at: Instant::now(),
        });
    });
    let response = |status| Response::builder().status(status);
    let response = match reply {
        None => response(204).body(Body::empty()),
        Some(Reply::Status(status, name, value)) => {
            response(status).header(name, value).body("sorry".into())
        }
        Some(Reply::Endless) => {
            let chunk = || Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 1024]));
            let body = Body::from_stream(stream::repeat_with(chunk));
            response(200).body(body)
        }
        Some(Reply::Disconnect) => return Err(io::Error::other("as a crash would")),
        Some(Reply::Hang) => pending().await,
        Some(Reply::Hold) => {
            shared.released.notified().await;
            response(204).body(Body::empty())
        }
    };
    Ok(response.unwrap())
}

// === impl Reply ===

impl Reply {
    pub(super) fn status(status: u16) -> Self {
        Reply::Status(status, "content-type", "text/plain".into())
    }
}

// === impl Received ===

impl Received {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}
