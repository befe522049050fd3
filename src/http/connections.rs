//! The open connections of a listener, and the choice of those that are closed in favor of others.
//!
//! Each network may have a number of connections, and so may all networks together. If one more connects, the longest
//! idle one is closed. All connections together may hold a number of bytes (invariant 8). If they hold more, the largest
//! connection of the network that holds the most is closed. So a client only takes resources away from itself, and
//! from clients that use more than it does.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{self, Instant};

use super::activity::{Activity, Idleness, shortest_timeout};
use super::head;
use super::metrics::ListenerMetrics;
use super::network::ClientNetwork;
use crate::config::Limits;

/// The bytes of a connection that has received nothing: its task, and its place in the table.
const CONNECTION_BYTES: usize = 6 << 10;

/// The bytes of the state and the buffers of TLS.
const TLS_BYTES: usize = 32 << 10;

/// The maximum size of a message of the handshake, which rustls defines.
const HANDSHAKE_BYTES: usize = 64 << 10;

/// The maximum number of concurrent requests on one HTTP/2 connection.
pub(super) const MAX_STREAMS: u32 = 8;

/// The changes of a connection that are recorded together. A usual request is smaller, and costs no lock of the table.
const STEP: usize = 4 << 10;

/// All connections of a listener.
pub(super) struct Connections {
    table: Mutex<Table>,
    metrics: ListenerMetrics,
}

#[derive(Default)]
struct Table {
    networks: HashMap<ClientNetwork, Network>,
    count: usize,
    bytes: usize,
    next_id: u64,
}

#[derive(Default)]
struct Network {
    connections: HashMap<u64, Entry>,
    bytes: usize,
}

struct Entry {
    connection: Arc<OpenConnection>,
    bytes: usize,
}

/// A connection from its acceptance to its end.
pub(super) struct OpenConnection {
    id: u64,
    network: ClientNetwork,
    connections: Arc<Connections>,
    limits: Limits,
    state: Mutex<State>,
    evicted: Notify,
}

struct State {
    activity: Activity,
    /// The bytes of the activity that the table contains.
    recorded: usize,
}

/// The place of a connection in the table. Dropping it removes the connection.
pub(super) struct Registration(pub(super) Arc<OpenConnection>);

/// A request that is being answered. Dropping it ends the request.
pub(super) struct Answering {
    connection: Arc<OpenConnection>,
    bytes: usize,
}

/// A response that the client has not read yet. Dropping it ends the response.
pub(super) struct Unread {
    connection: Arc<OpenConnection>,
    bytes: usize,
    since: Instant,
}

// === impl Connections ===

impl Connections {
    pub(super) fn new(metrics: ListenerMetrics) -> Arc<Self> {
        Arc::new(Connections {
            table: Mutex::default(),
            metrics,
        })
    }

    /// Registers a new connection. Returns `None` if no other one may be closed in favor of it.
    pub(super) fn register(
        self: &Arc<Self>,
        network: ClientNetwork,
        has_tls: bool,
        limits: Limits,
    ) -> Option<Registration> {
        let mut table = self.table.lock();
        let reason = if table.count_of(network) >= limits.connections_per_peer() {
            Some(("connections_per_peer", table.longest_idle_of(network)))
        } else if table.count >= limits.max_connections {
            Some(("connections", table.most_dispensable(network)))
        } else {
            None
        };
        match reason {
            None => {}
            Some((reason, None)) => {
                self.metrics.rejected(reason);
                return None;
            }
            Some((reason, Some((network, id)))) => {
                table.evict(network, id);
                self.metrics.evicted(reason);
            }
        }
        let id = table.next_id;
        table.next_id += 1;
        let connection = Arc::new(OpenConnection {
            id,
            network,
            connections: Arc::clone(self),
            limits,
            state: Mutex::new(State {
                activity: Activity::new(Instant::now()),
                recorded: 0,
            }),
            evicted: Notify::new(),
        });
        let tls_bytes = if has_tls { TLS_BYTES } else { 0 };
        table.insert(Arc::clone(&connection), CONNECTION_BYTES + tls_bytes);
        self.shrink(&mut table, &connection.limits);
        Some(Registration(connection))
    }

