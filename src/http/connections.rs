//! The open connections of a listener, and what each of them reports: activity, bytes, and its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{self, Instant};

use super::activity::{Activity, Idleness, shortest_timeout};
use super::head;
use super::metrics::ListenerMetrics;
use super::table::{Closable, Full, Party, Table};
use crate::config::Limits;
use crate::network::ClientNetwork;

/// The bytes of a connection that has received nothing: its task, and its place in the table.
const CONNECTION_BYTES: usize = 6 << 10;

/// The bytes of the state and the buffers of TLS, except for what it has received.
const TLS_BYTES: usize = 28 << 10;

/// The maximum number of concurrent requests on one HTTP/2 connection.
pub(super) const MAX_STREAMS: u32 = 8;

/// The changes of a connection that are recorded together. A usual request is smaller, and costs no lock of the table.
const STEP: usize = 8 << 10;

/// All connections of a listener.
pub(super) struct Connections {
    table: Mutex<Table<OpenConnection>>,
    next_id: AtomicU64,
    metrics: ListenerMetrics,
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
            table: Mutex::new(Table::new()),
            next_id: AtomicU64::new(0),
            metrics,
        })
    }

    /// Registers a new connection of a network; `None` stands for a trusted proxy.
    ///
    /// # Errors
    /// The limit that is reached, as metrics name it, if no other connection may be closed in favor of this one.
    pub(super) fn register(
        self: &Arc<Self>,
        network: Option<ClientNetwork>,
        has_tls: bool,
        limits: Limits,
    ) -> Result<Registration, &'static str> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let party = network.map_or(Party::Proxied(id), Party::Network);
        let mut table = self.table.lock();
        if let Some(Full { limit, closed }) = table.make_place(party, &limits) {
            if closed == 0 {
                self.metrics.rejected(limit);
                return Err(limit);
            }
            self.metrics.evicted(limit, closed);
        }
        let max_bytes = limits.connection_bytes;
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
        let bytes = CONNECTION_BYTES + tls_bytes;
        table.insert(party, id, Arc::clone(&connection), bytes);
        table.limit_bytes(max_bytes);
        self.shrink(&mut table);
        Ok(Registration(connection))
    }

    /// Updates the table to the bytes that a connection holds now.
    fn record(&self, connection: &OpenConnection) {
        let mut table = self.table.lock();
        let mut state = connection.state.lock();
        let (before, now) = (state.recorded, state.activity.bytes());
        state.recorded = now;
        drop(state);
        table.record(connection.party, connection.id, before, now);
        self.shrink(&mut table);
    }

    /// Closes connections if all together hold more bytes than they may.
    fn shrink(&self, table: &mut Table<OpenConnection>) {
        match table.shrink() {
            0 => {}
            closed => self.metrics.evicted("bytes", closed),
        }
    }
}

// === impl OpenConnection ===

impl OpenConnection {
    /// The limits at the start of the connection, which it keeps.
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Reports whether the client has sent anything in a TLS handshake that has not ended.
    pub(super) fn has_begun_handshake(&self) -> bool {
        self.state.lock().activity.has_received_encrypted()
    }

    /// Reports whether the connection waits for a request, after at least one.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.idleness(), Idleness::Idle(_))
    }

    /// Waits until the connection has to be closed in favor of another one.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// Waits until the connection should end: the first time as soon as its requests are answered, then at once.
    pub(super) async fn worn_out(&self) {
        self.worn_out.notified().await;
    }

    /// Reports whether [`OpenConnection::worn_out`] has ended.
    pub(super) fn is_worn_out(&self) -> bool {
        self.state.lock().activity.is_worn_out()
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

    /// Records that what TLS has returned was discarded.
    pub(super) fn discarded(&self) {
        self.update(Activity::discarded);
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

impl Closable for OpenConnection {
    fn idleness(&self) -> Idleness {
        self.state.lock().activity.idleness()
    }

    fn close(&self) {
        self.evicted.notify_one();
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
pub(super) mod tests;
