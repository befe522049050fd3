//! The passwords that wait to be verified, in a fair order.
//!
//! bcrypt is slow, so a few clients that guess passwords can occupy all threads. A node with the right password has to
//! be served next to them, and only its address distinguishes it from them: serving existing users first would reveal
//! in the response times which users exist.
//!
//! Each check is therefore charged to its peer: while it waits or runs, and after a wrong password until 1,024 more
//! passwords were wrong. Checks of peers that are charged less come first. Peers that ask for the first time thus take
//! turns and come before peers with wrong passwords, and a node with an outdated password comes before peers that
//! guess. If the queue is full, a new check evicts the last one in this order, unless it would be the last one itself.
//!
//! The order is that of virtual start times: the number of checks started before, plus the length of the queue for each
//! check that the peer is charged for. The virtual time advances with each check that is started, so every check has
//! its turn, even if peers without a charge arrive without end. Each charge belongs to a check in a list of limited
//! length: the memory is bounded, and nothing has to expire.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// The keyed hash of a user, the hash in the file, and a password. A new hash in the file leads to a new key.
pub(super) type CacheKey = [u8; 32];

/// The virtual start time of a check, and its number in the order of arrival.
type Rank = (u64, u64);

/// The queue of passwords to verify is full.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct QueueFull;

/// A password to verify. It is never logged.
pub(super) struct Check {
    pub(super) key: CacheKey,
    /// The peer that the check is charged to.
    pub(super) peer: IpAddr,
    /// `None`: the user does not exist, and no password is right.
    pub(super) user: Option<String>,
    pub(super) password: String,
    pub(super) hash: Arc<str>,
}

/// The checks that wait, at most `max`.
pub(super) struct Queue {
    max: usize,
    waiting: BTreeMap<Rank, Check>,
    ranks: HashMap<CacheKey, Rank>,
    /// The number of checks that each peer is charged for. Never 0.
    charges: HashMap<IpAddr, u64>,
    started: u64,
    arrived: u64,
}

// === impl Queue ===

impl Queue {
    pub(super) fn new(max: usize) -> Self {
        Queue {
            max,
            waiting: BTreeMap::new(),
            ranks: HashMap::new(),
            charges: HashMap::new(),
            started: 0,
            arrived: 0,
        }
    }

    /// Adds a check and charges its peer. Returns the check that was evicted for it, if any.
    ///
    /// # Errors
    /// If the queue is full, and every check in it comes before this one.
    pub(super) fn push(&mut self, check: Check) -> Result<Option<Check>, QueueFull> {
        let rank = self.next_rank(check.peer);
        let mut evicted = None;
        if self.waiting.len() >= self.max {
            let last = self.waiting.last_entry();
            let last = last.filter(|last| rank < *last.key()).ok_or(QueueFull)?;
            let last = last.remove();
            self.ranks.remove(&last.key);
            self.discharge(last.peer);
            evicted = Some(last);
        }
        self.insert(rank, check);
        Ok(evicted)
    }

    /// Notes that another peer waits for the same check. If it is charged less, the check moves forward and is charged
    /// to it: nodes with one password do not wait for a check that a guessing peer has queued first.
    pub(super) fn join(&mut self, key: &CacheKey, peer: IpAddr) {
        let rank = self.next_rank(peer);
        if let Some(old) = self.ranks.get(key).copied()
            && rank < old
            && let Some(mut check) = self.waiting.remove(&old)
        {
            self.discharge(check.peer);
            check.peer = peer;
            self.insert(rank, check);
        }
    }

    /// Removes the next check that is wanted, which the caller then starts, and discards those before it that are not.
    pub(super) fn next(&mut self, mut is_wanted: impl FnMut(&CacheKey) -> bool) -> Option<Check> {
        while let Some((_, check)) = self.waiting.pop_first() {
            self.ranks.remove(&check.key);
            if is_wanted(&check.key) {
                self.started += 1;
                return Some(check);
            }
            self.discharge(check.peer);
        }
        None
    }

    /// Returns the number of checks that the peer is charged for.
    pub(super) fn charge(&self, peer: IpAddr) -> u64 {
        self.charges.get(&peer).copied().unwrap_or(0)
    }

    /// Ends the charge for a check that was started: its password was right, or was rejected long ago.
    pub(super) fn discharge(&mut self, peer: IpAddr) {
        if let Some(charge) = self.charges.get_mut(&peer) {
            *charge -= 1;
            if *charge == 0 {
                self.charges.remove(&peer);
            }
        }
    }

    fn next_rank(&mut self, peer: IpAddr) -> Rank {
        self.arrived += 1;
        let start = self.started + self.charge(peer) * self.max as u64;
        (start, self.arrived)
    }

