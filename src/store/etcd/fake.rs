//! An etcd endpoint for unit tests, which sends prepared responses and records the requests.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::net::TcpListener;

use super::cluster::Cluster;
use super::credentials::Credentials;
use crate::config::{EtcdSettings, EtcdUser};

/// The id of the member in each response.
pub(super) const MEMBER_ID: u64 = 7;

/// One endpoint of an etcd cluster.
pub(super) struct FakeEtcd {
    url: String,
    state: Arc<Mutex<State>>,
}

struct State {
    cluster_id: u64,
    replies: VecDeque<Reply>,
    requests: Vec<Request>,
    /// The token of each request.
    tokens: Vec<String>,
    /// The response to requests for the list of members.
    members: Message,
    /// As etcd's gRPC proxy does, the endpoint leaves the id of the cluster out of the list of members.
    is_proxy: bool,
}

/// A request, except those for the list of members.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// The name of the call, such as `Range`.
    pub(super) call: String,
    /// The protobuf message.
    pub(super) message: Message,
}

/// A reply to one request.
pub(super) enum Reply {
    /// Messages, each of them the revision in its header and the other fields, and then the end of the stream.
    Messages(Vec<(u64, Message)>),
    /// A status with the code `Unknown` and this message.
    Status(&'static str),
}

/// An encoded protobuf message. Messages are concatenated by [`Message::and`].
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Message(Vec<u8>);

// === impl FakeEtcd ===

impl FakeEtcd {
    /// Starts an endpoint of the cluster 1, with one reply for each request.
    pub(super) async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State {
            cluster_id: 1,
            replies: replies.into_iter().collect(),
            requests: Vec::new(),
            tokens: Vec::new(),
            members: Message::default(),
            is_proxy: false,
        }));
        tokio::spawn(serve(listener, Arc::clone(&state)));
        FakeEtcd { url, state }
    }

    /// Returns the URL of the endpoint.
    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    /// Returns a client of the cluster.
    pub(super) fn cluster(&self) -> Cluster {
        let timeout = Duration::from_secs(60);
        Cluster::new(vec![self.url()], &credentials(None), timeout)
    }

    /// Moves the endpoint into another cluster, without an end of its connections.
    pub(super) fn move_to(&self, cluster_id: u64) {
        self.state.lock().cluster_id = cluster_id;
    }

    /// Adds a member, encoded as an `etcdserverpb.Member`, to the list of members.
    pub(super) fn add_member(&self, member: &Message) {
        let mut state = self.state.lock();
        state.members = mem::take(&mut state.members).and(inner(2, member));
    }

    /// Becomes a proxy before etcd.
    pub(super) fn become_proxy(&self) {
        self.state.lock().is_proxy = true;
    }

    /// Adds a reply.
    pub(super) fn prepare(&self, reply: Reply) {
        self.state.lock().replies.push_back(reply);
    }

    /// Returns the names of the calls so far.
    pub(super) fn calls(&self) -> Vec<String> {
        let requests = self.requests().into_iter();
        requests.map(|request| request.call).collect()
    }

    /// Returns the token of each request so far.
    pub(super) fn tokens(&self) -> Vec<String> {
        self.state.lock().tokens.clone()
    }

    /// Returns the requests so far.
    pub(super) fn requests(&self) -> Vec<Request> {
        self.state.lock().requests.clone()
    }
}

/// Returns credentials without certificates.
pub(super) fn credentials(user: Option<EtcdUser>) -> Arc<Credentials> {
    let settings = EtcdSettings {
        endpoints: Vec::new(),
        cluster_id: None,
        ca_cert_path: None,
        client_cert: None,
        user,
    };
    Arc::new(Credentials::load(settings).unwrap())
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        let state = Arc::clone(&state);
        let service = service_fn(move |request| respond(request, Arc::clone(&state)));
        let connection = http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(connection), service);
        tokio::spawn(connection);
    }
}

