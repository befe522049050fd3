//! A TCP proxy that cuts, holds back or delays what passes through it, in both directions or in one.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A proxy in front of one address. The test decides how its network behaves. It stops when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// The state of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Bytes are passed on at once.
    Works,
    /// Bytes are passed on after this delay, in both directions: the round trip takes twice as long.
    Slow(Duration),
    /// Bytes of one direction are passed on after this delay, even if the client has closed its connection by then.
    Late(Direction, Duration),
    /// Connections stay open and new ones are accepted, but bytes of one direction are held back.
    Held(Direction),
    /// Connections stay open and new ones are accepted, but all bytes are held back.
    Frozen,
    /// Open connections are closed, and new ones immediately.
    Cut,
}

/// A direction of the bytes on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client, which opened the connection.
    Requests,
    /// From the server.
    Responses,
}

struct Shared {
    /// Whether the clients are members of etcd, which name themselves in their requests.
    between_members: bool,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    target: SocketAddr,
    network: Network,
    /// The state of the network for single clients.
    exceptions: HashMap<String, Network>,
    closed: bool,
    next: u64,
    /// The number of bytes that could not be passed on at once since the last reset.
    delayed: u64,
    open: HashMap<u64, Connection>,
}

/// An open connection.
struct Connection {
    ends: [TcpStream; 2],
    /// The state of the network for this connection only.
    network: Option<Network>,
}

/// One direction of a connection.
#[derive(Clone)]
struct Line {
    shared: Arc<Shared>,
    connection: u64,
    /// The name of the client, if it has one.
    client: String,
    direction: Direction,
}

/// Bytes and the time at which they may pass. No bytes mark the end.
type Chunk = (Vec<u8>, Instant);

/// The header in which a member of etcd names itself.
const SENDER: &str = "x-server-from:";

// === impl Network ===

impl Network {
    fn delay(self, direction: Direction) -> Duration {
        match self {
            Network::Slow(delay) => delay,
            Network::Late(only, delay) if only == direction => delay,
            _ => Duration::ZERO,
        }
    }

    fn holds(self, direction: Direction) -> bool {
        match self {
            Network::Held(only) => only == direction,
            Network::Frozen => true,
            _ => false,
        }
    }
}

// === impl Proxy ===

impl Proxy {
    /// Starts a proxy in front of `endpoint`, `http://address:port`.
    pub fn to(endpoint: &str) -> Self {
        Proxy::start(endpoint, false)
    }

    /// Starts a proxy in front of the peer port of a member of etcd. [`Proxy::set_for`] takes the id of another member.
    pub fn between_members(endpoint: &str) -> Self {
        Proxy::start(endpoint, true)
    }

    fn start(endpoint: &str, between_members: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shared = Arc::new(Shared {
            between_members,
            state: Mutex::new(State {
                target: address(endpoint),
                network: Network::Works,
                exceptions: HashMap::new(),
                closed: false,
                next: 0,
                delayed: 0,
                open: HashMap::new(),
            }),
            changed: Condvar::new(),
        });
        let proxy = Proxy {
            address: listener.local_addr().unwrap(),
            shared: Arc::clone(&shared),
        };
        thread::spawn(move || accept(&listener, &shared));
        proxy
    }

    /// Passes new connections on to another address.
    pub fn set_target(&self, endpoint: &str) {
        self.shared.state.lock().unwrap().target = address(endpoint);
    }

    /// Returns the URL of the proxy.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes the state of the network, including that of open connections. Bytes that are delayed already stay so.
    pub fn set(&self, network: Network) {
        let mut state = self.shared.state.lock().unwrap();
        state.network = network;
        state.forget_connections();
        if network == Network::Cut {
            state.close_all();
        }
        self.shared.changed.notify_all();
    }

    /// Changes the state of the network for the connections that are open. It works for those that are opened later.
    pub fn set_open(&self, network: Network) {
        let mut state = self.shared.state.lock().unwrap();
        state.network = Network::Works;
        for connection in state.open.values_mut() {
            connection.network = Some(network);
        }
        self.shared.changed.notify_all();
    }

    /// Changes the state of the network for one client, including that of its open connections.
    pub fn set_for(&self, client: &str, network: Network) {
        let mut state = self.shared.state.lock().unwrap();
        state.exceptions.insert(client.to_owned(), network);
        self.shared.changed.notify_all();
    }