    /// Updates the table to the bytes that a connection holds now.
    fn record(&self, connection: &OpenConnection) {
        let mut table = self.table.lock();
        let mut state = connection.state.lock();
        let (before, now) = (state.recorded, state.activity.bytes());
        state.recorded = now;
        drop(state);
        table.record(connection, before, now);
        self.shrink(&mut table, &connection.limits);
    }

    /// Closes connections until the others hold as many bytes as they may.
    fn shrink(&self, table: &mut Table, limits: &Limits) {
        while table.bytes > limits.connection_bytes
            && let Some((network, id)) = table.largest()
        {
            table.evict(network, id);
            self.metrics.evicted("bytes");
        }
    }
}

// === impl Table ===

impl Table {
    fn count_of(&self, network: ClientNetwork) -> usize {
        let network = self.networks.get(&network);
        network.map_or(0, |network| network.connections.len())
    }

    fn longest_idle_of(&self, network: ClientNetwork) -> Option<(ClientNetwork, u64)> {
        let (idleness, id) = self.networks.get(&network)?.longest_idle()?;
        (!idleness.is_answering()).then_some((network, id))
    }

    /// Returns the connection that is closed if one more of `newcomer` connects: the longest idle one of the networks
    /// with the most connections. A connection with a request is closed only for a network with fewer connections.
    fn most_dispensable(&self, newcomer: ClientNetwork) -> Option<(ClientNetwork, u64)> {
        let counts = self.networks.values();
        let most = counts.map(|network| network.connections.len()).max()?;
        let largest = self
            .networks
            .iter()
            .filter(|(_, network)| network.connections.len() == most);
        let longest_idle = largest.filter_map(|(name, network)| {
            let (idleness, id) = network.longest_idle()?;
            Some((idleness, *name, id))
        });
        let (idleness, network, id) = longest_idle.min()?;
        let is_larger = most > self.count_of(newcomer) + 1;
        (is_larger || !idleness.is_answering()).then_some((network, id))
    }

    /// Returns the connection that holds the most bytes, of the network that holds the most.
    fn largest(&self) -> Option<(ClientNetwork, u64)> {
        let networks = self.networks.iter();
        let (name, network) = networks.max_by_key(|(_, network)| network.bytes)?;
        let connections = network.connections.iter();
        let (id, _) = connections
            .max_by_key(|(_, entry)| (entry.bytes, Reverse(entry.connection.idleness())))?;
        Some((*name, *id))
    }

    fn insert(&mut self, connection: Arc<OpenConnection>, bytes: usize) {
        self.count += 1;
        self.bytes += bytes;
        let network = self.networks.entry(connection.network).or_default();
        network.bytes += bytes;
        let id = connection.id;
        network.connections.insert(id, Entry { connection, bytes });
    }

    /// Removes a connection, unless it was removed before.
    fn remove(&mut self, network: ClientNetwork, id: u64) -> Option<Arc<OpenConnection>> {
        let of_network = self.networks.get_mut(&network)?;
        let Entry { connection, bytes } = of_network.connections.remove(&id)?;
        of_network.bytes -= bytes;
        if of_network.connections.is_empty() {
            self.networks.remove(&network);
        }
        self.count -= 1;
        self.bytes -= bytes;
        Some(connection)
    }

    /// Removes a connection and closes it.
    fn evict(&mut self, network: ClientNetwork, id: u64) {
        if let Some(connection) = self.remove(network, id) {
            connection.evicted.notify_one();
        }
    }

