//! The open connections of a listener, and the choice of those that are closed in favor of others.
//!
//! Each network may have a number of connections, and so may all networks together. If one more connects, the longest
//! idle one is closed. All connections together may hold a number of bytes (invariant 8). If they hold more, the largest
//! connection of the network that holds the most is closed. So a client only takes resources away from itself, and
//! from clients that use more than it does. Half of the largest size counts as equally large, and the longest idle
//! connection of that size is closed: a request that is being answered does not make its connection the largest one.

use std::collections::HashMap;
use std::sync::Arc;

use http::Version;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::{self, Instant};

use super::activity::{Activity, Idleness, ReceiveBounds, shortest_timeout};
use super::head;
use super::metrics::ListenerMetrics;
use super::network::ClientNetwork;
use crate::config::Limits;

/// The bytes of a connection that has received nothing: its task, and its place in the table.
const CONNECTION_BYTES: usize = 6 << 10;

/// The bytes of the state and the buffers of TLS.
const TLS_BYTES: usize = 28 << 10;

/// The maximum size of a message of the handshake, which rustls defines.
const HANDSHAKE_BYTES: usize = 64 << 10;

/// The maximum number of concurrent requests on one HTTP/2 connection.
pub(super) const MAX_STREAMS: u32 = 8;

/// The changes of a connection that are recorded together. A usual request is smaller, and costs no lock of the table.
const STEP: usize = 8 << 10;

/// All connections of a listener.
pub(super) struct Connections {
    table: Mutex<Table>,
    metrics: ListenerMetrics,
}

#[derive(Default)]
struct Table {
    parties: HashMap<Party, Share>,
    count: usize,
    bytes: usize,
    next_id: u64,
}

/// The client that connections are counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Party {
    Network(ClientNetwork),
    /// One connection of a trusted proxy, which forwards requests of any number of clients.
    Proxied(u64),
}

/// The connections of a party.
#[derive(Default)]
struct Share {
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
    party: Party,
    connections: Arc<Connections>,
    limits: Limits,
    state: Mutex<State>,
    evicted: Notify,
}

struct State {
    activity: Activity,
    bounds: ReceiveBounds,
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

/// A body that is incomplete. Dropping it ends the body.
pub(super) struct IncompleteBody(Arc<OpenConnection>);

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

