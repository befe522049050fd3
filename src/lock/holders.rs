//! The holders of a semaphore: a sorted map that is cheap to copy and to encode.
//!
//! Each change copies the holders, and encodes the copy. In a group of 10,000 holders, that would be most of the work of a
//! change. So the holders are kept in chunks. A chunk belongs to all copies in which it is the same, and keeps its encoded
//! form.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::ops::Index;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;

/// A node, and what is known about its lock.
///
/// The id is plain text, not a [`NodeId`](super::NodeId), because an id that another program stored must be preserved.
pub type Holder = (Arc<str>, Hold);

/// What is known about the lock of a holder. It is information for people: no lock depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Hold {
    /// The time of the grant.
    pub since: Option<Timestamp>,
    /// The node that asked for it.
    pub client: Client,
}

/// The node behind an id, as a person knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Client {
    /// The address from which it sent its request; behind a trusted proxy, the forwarded one.
    pub peer: Option<IpAddr>,
    /// Its name in `service.node_names_path`.
    pub name: Option<Arc<str>>,
}

/// The holders of a semaphore, sorted by the bytes of their ids.
#[derive(Clone, Default)]
pub struct Holders {
    /// None of them is empty.
    chunks: Vec<Arc<Chunk>>,
    len: usize,
}

/// A sorted part of the holders.
#[derive(Default)]
pub(super) struct Chunk {
    holders: Vec<Holder>,
    encoded: OnceLock<EncodedChunk>,
}

/// The parts of both stored documents that describe the holders of a chunk.
pub(super) struct EncodedChunk {
    pub(super) semaphore: Vec<u8>,
    pub(super) lock_times: Vec<u8>,
}

/// The maximum number of holders in a chunk. A change copies and encodes at most this many, and copies a pointer
/// to each chunk.
const MAX_CHUNK: usize = 128;

// === impl Holders ===

impl Holders {
    /// Returns the number of holders.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Reports whether there is no holder.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Reports whether a node is a holder.
    pub fn contains_key(&self, id: &str) -> bool {
        self.get(id).is_some()
    }

    /// Returns what is known about the lock of a holder.
    pub fn get(&self, id: &str) -> Option<&Hold> {
        let chunk = self.chunks.get(self.chunk_for(id))?;
        let at = chunk.position(id).ok()?;
        Some(&chunk.holders[at].1)
    }

    /// Adds a holder, or replaces what is known about its lock.
    pub fn insert(&mut self, id: Arc<str>, hold: Hold) {
        let index = self.chunk_for(&id);
        if self.chunks.is_empty() {
            self.chunks.push(Arc::default());
        }
        let chunk = Arc::make_mut(&mut self.chunks[index]);
        chunk.encoded.take();
        match chunk.position(&id) {
            Ok(at) => chunk.holders[at].1 = hold,
            Err(at) => {
                chunk.holders.insert(at, (id, hold));
                self.len += 1;
            }
        }
        if chunk.holders.len() > MAX_CHUNK {
            let upper = chunk.holders.split_off(MAX_CHUNK / 2);
            self.chunks.insert(index + 1, Arc::new(upper.into()));
        }
    }

    /// Removes a holder. Returns what was known about its lock; `None` if it was not a holder.
    pub fn remove(&mut self, id: &str) -> Option<Hold> {
        let index = self.chunk_for(id);
        let shared = self.chunks.get_mut(index)?;
        let at = shared.position(id).ok()?;
        let chunk = Arc::make_mut(shared);
        chunk.encoded.take();
        let (_, hold) = chunk.holders.remove(at);
        if chunk.holders.is_empty() {
            self.chunks.remove(index);
        }
        self.len -= 1;
        Some(hold)
    }

    /// Returns the holders and what is known about their locks, sorted by id.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Hold)> {
        let holders = self.chunks.iter().flat_map(|chunk| &chunk.holders);
        holders.map(|(id, hold)| (id, hold))
    }

    /// Returns the ids of the holders, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.iter().map(|(id, _)| id)
    }

    /// Returns the known times of grants, in no particular order.
    pub fn times(&self) -> impl Iterator<Item = Timestamp> {
        self.iter().filter_map(|(_, hold)| hold.since)
    }

    /// Returns the chunks in their order.
    pub(super) fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        self.chunks.iter().map(AsRef::as_ref)
    }

    /// Returns the index of the chunk that contains a node if it is a holder, and to which it is added otherwise.
    fn chunk_for(&self, id: &str) -> usize {
        let begins_at_or_before = |chunk: &Arc<Chunk>| *chunk.holders[0].0 <= *id;
        let behind = self.chunks.partition_point(begins_at_or_before);
        behind.saturating_sub(1)
    }
}

impl Index<&str> for Holders {
    type Output = Hold;

    /// Returns what is known about the lock of a holder.
    ///
    /// # Panics
    /// If the node is not a holder.
    #[expect(clippy::expect_used, reason = "as documented")]
    fn index(&self, id: &str) -> &Self::Output {
        self.get(id).expect("a holder")
    }
}

