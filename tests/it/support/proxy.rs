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
    /// Bytes of one direction are passed on after this delay.
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

/// The state of one direction.
enum Flow {
    Open,
    Delayed(Duration),
    Held,
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
    /// Both ends of each open connection.
    open: HashMap<u64, [TcpStream; 2]>,
}

/// The header in which a member of etcd names itself.
const SENDER: &str = "x-server-from:";

// === impl Network ===

impl Network {
    fn flow(self, direction: Direction) -> Flow {
        match self {
            Network::Works | Network::Cut => Flow::Open,
            Network::Slow(delay) => Flow::Delayed(delay),
            Network::Late(only, delay) if only == direction => Flow::Delayed(delay),
            Network::Held(only) if only == direction => Flow::Held,
            Network::Late(..) | Network::Held(_) => Flow::Open,
            Network::Frozen => Flow::Held,
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

    /// Changes the state of the network, including that of open connections.
    pub fn set(&self, network: Network) {
        let mut state = self.shared.state.lock().unwrap();
        state.network = network;
        if network == Network::Cut {
            state.close_all();
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
        for end in self.open.drain().flat_map(|(_, ends)| ends) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    fn network_of(&self, client: &str) -> Network {
        let exception = self.exceptions.get(client);
        exception.copied().unwrap_or(self.network)
    }
}

// === impl Shared ===

impl Shared {
    /// Waits until bytes of this direction, which arrived at this time, may pass.
    fn wait_to_pass(&self, client: &str, direction: Direction, bytes: usize, arrived: Instant) {
        let mut state = self.state.lock().unwrap();
        let mut counted = false;
        while !state.closed {
            let flow = state.network_of(client).flow(direction);
            let left = match flow {
                Flow::Open => return,
                Flow::Delayed(delay) => delay.saturating_sub(arrived.elapsed()),
                Flow::Held => Duration::MAX,
            };
            if left.is_zero() {
                return;
            }
            if !counted {
                state.delayed += bytes as u64;
                counted = true;
            }
            state = match flow {
                Flow::Held => self.changed.wait(state).unwrap(),
                Flow::Open | Flow::Delayed(_) => self.changed.wait_timeout(state, left).unwrap().0,
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
    let ends = [client.try_clone().unwrap(), server.try_clone().unwrap()];
    state.open.insert(id, ends);
    drop(state);
    let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let up = {
        let (shared, name) = (Arc::clone(shared), name.clone());
        thread::spawn(move || pump(&first, from, to, &shared, &name, Direction::Requests))
    };
    pump(&[], server, client, shared, &name, Direction::Responses);
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
fn pump(
    first: &[u8],
    from: TcpStream,
    mut to: TcpStream,
    shared: &Shared,
    client: &str,
    direction: Direction,
) {
    let (arrived, waiting) = mpsc::sync_channel(MAX_WAITING);
    thread::scope(|scope| {
        scope.spawn(|| receive(first, &from, arrived));
        for (bytes, at) in waiting {
            shared.wait_to_pass(client, direction, bytes.len(), at);
            if bytes.is_empty() || to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    });
}

/// Sends `first`, then everything that arrives from a connection, with the time of its arrival. No bytes mark the end.
fn receive(first: &[u8], mut from: &TcpStream, arrived: SyncSender<(Vec<u8>, Instant)>) {
    let mut chunk = first.to_vec();
    loop {
        if chunk.is_empty() {
            chunk.resize(16 << 10, 0);
            let read = from.read(&mut chunk).unwrap_or(0);
            chunk.truncate(read);
        }
        let is_end = chunk.is_empty();
        let sent = arrived.send((std::mem::take(&mut chunk), Instant::now()));
        if is_end || sent.is_err() {
            return;
        }
    }
}