    /// Registers a new connection of a network; `None` stands for a trusted proxy. Returns `None` if no other one may be
    /// closed in favor of it.
    pub(super) fn register(
        self: &Arc<Self>,
        network: Option<ClientNetwork>,
        has_tls: bool,
        limits: Limits,
    ) -> Option<Registration> {
        let mut table = self.table.lock();
        let id = table.next_id;
        table.next_id += 1;
        let party = network.map_or(Party::Proxied(id), Party::Network);
        let reason = if table.count_of(party) >= limits.connections_per_peer() {
            Some(("connections_per_peer", table.longest_idle_of(party)))
        } else if table.count >= limits.max_connections {
            Some(("connections", table.most_dispensable(party)))
        } else {
            None
        };
        match reason {
            None => {}
            Some((reason, None)) => {
                self.metrics.rejected(reason);
                return None;
            }
            Some((reason, Some((party, id)))) => {
                table.evict(party, id);
                self.metrics.evicted(reason);
            }
        }
        let connection = Arc::new(OpenConnection {
            id,
            party,
            connections: Arc::clone(self),
            limits,
            state: Mutex::new(State {
                activity: Activity::new(Instant::now()),
                bounds: ReceiveBounds::default(),
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
        let (before, now) = (state.recorded, state.bytes());
        state.recorded = now;
        drop(state);
        table.record(connection, before, now);
        self.shrink(&mut table, &connection.limits);
    }

    /// Closes connections until the others hold as many bytes as they may.
    fn shrink(&self, table: &mut Table, limits: &Limits) {
        while table.bytes > limits.connection_bytes
            && let Some((party, id)) = table.largest()
        {
            table.evict(party, id);
            self.metrics.evicted("bytes");
        }
    }
}

// === impl Table ===

impl Table {
    fn count_of(&self, party: Party) -> usize {
        let share = self.parties.get(&party);
        share.map_or(0, |share| share.connections.len())
    }

    fn longest_idle_of(&self, party: Party) -> Option<(Party, u64)> {
        let (idleness, id) = self.parties.get(&party)?.longest_idle()?;
        (!idleness.is_answering()).then_some((party, id))
    }

    /// Returns the connection that is closed if one more of `newcomer` connects: the longest idle one of the parties with
    /// the most connections. A connection with a request is closed only for a party with fewer connections.
    fn most_dispensable(&self, newcomer: Party) -> Option<(Party, u64)> {
        let counts = self.parties.values();
        let most = counts.map(|share| share.connections.len()).max()?;
        let largest = self
            .parties
            .iter()
            .filter(|(_, share)| share.connections.len() == most);
        let longest_idle = largest.filter_map(|(party, share)| {
            let (idleness, id) = share.longest_idle()?;
            Some((idleness, *party, id))
        });
        let (idleness, party, id) = longest_idle.min()?;
        let is_larger = most > self.count_of(newcomer) + 1;
        (is_larger || !idleness.is_answering()).then_some((party, id))
    }

    /// Returns one of the largest connections of the parties that hold the most bytes: the longest idle one.
    fn largest(&self) -> Option<(Party, u64)> {
        let parties = self.parties.iter();
        let large_parties = among_the_largest(parties, |(_, share)| share.bytes);
        let connections = large_parties.flat_map(|(party, share)| {
            let connections = share.connections.iter();
            connections.map(|(id, entry)| (*party, *id, entry))
        });
        among_the_largest(connections, |(_, _, entry)| entry.bytes)
            .map(|(party, id, entry)| (entry.connection.idleness(), party, id))
            .min()
            .map(|(_, party, id)| (party, id))
    }

    fn insert(&mut self, connection: Arc<OpenConnection>, bytes: usize) {
        self.count += 1;
        self.bytes += bytes;
        let share = self.parties.entry(connection.party).or_default();
        share.bytes += bytes;
        let id = connection.id;
        share.connections.insert(id, Entry { connection, bytes });
    }

    /// Removes a connection, unless it was removed before.
    fn remove(&mut self, party: Party, id: u64) -> Option<Arc<OpenConnection>> {
        let share = self.parties.get_mut(&party)?;
        let Entry { connection, bytes } = share.connections.remove(&id)?;
        share.bytes -= bytes;
        if share.connections.is_empty() {
            self.parties.remove(&party);
        }
        self.count -= 1;
        self.bytes -= bytes;
        Some(connection)
    }

    /// Removes a connection and closes it.
    fn evict(&mut self, party: Party, id: u64) {
        if let Some(connection) = self.remove(party, id) {
            connection.evicted.notify_one();
        }
    }

    fn record(&mut self, connection: &OpenConnection, before: usize, now: usize) {
        let Some(share) = self.parties.get_mut(&connection.party) else {
            return;
        };
        let Some(entry) = share.connections.get_mut(&connection.id) else {
            return;
        };
        for bytes in [&mut entry.bytes, &mut share.bytes, &mut self.bytes] {
            *bytes = *bytes + now - before;
        }
    }
}

/// Returns the items of at least half the size of the largest one.
fn among_the_largest<T>(
    items: impl Iterator<Item = T> + Clone,
    size: impl Fn(&T) -> usize + Clone,
) -> impl Iterator<Item = T> + Clone {
    let largest = items.clone().map(|item| size(&item)).max();
    items.filter(move |item| largest.is_some_and(|largest| size(item) >= largest / 2))
}

// === impl Share ===

impl Share {
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

    /// Records the protocol, which bounds what the connection holds of the bytes that it receives.
    pub(super) fn speaks(&self, version: Version) {
        let limits = &self.limits;
        let (head_bytes, streams, fields) = match version {
            // A field takes 2.25 times the bytes for which it counts in a list.
            Version::HTTP_2 => {
                let head_bytes = head::max_bytes(limits);
                (head_bytes, MAX_STREAMS as usize, head_bytes / 4 * 9)
            }
            _ => (limits.header_bytes, 1, 0),
        };
        self.state.lock().bounds = ReceiveBounds {
            bytes: head_bytes.saturating_add(streams * limits.body_bytes),
            fields,
        };
    }

    /// Records bytes that were received.
    pub(super) fn received(&self, bytes: usize) {
        let mut state = self.state.lock();
        let bounds = state.bounds;
        state.activity.received(bytes, bounds, Instant::now);
        self.record_if_stale(state);
    }

    /// Records a request, for which the connection holds `bytes` beside those received.
    pub(super) fn request(self: &Arc<Self>, bytes: usize) -> Answering {
        self.update(|activity| activity.request(bytes, Instant::now()));
        Answering {
            connection: Arc::clone(self),
            bytes,
        }
    }

    /// Records that the body of a request is incomplete.
    pub(super) fn body(self: &Arc<Self>) -> IncompleteBody {
        self.update(Activity::body_begins);
        IncompleteBody(Arc::clone(self))
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
        self.record_if_stale(state);
    }

    /// SUBTLE: The table is locked before the state of a connection, so this one is unlocked first.
    fn record_if_stale(&self, state: MutexGuard<'_, State>) {
        let is_stale = state.bytes().abs_diff(state.recorded) >= STEP;
        drop(state);
        if is_stale {
            self.connections.record(self);
        }
    }
}

// === impl State ===

impl State {
    fn bytes(&self) -> usize {
        self.activity.bytes(self.bounds)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let OpenConnection {
            id,
            party,
            connections,
            ..
        } = &*self.0;
        connections.table.lock().remove(*party, *id);
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let now = Instant::now();
        self.connection
            .update(|activity| activity.answered(self.bytes, now));
    }
}

impl Drop for IncompleteBody {
    fn drop(&mut self) {
        self.0.update(Activity::body_ended);
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