impl FromIterator<Holder> for Holders {
    /// Collects holders in any order. The last one with an id counts.
    fn from_iter<I: IntoIterator<Item = Holder>>(holders: I) -> Self {
        let sorted: Vec<Holder> = BTreeMap::from_iter(holders).into_iter().collect();
        let chunks = sorted.chunks(MAX_CHUNK);
        Holders {
            len: sorted.len(),
            chunks: chunks
                .map(|chunk| Arc::new(chunk.to_vec().into()))
                .collect(),
        }
    }
}

impl PartialEq for Holders {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl Eq for Holders {}

impl fmt::Debug for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

// === impl Hold ===

impl From<Option<Timestamp>> for Hold {
    /// Describes a lock of which only the time is known.
    fn from(since: Option<Timestamp>) -> Self {
        Hold {
            since,
            client: Client::default(),
        }
    }
}

// === impl Chunk ===

impl Chunk {
    /// Returns the encoded form. `encode` is called if the chunk has changed since it was last encoded; every caller
    /// passes the same function.
    pub(super) fn encoded(&self, encode: fn(&[Holder]) -> EncodedChunk) -> &EncodedChunk {
        self.encoded.get_or_init(|| encode(&self.holders))
    }

    /// Returns the index of a holder, or the one that it would have.
    fn position(&self, id: &str) -> Result<usize, usize> {
        self.holders
            .binary_search_by(|(known, _)| (**known).cmp(id))
    }
}

impl Clone for Chunk {
    /// Copies the holders, to change them. The encoded form is not copied.
    fn clone(&self) -> Self {
        self.holders.clone().into()
    }
}

impl From<Vec<Holder>> for Chunk {
    fn from(holders: Vec<Holder>) -> Self {
        Chunk {
            holders,
            encoded: OnceLock::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: u16) -> Arc<str> {
        number.to_string().into()
    }

    fn since(second: u16) -> Hold {
        Timestamp::from_second(second.into()).ok().into()
    }

    /// Describes the holders by text that depends on nothing but them.
    fn encode(holders: &[Holder]) -> EncodedChunk {
        EncodedChunk {
            semaphore: format!("{holders:?}").into(),
            lock_times: Vec::new(),
        }
    }

    /// Encodes all chunks, and checks what is true of all holders.
    fn check(holders: &Holders, expected: &BTreeMap<Arc<str>, Hold>) {
        assert!(holders.iter().eq(expected));
        assert_eq!(holders.len(), expected.len());
        assert_eq!(holders.is_empty(), expected.is_empty());
        for chunk in holders.chunks() {
            assert!((1..=MAX_CHUNK).contains(&chunk.holders.len()));
            let encoded = chunk.encoded(encode);
            assert_eq!(encoded.semaphore, encode(&chunk.holders).semaphore);
        }
    }

    proptest! {
        #[test]
        fn holders_are_a_sorted_map(
            first in prop::collection::vec(0_u16..500, 0..500),
            changes in prop::collection::vec((0_u16..500, prop::option::of(any::<u16>())), 0..500),
        ) {
            let mut expected: BTreeMap<_, _> = first.iter().map(|n| (id(*n), since(*n))).collect();
            let mut holders: Holders = first.iter().map(|n| (id(*n), since(*n))).collect();
            check(&holders, &expected);
            let (before, copy) = (expected.clone(), holders.clone());
            for (number, change) in changes {
                let id = id(number);
                let known = expected.get(&id);
                prop_assert_eq!(holders.get(&id), known);
                prop_assert_eq!(holders.contains_key(&id), known.is_some());
                match change {
                    Some(second) => {
                        holders.insert(Arc::clone(&id), since(second));
                        expected.insert(id, since(second));
                    }
                    None => prop_assert_eq!(holders.remove(&id), expected.remove(&id)),
                }
                // Not each time, which would take most of the time of this test.
                if number % 8 == 0 {
                    check(&holders, &expected);
                }
            }
            check(&holders, &expected);
            check(&copy, &before);
            prop_assert_eq!(holders == copy, expected == before);
        }
    }

    #[test]
    fn many_holders_in_one_place_are_split() {
        for numbers in [
            Vec::from_iter(10_000..12_000),
            (10_000..12_000).rev().collect(),
        ] {
            let (mut holders, mut expected) = (Holders::default(), BTreeMap::new());
            for number in numbers {
                holders.insert(id(number), Hold::default());
                expected.insert(id(number), Hold::default());
            }
            check(&holders, &expected);
            for number in 10_000..12_000 {
                assert!(holders.remove(&id(number)).is_some());
            }
            check(&holders, &BTreeMap::new());
        }
    }

    #[test]
    fn a_change_encodes_one_chunk_again() {
        let mut holders: Holders = (10_000..12_000)
            .map(|number| (id(number), Hold::default()))
            .collect();
        let encoded = |holders: &Holders| {
            let chunks = holders.chunks.iter();
            chunks.filter(|chunk| chunk.encoded.get().is_some()).count()
        };
        for chunk in holders.chunks() {
            chunk.encoded(encode);
        }
        let all = encoded(&holders);
        assert_eq!(all, 2000_usize.div_ceil(MAX_CHUNK));
        let before = holders.clone();
        holders.remove(&id(11_000));
        assert_eq!(encoded(&holders), all - 1);
        assert_eq!(encoded(&before), all);
    }
}
