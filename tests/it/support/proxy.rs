//! A TCP proxy that cuts, freezes or delays the connections through it.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// A proxy in front of one address. The test decides how its network behaves. It stops when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// The state of the network, in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Bytes are passed on at once.
    Works,
    /// Bytes are passed on after this delay.
    Slow(Duration),
    /// Connections stay open and new ones are accepted, but no bytes are passed on.
    Frozen,
    /// Open connections are closed, and new ones immediately.
    Cut,
}

struct Shared {
    target: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    network: Network,
    closed: bool,
    next: u64,
    /// Both ends of each open connection.
    open: HashMap<u64, [TcpStream; 2]>,
}

// === impl Proxy ===

impl Proxy {
    /// Starts a proxy in front of `endpoint`, `http://address:port`.
    pub fn to(endpoint: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shared = Arc::new(Shared {
            target: endpoint.trim_start_matches("http://").parse().unwrap(),
            state: Mutex::new(State {
                network: Network::Works,
                closed: false,
                next: 0,
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

fn connect(client: TcpStream, shared: &Arc<Shared>) {
    let Ok(server) = TcpStream::connect(shared.target) else {
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
        let shared = Arc::clone(shared);
        thread::spawn(move || pump(from, to, &shared))
    };
    pump(server, client, shared);
    let _ = up.join();
    shared.state.lock().unwrap().open.remove(&id);
}

/// Passes bytes on until one end closes, then closes both.
fn pump(mut from: TcpStream, mut to: TcpStream, shared: &Shared) {
    let mut buffer = [0; 16 << 10];
    loop {
        let read = from.read(&mut buffer).unwrap_or(0);
        let mut state = shared.state.lock().unwrap();
        while state.network == Network::Frozen && !state.closed {
            state = shared.changed.wait(state).unwrap();
        }
        let delay = match state.network {
            Network::Slow(delay) => delay,
            Network::Works | Network::Frozen | Network::Cut => Duration::ZERO,
        };
        drop(state);
        thread::sleep(delay);
        if read == 0 || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