    fn insert(&mut self, rank: Rank, check: Check) {
        *self.charges.entry(check.peer).or_default() += 1;
        self.ranks.insert(check.key, rank);
        self.waiting.insert(rank, check);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn peer(number: u8) -> IpAddr {
        [192, 0, 2, number].into()
    }

    fn check(number: u8, peer_number: u8) -> Check {
        Check {
            key: [number; 32],
            peer: peer(peer_number),
            user: None,
            password: String::new(),
            hash: "".into(),
        }
    }

    /// Adds checks, given as the numbers of their peers; each has its position as its key.
    fn queue(max: usize, peers: &[u8]) -> Queue {
        let mut queue = Queue::new(max);
        for (number, peer) in (0..).zip(peers) {
            assert!(matches!(queue.push(check(number, *peer)), Ok(None)));
        }
        queue
    }

    /// Returns the keys in the order in which the checks are started.
    fn order(queue: &mut Queue) -> Vec<u8> {
        std::iter::from_fn(|| queue.next(|_| true))
            .map(|check| check.key[0])
            .collect()
    }

    #[test]
    fn peers_take_turns_in_the_order_of_arrival() {
        let mut queue = queue(8, &[1, 1, 1, 2, 2, 3]);
        assert_eq!(order(&mut queue), [0, 3, 5, 1, 4, 2]);
    }

    #[test]
    fn a_peer_with_fewer_rejected_passwords_comes_first() {
        let mut queue = queue(8, &[1, 1, 2]);
        // All three are rejected: their charges remain.
        order(&mut queue);
        for (number, peer) in [(3, 1), (4, 2), (5, 3)] {
            assert!(matches!(queue.push(check(number, peer)), Ok(None)));
        }
        assert_eq!(order(&mut queue), [5, 4, 3]);
        for rejected in [1, 1, 1, 2, 2] {
            queue.discharge(peer(rejected));
        }
        for (number, peer) in [(6, 3), (7, 2), (8, 1)] {
            assert!(matches!(queue.push(check(number, peer)), Ok(None)));
        }
        assert_eq!(order(&mut queue), [7, 8, 6]);
    }

    #[test]
    fn a_full_queue_evicts_the_last_check_for_one_that_comes_before_it() {
        let mut queue = queue(4, &[1, 1, 1, 2]);
        let evicted = queue.push(check(4, 2)).unwrap().unwrap();
        assert_eq!((evicted.key[0], evicted.peer), (2, peer(1)));
        // Peer 1 is no longer charged for the evicted check.
        assert_eq!(queue.charge(peer(1)), 2);
        assert!(matches!(queue.push(check(5, 1)), Err(QueueFull)));
        assert!(matches!(queue.push(check(5, 2)), Err(QueueFull)));
        let evicted = queue.push(check(5, 3)).unwrap().unwrap();
        assert_eq!((evicted.key[0], evicted.peer), (4, peer(2)));
        assert_eq!(order(&mut queue), [0, 3, 5, 1]);
        assert_eq!(queue.charge(peer(2)), 1);
    }

    #[test]
    fn a_check_moves_forward_if_a_peer_that_is_charged_less_waits_for_it_too() {
        let mut queue = queue(8, &[1, 1, 1, 2]);
        queue.join(&[2; 32], peer(1));
        assert_eq!(queue.charge(peer(1)), 3, "the same peer changes nothing");
        queue.join(&[2; 32], peer(3));
        assert_eq!(queue.charge(peer(1)), 2);
        assert_eq!(queue.charge(peer(3)), 1);
        queue.join(&[2; 32], peer(2));
        assert_eq!(order(&mut queue), [0, 3, 2, 1]);
        queue.join(&[2; 32], peer(4));
        assert_eq!(queue.charge(peer(4)), 0, "the check no longer waits");
    }

    #[test]
    fn a_check_that_is_no_longer_wanted_is_neither_started_nor_charged() {
        let mut queue = queue(8, &[1, 2]);
        let next = queue.next(|key| key[0] != 0).unwrap();
        assert_eq!(next.peer, peer(2));
        assert_eq!(queue.charges, HashMap::from([(peer(2), 1)]));
        assert_eq!(queue.started, 1);
        assert!(queue.next(|_| true).is_none());
    }

    #[test]
    fn every_check_has_its_turn_even_if_peers_without_a_charge_arrive_without_end() {
        const MAX: usize = 4;
        let mut queue = queue(MAX, &[1, 1, 1]);
        let turn = (3..=u8::MAX).position(|number| {
            assert!(matches!(queue.push(check(number, number)), Ok(None)));
            queue.next(|_| true).unwrap().key == [2; 32]
        });
        // Two turns before it, a queue's length for each of two charges, and the three checks that came first.
        assert_eq!(turn, Some(2 * MAX + 2));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(u8),
        Join(u8, u8),
        Start { wanted: bool },
        Discharge(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..6_u8).prop_map(Step::Push),
            1 => (any::<u8>(), 0..6_u8).prop_map(|(key, peer)| Step::Join(key, peer)),
            2 => any::<bool>().prop_map(|wanted| Step::Start { wanted }),
            1 => any::<usize>().prop_map(Step::Discharge),
        ]
    }

    proptest! {
        /// Invariant 8: what the queue remembers are the checks that wait, and those that were started and not
        /// discharged.
        #[test]
        fn every_charge_belongs_to_a_check(max in 1..5_usize, steps in prop::collection::vec(step(), 0..200)) {
            let mut queue = Queue::new(max);
            let mut started = Vec::new();
            for (number, step) in (0..).zip(steps) {
                match step {
                    Step::Push(from) => {
                        let before = queue.waiting.len();
                        match queue.push(check(number, from)) {
                            Ok(None) => prop_assert_eq!(queue.waiting.len(), before + 1),
                            Ok(Some(_)) | Err(QueueFull) => prop_assert_eq!((before, queue.waiting.len()), (max, max)),
                        }
                    }
                    Step::Join(key, from) => queue.join(&[key; 32], peer(from)),
                    Step::Start { wanted } => {
                        let next = queue.next(|_| wanted);
                        started.extend(next.map(|check| check.peer));
                    }
                    Step::Discharge(_) if started.is_empty() => {}
                    Step::Discharge(index) => queue.discharge(started.swap_remove(index % started.len())),
                }
                let mut charges = HashMap::new();
                for peer in queue.waiting.values().map(|check| &check.peer).chain(&started) {
                    *charges.entry(*peer).or_default() += 1;
                }
                prop_assert_eq!(&queue.charges, &charges);
                let ranks = queue.waiting.iter().map(|(rank, check)| (check.key, *rank));
                prop_assert_eq!(&queue.ranks, &ranks.collect());
            }
        }
    }
}
