//! Turns: for a short time, a free slot is kept for the nodes that have waited longer than others. In memory only, and
//! bounded.
//!
//! The store knows no queue: a free slot goes to the node that asks first. With many waiting nodes that is a lottery, and
//! with fixed intervals some nodes always lose it. docs/decisions/0009 has figures.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::lock::NodeId;
use crate::lock::semaphore::Semaphore;

/// No slot is kept for a node that has waited for a shorter time. A group with few nodes never gets here.
const MIN_WAIT: SignedDuration = SignedDuration::from_hours(1);

/// The time for which a free slot is kept, from the first request that was refused for it: the longest interval of
/// Zincati, and some time for the request.
const KEPT: SignedDuration = SignedDuration::from_mins(6);

/// The first part of [`KEPT`]. If many nodes wait, one of those that have waited for more than the mean asks soon; for
/// the rest of the time, the slot is only kept for those that have waited for more than one and a half times the mean.
const KEPT_FOR_MANY: SignedDuration = SignedDuration::from_secs(30);

/// The time after which no slot is kept for a node that does not ask this server again. Its next requests may be
/// balanced to other servers.
const MAX_SILENCE: SignedDuration = SignedDuration::from_mins(15);

/// The time after which the wait of a silent node is forgotten. Of a node that asks one of three servers at random every
/// five minutes, each of them hears nothing for two hours once in three months.
const MEMORY: SignedDuration = SignedDuration::from_hours(2);

/// The number of grants of which the mean wait is known.
const MEAN_OF: u64 = 50;

/// The maximum number of slots of a group that keeps one. In a larger group they become free all the time.
const MAX_SLOTS: u64 = 256;

/// A tolerated difference between the times of two requests: they are taken before the lock on the turns.
const MAX_DISORDER: SignedDuration = SignedDuration::from_mins(1);

/// A reservation of the free slots for other nodes. The text is for the node that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reservation {
    /// The time until its end, unless the other nodes ask earlier.
    remaining: SignedDuration,
}

/// The turns of a group. At most `max` nodes are known; the time that a request takes hardly depends on their number.
#[derive(Debug)]
pub(super) struct Turns {
    max: usize,
    by_id: HashMap<NodeId, Wait>,
    /// The nodes that have asked recently, in the order in which they are checked for having become silent.
    heard: BTreeSet<(Timestamp, NodeId)>,
    /// The same nodes, the longest waiting first.
    heard_by_since: BTreeSet<(Timestamp, NodeId)>,
    /// The other nodes, in the order in which they are forgotten.
    silent: BTreeSet<(Timestamp, NodeId)>,
    /// The semaphore as it was last seen.
    seen: Option<Arc<Semaphore>>,
    mean: MeanWait,
    /// The time since which a free slot is kept.
    kept_since: Option<Timestamp>,
    /// The time of the latest request.
    latest: Timestamp,
}

/// The wait of one node.
#[derive(Debug)]
struct Wait {
    since: Timestamp,
    last_asked: Timestamp,
    /// Whether the node is in `silent`, not in `heard`.
    is_silent: bool,
    /// Its time there. In `heard`, it stays behind `last_asked`, so that a denial costs a look-up only.
    listed: Timestamp,
}

/// The mean time that the latest granted nodes have waited.
#[derive(Debug, Default)]
struct MeanWait {
    grants: u64,
    seconds: f64,
}

// === impl Turns ===

impl Turns {
    pub(super) fn new(max: usize) -> Self {
        Turns {
            max,
            by_id: HashMap::new(),
            heard: BTreeSet::new(),
            heard_by_since: BTreeSet::new(),
            silent: BTreeSet::new(),
            seen: None,
            mean: MeanWait::default(),
            kept_since: None,
            latest: Timestamp::UNIX_EPOCH,
        }
    }

    /// Changes the maximum. Nodes that are known stay known.
    pub(super) fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    /// Reports whether no node waits, so that there is nothing to keep.
    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Records that a node was denied a lock.
    pub(super) fn denied(&mut self, id: &NodeId, now: Timestamp) {
        let now = self.advance(now);
        if let Some(wait) = self.by_id.get_mut(id) {
            wait.last_asked = now;
            if !wait.is_silent {
                return;
            }
            self.silent.remove(&(wait.listed, id.clone()));
            (wait.is_silent, wait.listed) = (false, now);
            self.heard_by_since.insert((wait.since, id.clone()));
        } else if self.by_id.len() < self.max || self.forget_silent() {
            let wait = Wait {
                since: now,
                last_asked: now,
                is_silent: false,
                listed: now,
            };
            self.by_id.insert(id.clone(), wait);
            self.heard_by_since.insert((now, id.clone()));
        } else {
            return;
        }
        self.heard.insert((now, id.clone()));
    }

    /// Records that a node no longer waits.
    pub(super) fn served(&mut self, id: &NodeId) {
        let Some(wait) = self.by_id.remove(id) else {
            return;
        };
        let listed = (wait.listed, id.clone());
        if wait.is_silent {
            self.silent.remove(&listed);
        } else {
            self.heard.remove(&listed);
            self.heard_by_since.remove(&(wait.since, id.clone()));
        }
    }