    fn record(&mut self, connection: &OpenConnection, before: usize, now: usize) {
        let Some(network) = self.networks.get_mut(&connection.network) else {
            return;
        };
        let Some(entry) = network.connections.get_mut(&connection.id) else {
            return;
        };
        for bytes in [&mut entry.bytes, &mut network.bytes, &mut self.bytes] {
            *bytes = *bytes + now - before;
        }
    }
}

// === impl Network ===

impl Network {
    fn longest_idle(&self) -> Option<(Idleness, u64)> {
        let connections = self.connections.iter();
        connections
            .map(|(id, entry)| (entry.connection.idleness(), *id))
            .min()
    }
}

// === impl OpenConnection ===

impl OpenConnection {
    /// The limits at the start of the connection, which it keeps.
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Waits until the connection has to be closed in favor of another one.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// Waits until the client has exceeded a timeout.
    ///
    /// It checks the activity periodically. Being notified of every change would cost two more wake-ups of the
    /// connection's task per request.
    pub(super) async fn expired(&self) {
        let shortest = shortest_timeout(&self.limits);
        loop {
            let deadline = self.state.lock().activity.deadline(&self.limits);
            let now = Instant::now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                return;
            }
            // What begins after this moment lasts at least that long.
            let next_check = now + shortest;
            time::sleep_until(deadline.map_or(next_check, |deadline| deadline.min(next_check)))
                .await;
        }
    }

    /// Records bytes that the connection holds until its end.
    pub(super) fn allocated(&self, bytes: usize) {
        self.update(|activity| activity.allocated(bytes));
    }

    /// Records the start of the TLS handshake, in which a client may send large messages.
    pub(super) fn handshake_begins(&self) {
        self.allocated(HANDSHAKE_BYTES);
    }

    /// Records the end of the TLS handshake.
    pub(super) fn handshake_ended(&self) {
        self.update(|activity| activity.handshake_ended(HANDSHAKE_BYTES, Instant::now()));
    }

    /// Records bytes that were received. With HTTP/1.1, those after a response begin the head of the next request.
    pub(super) fn received(&self, bytes: usize, is_http1: bool) {
        let max = max_received(&self.limits);
        self.update(|activity| {
            activity.received(bytes, max);
            if is_http1 {
                activity.head_begins(Instant::now);
            }
        });
    }

    /// Records a request, for which the connection holds `bytes` beside those received.
    pub(super) fn request(self: &Arc<Self>, bytes: usize) -> Answering {
        self.update(|activity| activity.request(bytes, Instant::now()));
        Answering {
            connection: Arc::clone(self),
            bytes,
        }
    }

    /// Records a response of that many bytes.
    pub(super) fn response(self: &Arc<Self>, bytes: usize) -> Unread {
        let since = Instant::now();
        self.update(|activity| activity.response(bytes, since));
        Unread {
            connection: Arc::clone(self),
            bytes,
            since,
        }
    }

    fn idleness(&self) -> Idleness {
        self.state.lock().activity.idleness()
    }

    fn update(&self, change: impl FnOnce(&mut Activity)) {
        let mut state = self.state.lock();
        change(&mut state.activity);
        let is_stale = state.activity.bytes().abs_diff(state.recorded) >= STEP;
        drop(state);
        if is_stale {
            self.connections.record(self);
        }
    }
}

/// Returns the maximum of the received bytes that a connection holds: partial heads and bodies.
fn max_received(limits: &Limits) -> usize {
    head::max_bytes(limits).saturating_add(MAX_STREAMS as usize * limits.body_bytes)
}

impl Drop for Registration {
    fn drop(&mut self) {
        let OpenConnection {
            id,
            network,
            connections,
            ..
        } = &*self.0;
        connections.table.lock().remove(*network, *id);
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let now = Instant::now();
        self.connection
            .update(|activity| activity.answered(self.bytes, now));
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.connection
            .update(|activity| activity.response_ended(self.bytes, self.since));
    }
}

#[cfg(test)]
mod tests;
