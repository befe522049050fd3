//! The table of the open connections of a listener, and the choice of those that are closed in favor of others.
//!
//! Each network may have a number of connections, and so may all networks together. If one more connects, the longest
//! idle ones are closed. All connections together may hold a number of bytes (invariant 8). If they hold more, the largest
//! connections of the networks that hold the most are closed. So a client only takes resources away from itself, and
//! from clients that use more than it does. Half of the largest size counts as equally large, and the longest idle
//! connections of that size come first: a request that is being answered does not make its connection the largest one.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use super::activity::Idleness;
use crate::config::Limits;
use crate::network::ClientNetwork;

/// At a limit, this part of it is made available at once, because the choice considers all connections.
const BATCH: usize = 64;

/// A connection that the table can close.
pub(super) trait Closable {
    /// Returns how idle the connection is.
    fn idleness(&self) -> Idleness;

    /// Closes the connection in favor of another one.
    fn close(&self);
}

/// All connections of a listener.
pub(super) struct Table<C> {
    parties: HashMap<Party, Share<C>>,
    count: usize,
    bytes: usize,
    /// The maximum of `bytes`, as configured when the newest connection was inserted.
    max_bytes: usize,
}

/// The client that connections are counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Party {
    Network(ClientNetwork),
    /// One connection of a trusted proxy, which forwards requests of any number of clients.
    Proxied(u64),
}

/// The connections of a party.
struct Share<C> {
    connections: HashMap<u64, Entry<C>>,
    bytes: usize,
}

struct Entry<C> {
    connection: Arc<C>,
    bytes: usize,
}

/// The limit of the number of connections that was reached, and the number of connections that were closed for a new
/// one. If there are none, it has no place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full {
    /// The limit as metrics name it.
    pub(super) limit: &'static str,
    pub(super) closed: usize,
}

// === impl Table ===

impl<C: Closable> Table<C> {
    pub(super) fn new() -> Self {
        Table {
            parties: HashMap::new(),
            count: 0,
            bytes: 0,
            max_bytes: 0,
        }
    }

    /// Closes connections if a limit leaves no place for a new one of `party`.
    pub(super) fn make_place(&mut self, party: Party, limits: &Limits) -> Option<Full> {
        let (limit, dispensable) = if self.count_of(party) >= limits.connections_per_peer() {
            let dispensable = self.longest_idle_of(party).into_iter().collect();
            ("connections_per_peer", dispensable)
        } else if self.count >= limits.max_connections {
            let count = (limits.max_connections / BATCH).max(1);
            ("connections", self.most_dispensable(party, count))
        } else {
            return None;
        };
        let closed = dispensable.len();
        for (party, id) in dispensable {
            self.close(party, id);
        }
        Some(Full { limit, closed })
    }

    pub(super) fn insert(&mut self, party: Party, id: u64, connection: Arc<C>, bytes: usize) {
        self.count += 1;
        self.bytes += bytes;
        let share = self.parties.entry(party).or_default();
        share.bytes += bytes;
        share.connections.insert(id, Entry { connection, bytes });
    }

    /// Removes a connection, unless it was removed before.
    pub(super) fn remove(&mut self, party: Party, id: u64) -> Option<Arc<C>> {
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

    /// Updates the bytes of a connection, unless it was removed before.
    pub(super) fn record(&mut self, party: Party, id: u64, before: usize, now: usize) {
        let Some(share) = self.parties.get_mut(&party) else {
            return;
        };
        let Some(entry) = share.connections.get_mut(&id) else {
            return;
        };
        for bytes in [&mut entry.bytes, &mut share.bytes, &mut self.bytes] {
            *bytes = *bytes + now - before;
        }
    }

    /// Sets the maximum number of bytes.
    pub(super) fn limit_bytes(&mut self, max: usize) {
        self.max_bytes = max;
    }

    /// Closes connections if all together hold more bytes than they may. Returns their number.
    pub(super) fn shrink(&mut self) -> usize {
        let mut closed = 0;
        if self.bytes <= self.max_bytes {
            return closed;
        }
        let target = self.max_bytes - self.max_bytes / BATCH;
        while self.bytes > target && !self.parties.is_empty() {
            let mut largest = self.largest();
            while self.bytes > target
                && let Some(Reverse((_, party, id))) = largest.pop()
            {
                self.close(party, id);
                closed += 1;
            }
        }
        closed
    }

    /// Removes a connection and closes it.
    fn close(&mut self, party: Party, id: u64) {
        if let Some(connection) = self.remove(party, id) {
            connection.close();
        }
    }

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

    /// Returns the largest connections of the parties that hold the most bytes, the longest idle one on top.
    fn largest(&self) -> BinaryHeap<Reverse<(Idleness, Party, u64)>> {
        let parties = self.parties.iter();
        let large_parties = among_the_largest(parties, |(_, share)| share.bytes);
        let connections = large_parties.flat_map(|(party, share)| {
            let connections = share.connections.iter();
            connections.map(|(id, entry)| (*party, *id, entry))
        });
        among_the_largest(connections, |(_, _, entry)| entry.bytes)
            .map(|(party, id, entry)| Reverse((entry.connection.idleness(), party, id)))
            .collect()
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

impl<C: Closable> Share<C> {
    fn longest_idle(&self) -> Option<(Idleness, u64)> {
        let connections = self.connections.iter();
        connections
            .map(|(id, entry)| (entry.connection.idleness(), *id))
            .min()
    }
}

impl<C> Default for Share<C> {
    fn default() -> Self {
        Share {
            connections: HashMap::new(),
            bytes: 0,
        }
    }
}

#[cfg(test)]
impl<C> Table<C> {
    /// Returns the number of connections and their bytes, after checking that they are the sums of all entries.
    pub(super) fn sums(&self) -> (usize, usize) {
        let shares = || self.parties.values();
        for share in shares() {
            assert!(!share.connections.is_empty());
            let entries = share.connections.values().map(|entry| entry.bytes);
            assert_eq!(share.bytes, entries.sum::<usize>());
        }
        assert_eq!(self.bytes, shares().map(|share| share.bytes).sum::<usize>());
        let count = shares().map(|share| share.connections.len()).sum::<usize>();
        assert_eq!(self.count, count);
        (self.count, self.bytes)
    }
}
