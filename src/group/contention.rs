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
#[derive(Debug, Default)]
pub(crate) struct Contention(Mutex<Option<Announcement>>);

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
        let known = self.current().map(|known| known.round_trip);
        *self.0.lock() = Some(Announcement {
            round_trip: round_trip.max(known.unwrap_or_default()),
            at: Instant::now(),
        });
    }

    fn current(&self) -> Option<Announcement> {
        let announcement = *self.0.lock();
        announcement.filter(|announcement| announcement.at.elapsed() < VALID)
    }
}

// === impl Announcement ===

impl Announcement {
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
mod tests {
    use super::*;
    use tokio::time;

    const FAR: Duration = Duration::from_millis(40);
    const NEAR: Duration = Duration::from_millis(1);

    fn pace() -> Pace {
        Pace::new(Arc::default())
    }

    /// Performs a commit that takes so long, and loses it. Returns what the server announces then.
    async fn lose(pace: &mut Pace, round_trip: Duration) -> Option<Duration> {
        let started = Instant::now();
        time::sleep(round_trip).await;
        pace.lost(started, true);
        pace.announcement()
    }

    /// Writes as soon as the pace permits it. Returns the time of the pause.
    async fn write(pace: &mut Pace, round_trip: Duration) -> Duration {
        let pause = pace.pause().unwrap_or_default();
        time::sleep(pause).await;
        let started = Instant::now();
        time::sleep(round_trip).await;
        pace.won(started, true);
        pause
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_announces_that_it_keeps_losing_and_repeats_it_after_one_more_loss() {
        let mut pace = pace();
        assert_eq!(lose(&mut pace, FAR).await, None);
        assert_eq!(lose(&mut pace, FAR).await, None);
        assert_eq!(lose(&mut pace, FAR).await, Some(FAR));
        assert_eq!(lose(&mut pace, FAR).await, None);
        write(&mut pace, FAR).await;
        time::advance(RENEW).await;
        assert_eq!(lose(&mut pace, FAR).await, Some(FAR));
        write(&mut pace, FAR).await;
        time::advance(KNOWN).await;
        assert_eq!(lose(&mut pace, FAR).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_wins_in_between_or_is_near_announces_nothing() {
        let mut pace = pace();
        for _ in 0..20 {
            assert_eq!(lose(&mut pace, FAR).await, None);
            assert_eq!(lose(&mut pace, FAR).await, None);
            write(&mut pace, FAR).await;
        }
        let mut pace = self::pace();
        for _ in 0..1000 {
            assert_eq!(lose(&mut pace, NEAR).await, None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_announcement_nothing_is_delayed() {
        let mut pace = pace();
        for _ in 0..1000 {
            assert_eq!(write(&mut pace, NEAR).await, Duration::ZERO);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_an_announcement_a_server_writes_twice_in_each_period_until_it_expires() {
        let mut pace = pace();
        write(&mut pace, NEAR).await;
        pace.announced.announce(FAR);
        let announced = Instant::now();
        assert_eq!(write(&mut pace, NEAR).await, Duration::ZERO);
        assert_eq!(write(&mut pace, NEAR).await, Duration::ZERO);
        while announced.elapsed() < VALID - Duration::from_millis(200) {
            let rest = Duration::from_millis(100) - NEAR * 2;
            assert_eq!(write(&mut pace, NEAR).await, rest);
            assert_eq!(write(&mut pace, NEAR).await, Duration::ZERO);
        }
        time::advance(VALID).await;
        for _ in 0..10 {
            assert_eq!(write(&mut pace, NEAR).await, Duration::ZERO);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_in_the_middle_of_a_period_waits_for_the_next_and_goes_on_after_a_loss() {
        let mut pace = pace();
        write(&mut pace, NEAR).await;
        pace.announced.announce(FAR);
        time::advance(Duration::from_millis(30)).await;
        assert_eq!(pace.pause(), Some(Duration::from_millis(70)));
        time::advance(Duration::from_millis(70)).await;
        for _ in 0..10 {
            assert_eq!(pace.pause(), None);
            lose(&mut pace, FAR).await;
        }
        assert_eq!(write(&mut pace, FAR).await, Duration::ZERO);
        time::advance(Duration::from_millis(50)).await;
        assert_ne!(pace.pause(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_most_distant_server_counts_and_no_pause_exceeds_the_maximum() {
        let mut pace = pace();
        write(&mut pace, NEAR).await;
        pace.announced.announce(Duration::from_secs(60));
        pace.announced.announce(FAR);
        let mut longest = Duration::ZERO;
        for _ in 0..10 {
            longest = longest.max(write(&mut pace, NEAR).await);
        }
        assert_eq!(longest, MAX_PERIOD - NEAR * 2);
        // For a server however far away, a fifth of the period is open to the others.
        pace.announced.announce(Duration::from_secs(60));
        time::advance(MAX_PERIOD / 5).await;
        assert_eq!(pace.pause(), Some(MAX_PERIOD - MAX_PERIOD / 5));
    }

    #[tokio::test(start_paused = true)]
    async fn two_losses_are_chance_even_if_they_took_long() {
        let mut pace = pace();
        for _ in 0..2 {
            assert_eq!(lose(&mut pace, MIN_LOSING).await, None);
        }
        assert_eq!(lose(&mut pace, MIN_LOSING).await, Some(MIN_LOSING));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_announces_the_fastest_of_the_comparisons_that_it_lost() {
        let mut pace = pace();
        write(&mut pace, FAR / 2).await;
        for _ in 0..2 {
            assert_eq!(lose(&mut pace, FAR * 10).await, None);
        }
        assert_eq!(lose(&mut pace, FAR).await, Some(FAR));
        // A new series of losses says how fast it is now.
        write(&mut pace, FAR).await;
        time::advance(RENEW).await;
        assert_eq!(lose(&mut pace, FAR * 3).await, Some(FAR * 3));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_commits_do_not_make_a_near_server_distant() {
        let mut pace = pace();
        write(&mut pace, NEAR).await;
        for _ in 0..10 {
            assert_eq!(lose(&mut pace, FAR).await, None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_lost_is_not_delayed_again_and_a_lost_confirmation_delays_as_before() {
        for (wrote, is_delayed) in [(true, false), (false, true)] {
            let mut pace = pace();
            write(&mut pace, NEAR).await;
            pace.announced.announce(FAR);
            assert_eq!(pace.pause(), None);
            let started = Instant::now();
            time::advance(FAR).await;
            pace.lost(started, wrote);
            assert_eq!(pace.pause().is_some(), is_delayed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_server_that_is_considerably_farther_away_makes_a_group_contended() {
        let mut pace = pace();
        write(&mut pace, FAR).await;
        assert!(!pace.is_contended());
        pace.announced.announce(FAR * 3 / 2 + SLACK);
        assert!(!pace.is_contended());
        pace.announced.announce(FAR * 2);
        assert!(pace.is_contended());
        time::advance(VALID).await;
        assert!(!pace.is_contended());
    }
}