    /// Takes note of the holders, to which any server may have granted their locks.
    pub(super) fn observe(&mut self, semaphore: &Arc<Semaphore>, now: Timestamp) {
        let now = self.advance(now);
        let Some(before) = self.seen.replace(Arc::clone(semaphore)) else {
            return;
        };
        if Arc::ptr_eq(&before, semaphore) || semaphore.slots > MAX_SLOTS {
            return;
        }
        for id in semaphore.holders.keys() {
            if before.holders.contains_key(id) {
                continue;
            }
            self.kept_since = None;
            // An id that is not a valid one was granted by another program, and has not waited here.
            let Ok(id) = id.parse() else { continue };
            let wait = self.by_id.get(&id);
            let wait = wait.map_or(SignedDuration::ZERO, |wait| now.duration_since(wait.since));
            self.mean.add(wait);
            self.served(&id);
        }
    }

    /// Returns the reservation for which a lock that would be granted has to be refused, if there is one. It begins with
    /// the first refusal, and is over when it has ended or a slot was granted.
    pub(super) fn reserved_for_others(
        &mut self,
        id: &NodeId,
        semaphore: &Arc<Semaphore>,
        now: Timestamp,
    ) -> Option<Reservation> {
        self.observe(semaphore, now);
        let now = self.latest;
        let free = semaphore.free();
        if free == 0 {
            self.kept_since = None;
            return None;
        }
        if semaphore.slots > MAX_SLOTS || semaphore.holders.contains_key(id.as_str()) {
            return None;
        }
        let since = self.kept_since.unwrap_or(now);
        let kept = now.duration_since(since);
        if kept > KEPT {
            // A node that has not asked in all that time has lost its turn.
            self.silence(since);
            return None;
        }
        let times = if kept > KEPT_FOR_MANY { 1.5 } else { 1.0 };
        let threshold = self.mean.times(times).max(MIN_WAIT);
        let is_long = |since: Timestamp| now.duration_since(since) > threshold;
        if self.by_id.get(id).is_some_and(|wait| is_long(wait.since)) {
            return None;
        }
        let longest = self.heard_by_since.iter();
        let others = longest
            .take_while(|(since, _)| is_long(*since))
            .zip(0..free);
        if (others.count() as u64) < free {
            return None;
        }
        self.kept_since = Some(since);
        Some(Reservation {
            remaining: KEPT - kept,
        })
    }

    /// Starts the time for which free slots are kept again, at the next request.
    pub(super) fn keep_no_longer(&mut self) {
        self.kept_since = None;
    }

    /// Removes what is out of date, and returns the time. If the clock was set back, nothing is known any more.
    fn advance(&mut self, now: Timestamp) -> Timestamp {
        if self.latest.duration_since(now) > MAX_DISORDER {
            *self = Turns::new(self.max);
        }
        self.latest = self.latest.max(now);
        let now = self.latest;
        self.silence(now - MAX_SILENCE);
        while let Some((last_asked, _)) = self.silent.first()
            && now.duration_since(*last_asked) > MEMORY
            && self.forget_silent()
        {}
        if self.by_id.capacity() > 4 * self.by_id.len() {
            self.by_id.shrink_to(2 * self.by_id.len());
        }
        now
    }

    /// No longer keeps a slot for the nodes that have not asked since `time`.
    fn silence(&mut self, time: Timestamp) {
        while let Some((listed, _)) = self.heard.first()
            && *listed < time
            && let Some((_, id)) = self.heard.pop_first()
            && let Some(wait) = self.by_id.get_mut(&id)
        {
            wait.listed = wait.last_asked;
            wait.is_silent = wait.last_asked < time;
            if wait.is_silent {
                self.heard_by_since.remove(&(wait.since, id.clone()));
                self.silent.insert((wait.listed, id));
            } else {
                self.heard.insert((wait.listed, id));
            }
        }
    }

    /// Forgets the node that has been silent for the longest time; returns whether there was one.
    fn forget_silent(&mut self) -> bool {
        let silent = self.silent.pop_first();
        silent.is_some_and(|(_, id)| self.by_id.remove(&id).is_some())
    }
}

// === impl Reservation ===

impl fmt::Display for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = (self.remaining.as_secs() + 59).max(60) / 60;
        let unit = if minutes == 1 { "minute" } else { "minutes" };
        let kept = "a free slot is kept for nodes that have waited longer";
        write!(f, "{kept}; ask again in {minutes} {unit}")
    }
}

// === impl MeanWait ===

impl MeanWait {
    /// Adds the wait of a granted node. Later ones count for more.
    fn add(&mut self, wait: SignedDuration) {
        self.grants = MEAN_OF.min(self.grants + 1);
        self.seconds += (wait.as_secs_f64() - self.seconds) / self.grants as f64;
    }

    fn times(&self, times: f64) -> SignedDuration {
        SignedDuration::try_from_secs_f64(self.seconds * times).unwrap_or(SignedDuration::MAX)
    }
}

#[cfg(test)]
mod tests;
