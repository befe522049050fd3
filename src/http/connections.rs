//! The open connections of a listener, and the choice of those that are closed in favor of others.
//!
//! Each network may have a number of connections, and so may all networks together. If one more connects, the longest
//! idle ones are closed. All connections together may hold a number of bytes (invariant 8). If they hold more, the largest
//! connections of the networks that hold the most are closed. So a client only takes resources away from itself, and
//! from clients that use more than it does. Half of the largest size counts as equally large, and the longest idle
//! connections of that size come first: a request that is being answered does not make its connection the largest one.

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

/// The bytes of the state and the buffers of TLS, except for what it has received.
const TLS_BYTES: usize = 28 << 10;

/// The maximum number of concurrent requests on one HTTP/2 connection.
pub(super) const MAX_STREAMS: u32 = 8;

/// The changes of a connection that are recorded together. A usual request is smaller, and costs no lock of the table.
const STEP: usize = 8 << 10;

/// At a limit, this part of it is made available at once, because the choice considers all connections.
const BATCH: usize = 64;

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
    /// The maximum of `bytes`, as configured when the newest connection was registered.
    max_bytes: usize,
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
    worn_out: Notify,
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
        let full = if table.count_of(party) >= limits.connections_per_peer() {
            let evicted = table.longest_idle_of(party).into_iter().collect();
            Some(("connections_per_peer", evicted))
        } else if table.count >= limits.max_connections {
            let count = (limits.max_connections / BATCH).max(1);
            Some(("connections", table.most_dispensable(party, count)))
        } else {
            None
        };
        if let Some((reason, evicted)) = full {
            if evicted.is_empty() {
                self.metrics.rejected(reason);
                return None;
            }
            for (party, id) in evicted {
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
                recorded: 0,
            }),
            evicted: Notify::new(),
            worn_out: Notify::new(),
        });
        let tls_bytes = if has_tls { TLS_BYTES } else { 0 };
        table.insert(Arc::clone(&connection), CONNECTION_BYTES + tls_bytes);
        table.max_bytes = connection.limits.connection_bytes;
        self.shrink(&mut table);
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
        self.shrink(&mut table);
    }

    /// Closes connections if all together hold more bytes than they may.
    fn shrink(&self, table: &mut Table) {
        if table.bytes <= table.max_bytes {
            return;
        }
        let target = table.max_bytes - table.max_bytes / BATCH;
        while table.bytes > target && !table.parties.is_empty() {
            for (_, party, id) in table.largest() {
                table.evict(party, id);
                self.metrics.evicted("bytes");
                if table.bytes <= target {
                    return;
                }
            }
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

    /// Returns the connections that are closed if one more of `newcomer` connects: up to `count` of the parties with the
    /// most connections, the longest idle ones. If all have requests, one is closed for a party with fewer connections.
    fn most_dispensable(&self, newcomer: Party, count: usize) -> Vec<(Party, u64)> {
        let counts = self.parties.values();
        let most = counts.map(|share| share.connections.len()).max();
        let most = most.unwrap_or_default();
        let largest = self
            .parties
            .iter()
            .filter(|(_, share)| share.connections.len() == most);
        let connections = largest.flat_map(|(party, share)| {
            let connections = share.connections.iter();
            connections.map(|(id, entry)| (entry.connection.idleness(), *party, *id))
        });
        let mut connections: Vec<_> = connections.collect();
        connections.sort_unstable();
        let is_larger = most > self.count_of(newcomer) + 1;
        let idle = connections.partition_point(|(idleness, ..)| !idleness.is_answering());
        connections.truncate(idle.max(is_larger.into()).min(count));
        let ids = connections.into_iter().map(|(_, party, id)| (party, id));
        ids.collect()
    }

    /// Returns the largest connections of the parties that hold the most bytes, the longest idle ones first.
    fn largest(&self) -> Vec<(Idleness, Party, u64)> {
        let parties = self.parties.iter();
        let large_parties = among_the_largest(parties, |(_, share)| share.bytes);
        let connections = large_parties.flat_map(|(party, share)| {
            let connections = share.connections.iter();
            connections.map(|(id, entry)| (*party, *id, entry))
        });
        let mut largest: Vec<_> = among_the_largest(connections, |(_, _, entry)| entry.bytes)
            .map(|(party, id, entry)| (entry.connection.idleness(), party, id))
            .collect();
        largest.sort_unstable();
        largest
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

    /// Waits until the connection should end: the first time as soon as its requests are answered, then at once.
    pub(super) async fn worn_out(&self) {
        self.worn_out.notified().await;
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

    /// Records the end of the TLS handshake.
    pub(super) fn handshake_ended(&self) {
        self.update(|activity| activity.handshake_ended(Instant::now()));
    }

    /// Records that the connection speaks HTTP/2.
    pub(super) fn speaks_http2(&self) {
        // A field with a name of its own takes up to 4.5 times the bytes for which it counts in a list.
        let max_fields = head::max_bytes(&self.limits).saturating_mul(9) / 2;
        self.update(|activity| activity.speaks_http2(max_fields));
    }

    /// Records bytes that TLS has received.
    pub(super) fn received_encrypted(&self, bytes: usize) {
        self.update(|activity| activity.received_encrypted(bytes));
    }

    /// Records bytes that were received.
    pub(super) fn received(&self, bytes: usize) {
        if self.update(|activity| activity.received(bytes, Instant::now)) {
            self.worn_out.notify_one();
        }
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

    fn update<T>(&self, change: impl FnOnce(&mut Activity) -> T) -> T {
        let mut state = self.state.lock();
        let changed = change(&mut state.activity);
        let is_stale = state.activity.bytes().abs_diff(state.recorded) >= STEP;
        // SUBTLE: The table is locked before the state of a connection, so this one is unlocked first.
        drop(state);
        if is_stale {
            self.connections.record(self);
        }
        changed
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