async fn respond(
    request: http::Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<http::Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    let call = request.uri().path().rsplit('/').next().unwrap().to_owned();
    let token = request.headers().get("token").cloned();
    let token = token.map_or_else(String::new, |token| token.to_str().unwrap().to_owned());
    let message = first_message(request.into_body()).await;
    let mut state = state.lock();
    let mut cluster_id = state.cluster_id;
    let reply = if call == "MemberList" {
        if state.is_proxy {
            cluster_id = 0;
        }
        Reply::Messages(vec![(1, state.members.clone())])
    } else {
        state.requests.push(Request { call, message });
        state.tokens.push(token);
        let none = Reply::Status("no reply is prepared");
        state.replies.pop_front().unwrap_or(none)
    };
    let mut trailers = http::HeaderMap::new();
    let mut body = Vec::new();
    match reply {
        Reply::Messages(messages) => {
            trailers.insert("grpc-status", "0".parse().unwrap());
            for (revision, fields) in messages {
                let header = number(1, cluster_id).and(number(2, MEMBER_ID));
                let header = header.and(number(3, revision));
                body.extend(frame(&inner(1, &header).and(fields)));
            }
        }
        Reply::Status(message) => {
            trailers.insert("grpc-status", "2".parse().unwrap());
            trailers.insert("grpc-message", message.parse().unwrap());
        }
    }
    let body = Full::from(body).with_trailers(std::future::ready(Some(Ok(trailers))));
    let response = http::Response::builder().header("content-type", "application/grpc");
    Ok(response.body(body).unwrap())
}

/// The size of what precedes a message: a flag and the length of the message.
const FRAME_HEADER: usize = 5;

fn frame(message: &Message) -> Vec<u8> {
    let length = u32::try_from(message.0.len()).unwrap();
    [&[0], &length.to_be_bytes()[..], &message.0].concat()
}

/// Reads the first message of a request; the stream of a watch does not end.
async fn first_message(mut body: Incoming) -> Message {
    let mut read = Vec::new();
    loop {
        if let [_, length @ ..] = &read[..]
            && let Some((length, message)) = length.split_first_chunk()
            && message.len() >= u32::from_be_bytes(*length) as usize
        {
            return Message(read.split_off(FRAME_HEADER));
        }
        let frame = body.frame().await.unwrap().unwrap();
        read.extend(frame.into_data().unwrap());
    }
}

// === impl Message ===

impl Message {
    /// Appends the fields of another message.
    pub(super) fn and(mut self, fields: Message) -> Self {
        self.0.extend(fields.0);
        self
    }

    /// Counts the occurrences of a field in a message with nothing but bytes, texts and other messages.
    pub(super) fn count(&self, field: u64) -> usize {
        let mut rest = self.0.iter();
        let mut count = 0;
        while let Some(tag) = rest.next() {
            count += usize::from(u64::from(*tag) == field << 3 | 2);
            let mut length = 0;
            for (shift, byte) in (0..).step_by(7).zip(rest.by_ref()) {
                length |= usize::from(byte & 0x7f) << shift;
                if *byte < 0x80 {
                    break;
                }
            }
            rest = rest.as_slice()[length..].iter();
        }
        count
    }
}

/// Encodes a number, which is left out if it is 0, as the generated code does.
pub(super) fn number(field: u64, value: u64) -> Message {
    match value {
        0 => Message::default(),
        _ => alternative(field, value),
    }
}

/// Encodes a number that is present even if it is 0, as one of several alternatives.
pub(super) fn alternative(field: u64, value: u64) -> Message {
    Message([varint(field << 3), varint(value)].concat())
}

/// Encodes bytes or a text.
pub(super) fn bytes(field: u64, value: impl AsRef<[u8]>) -> Message {
    let value = value.as_ref();
    let length = u64::try_from(value.len()).unwrap();
    Message([&varint(field << 3 | 2), &varint(length), value].concat())
}

/// Encodes a message within another one.
pub(super) fn inner(field: u64, message: &Message) -> Message {
    bytes(field, &message.0)
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low);
            return out;
        }
        out.push(low | 0x80);
    }
}

/// Encodes an `mvccpb.KeyValue`.
pub(super) fn key_value(key: &str, mod_revision: u64, value: &str) -> Message {
    bytes(1, key)
        .and(number(3, mod_revision))
        .and(bytes(5, value))
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.call, self.message)
    }
}
