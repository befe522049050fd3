//! Fairness between servers at different distances from the store.
//!
//! A server that is far from the store needs a full round trip to learn the value on top of which it can commit, and
//! one more to commit. A server that is near commits many times in the meantime. Without a remedy, the distant one
//! loses every comparison, and the near one never notices it. Therefore a server that keeps losing announces how
//! long its commits take ([`Store::announce_contention`]), and servers that are nearer pause between their writes for a
//! while.
//!
//! Safety does not depend on any of this: the comparison decides.
//!
//! [`Store::announce_contention`]: crate::store::Store::announce_contention

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The time for which an announcement counts.
const VALID: Duration = Duration::from_secs(2);

/// The minimum time between two announcements of one server.
const RENEW: Duration = Duration::from_secs(1);

/// The maximum time that an announcement takes.
pub(super) const MAX_ANNOUNCING: Duration = RENEW;

/// A server that has announced contention within this time does so again after a single loss: it knows the reason.
const KNOWN: Duration = Duration::from_secs(10);

/// A server announces contention after as many losses in a row, if they took at least this time.
const MIN_LOSSES: u32 = 3;
const MIN_LOSING: Duration = Duration::from_millis(100);

/// A server that is nearer announces nothing. At this distance, chance is stronger than the difference.
const MIN_ROUND_TRIP: Duration = Duration::from_millis(3);

/// The imprecision of a round trip: the store and the servers need time as well.
const SLACK: Duration = Duration::from_millis(1);

/// The number of writes for which a nearer server has time in each period: one that grants, and one that releases.
const WRITES: usize = 2;

/// The minimum time in each period in which nearer servers may write.
const MIN_OPEN: Duration = Duration::from_millis(2);

/// The maximum period, and so the maximum delay of a write.
const MAX_PERIOD: Duration = Duration::from_millis(250);

/// The contention of a group that other servers have announced.
///
/// The announcements are in the order of their arrival, each with a shorter round trip than the one before: it counts
/// once those before it have expired. They are few, because the store reports whole milliseconds up to a bound.
#[derive(Debug, Default)]
pub(crate) struct Contention(Mutex<Vec<Announcement>>);

#[derive(Clone, Copy, Debug)]
struct Announcement {
    round_trip: Duration,
    /// The time at which it arrived. All servers that are near the store receive it at about the same time.
    at: Instant,
}

/// The pace of one server in one group.
pub(super) struct Pace {
    announced: Arc<Contention>,
    /// The shortest duration of a recent commit: the distance, without the waits.
    round_trip: Option<Duration>,
    /// The times of the latest writes of this server, the oldest first.
    wrote: [Option<Instant>; WRITES],
    /// Whether the next write is not delayed: this server has waited already, or it was free to write and lost. Without
    /// this, one at a medium distance could never write before the nearest ones have.
    is_due: bool,
    losing: Option<Losing>,
    /// The time of the latest announcement of this server.
    announced_at: Option<Instant>,
}

/// A series of lost comparisons.
struct Losing {
    since: Instant,
    times: u32,
    /// The shortest duration of a lost comparison: the distance under the present load.
    shortest: Duration,
}

// === impl Contention ===

impl Contention {
    /// Takes the announcement of another server. The most distant server counts.
    pub(super) fn announce(&self, round_trip: Duration) {
        let mut announcements = self.0.lock();
        announcements.retain(|known| known.is_valid() && known.round_trip > round_trip);
        announcements.push(Announcement {
            round_trip,
            at: Instant::now(),
        });
    }

    fn current(&self) -> Option<Announcement> {
        let announcements = self.0.lock();
        announcements.iter().copied().find(|known| known.is_valid())
    }
}

// === impl Announcement ===

impl Announcement {
    fn is_valid(&self) -> bool {
        self.at.elapsed() < VALID
    }

    /// Returns the length of a period, at the start of which nearer servers may write, and that of the start.
    ///
    /// For the rest, the distant server finds the value at rest for two round trips: one for a comparison that fails,
    /// and one for the next, which does not.
    fn period(self) -> (Duration, Duration) {
        let open = (self.round_trip / 2).max(MIN_OPEN);
        let period = self.round_trip * 2 + open;
        (period.min(MAX_PERIOD), open.min(MAX_PERIOD / 5))
    }
}

// === impl Pace ===

impl Pace {
    pub(super) fn new(announced: Arc<Contention>) -> Self {
        Pace {
            announced,
            round_trip: None,
            wrote: [None; WRITES],
            is_due: false,
            losing: None,
            announced_at: None,
        }
    }

    /// Reports whether this server competes with one that is farther away.
    pub(super) fn is_contended(&self) -> bool {
        let Some((own, theirs)) = self.round_trip.zip(self.announced.current()) else {
            return false;
        };
        theirs.round_trip > own * 3 / 2 + SLACK
    }

    /// Returns the time until the next write, so that a server that is farther away can commit in between.
    pub(super) fn pause(&mut self) -> Option<Duration> {
        if self.is_due {
            return None;
        }
        let announcement = self.announced.current()?;
        let (period, open) = announcement.period();
        let within = announcement.at.elapsed().as_nanos() % period.as_nanos();
        let within = Duration::from_nanos(u64::try_from(within).unwrap_or_default());
        let is_exhausted = self.wrote[0].is_some_and(|wrote| wrote.elapsed() < within);
        self.is_due = within >= open || is_exhausted;
        self.is_due.then(|| period - within)
    }

    /// Records a commit that was started at this time.
    pub(super) fn won(&mut self, started: Instant, wrote: bool) {
        self.measure(started);
        self.losing = None;
        self.is_due = false;
        if wrote {
            self.wrote.rotate_left(1);
            self.wrote[WRITES - 1] = Some(Instant::now());
        }
    }

    /// Records a conflict of a commit that was started at this time.
    pub(super) fn lost(&mut self, started: Instant, writes: bool) {
        self.measure(started);
        let losing = self.losing.get_or_insert(Losing {
            since: started,
            times: 0,
            shortest: Duration::MAX,
        });
        losing.times += 1;
        losing.shortest = losing.shortest.min(started.elapsed());
        self.is_due |= writes;
    }

    /// Returns the time that this server needs for a commit if it is to be announced after a loss.
    ///
    /// Whether it is distant depends on the round trip without the waits. What it needs to win depends on the waits too.
    pub(super) fn announcement(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let losing = self.losing.as_ref()?;
        if self.round_trip? < MIN_ROUND_TRIP {
            return None;
        }
        let is_starving = losing.times >= MIN_LOSSES && now - losing.since >= MIN_LOSING;
        let is_due = match self.announced_at {
            Some(at) if now - at < RENEW => false,
            Some(at) if now - at < KNOWN => true,
            Some(_) | None => is_starving,
        };
        if !is_due {
            return None;
        }
        self.announced_at = Some(now);
        Some(losing.shortest)
    }

    fn measure(&mut self, started: Instant) {
        let took = started.elapsed();
        self.round_trip = Some(match self.round_trip {
            Some(shortest) => took.min(shortest * 33 / 32),
            None => took,
        });
    }
}

#[cfg(test)]
mod tests;