    /// Lets the network work for all clients. Returns the number of bytes that could not be passed on at once.
    pub fn reset(&self) -> u64 {
        let mut state = self.shared.state.lock().unwrap();
        state.network = Network::Works;
        state.exceptions.clear();
        state.forget_connections();
        self.shared.changed.notify_all();
        std::mem::take(&mut state.delayed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock().unwrap();
        state.closed = true;
        state.close_all();
        self.shared.changed.notify_all();
        drop(state);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

// === impl State ===

impl State {
    fn close_all(&mut self) {
        let connections = self.open.drain();
        for end in connections.flat_map(|(_, connection)| connection.ends) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    /// Gives the open connections the network that all others have.
    fn forget_connections(&mut self) {
        for connection in self.open.values_mut() {
            connection.network = None;
        }
    }

    fn network_of(&self, line: &Line) -> Network {
        let connection = self.open.get(&line.connection);
        let own = connection.and_then(|connection| connection.network);
        own.or_else(|| self.exceptions.get(&line.client).copied())
            .unwrap_or(self.network)
    }
}

// === impl Line ===

impl Line {
    /// Returns the time at which bytes that arrive now may pass.
    fn due(&self) -> Instant {
        let state = self.shared.state.lock().unwrap();
        Instant::now() + state.network_of(self).delay(self.direction)
    }

    /// Waits until bytes may pass that are due at this time.
    fn wait_to_pass(&self, bytes: usize, due: Instant) {
        let changed = &self.shared.changed;
        let mut state = self.shared.state.lock().unwrap();
        let mut counted = false;
        while !state.closed {
            let is_held = state.network_of(self).holds(self.direction);
            let left = due.saturating_duration_since(Instant::now());
            if !is_held && left.is_zero() {
                return;
            }
            if !counted {
                state.delayed += bytes as u64;
                counted = true;
            }
            state = if is_held {
                changed.wait(state).unwrap()
            } else {
                changed.wait_timeout(state, left).unwrap().0
            };
        }
    }
}

fn address(endpoint: &str) -> SocketAddr {
    endpoint.trim_start_matches("http://").parse().unwrap()
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        let Ok(client) = client else { continue };
        let state = shared.state.lock().unwrap();
        if state.closed {
            return;
        }
        if state.network == Network::Cut {
            continue;
        }
        drop(state);
        let shared = Arc::clone(shared);
        thread::spawn(move || connect(client, &shared));
    }
}

fn connect(mut client: TcpStream, shared: &Arc<Shared>) {
    let mut first = Vec::new();
    if shared.between_members {
        first.resize(4 << 10, 0);
        let read = client.read(&mut first).unwrap_or(0);
        first.truncate(read);
    }
    let name = sender(&first);
    let target = shared.state.lock().unwrap().target;
    let Ok(server) = TcpStream::connect(target) else {
        return;
    };
    for end in [&client, &server] {
        let _ = end.set_nodelay(true);
    }
    let mut state = shared.state.lock().unwrap();
    if state.closed || state.network == Network::Cut {
        return;
    }
    let id = state.next;
    state.next += 1;
    let connection = Connection {
        ends: [client.try_clone().unwrap(), server.try_clone().unwrap()],
        network: None,
    };
    state.open.insert(id, connection);
    drop(state);
    let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let requests = Line {
        shared: Arc::clone(shared),
        connection: id,
        client: name,
        direction: Direction::Requests,
    };
    let responses = Line {
        direction: Direction::Responses,
        ..requests.clone()
    };
    let up = thread::spawn(move || pump(&first, from, to, &requests));
    pump(&[], server, client, &responses);
    let _ = up.join();
    shared.state.lock().unwrap().open.remove(&id);
}

/// Returns the id of the member that sent these bytes, empty if they do not contain one.
fn sender(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let id = text.lines().find_map(|line| line.strip_prefix(SENDER));
    id.unwrap_or_default().trim().to_owned()
}

/// The number of chunks of one direction that wait for their turn. Without a bound, a held direction would fill the
/// memory.
const MAX_WAITING: usize = 64;

/// Passes bytes on until one end closes, then closes both. A delay adds to the time of each chunk, as a long line does;
/// it does not add up over chunks that follow each other.
///
/// SUBTLE: a client that gives up a request resets its stream and closes the connection, which would annul the request.
/// These bytes have the same delay as the request, so etcd has as much time to apply it as the client gave it.
fn pump(first: &[u8], from: TcpStream, mut to: TcpStream, line: &Line) {
    let (arrived, waiting) = mpsc::sync_channel(MAX_WAITING);
    thread::scope(|scope| {
        scope.spawn(|| receive(first, &from, line, &arrived));
        for (bytes, due) in waiting {
            line.wait_to_pass(bytes.len(), due);
            if bytes.is_empty() {
                break;
            }
            // Responses to a client that has closed its connection are lost; its requests may still be on their way.
            if to.write_all(&bytes).is_err() && line.direction == Direction::Requests {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    });
}

/// Sends `first`, then everything that arrives from a connection.
fn receive(first: &[u8], mut from: &TcpStream, line: &Line, arrived: &SyncSender<Chunk>) {
    let mut chunk = first.to_vec();
    loop {
        if chunk.is_empty() {
            chunk.resize(16 << 10, 0);
            let read = from.read(&mut chunk).unwrap_or(0);
            chunk.truncate(read);
        }
        let is_end = chunk.is_empty();
        let sent = arrived.send((std::mem::take(&mut chunk), line.due()));
        if is_end || sent.is_err() {
            return;
        }
    }
}
