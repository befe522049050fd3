//! Tests of the pace of one server.

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
async fn a_nearer_server_counts_once_the_announcement_of_the_most_distant_one_has_expired() {
    let contention = Contention::default();
    let current = || contention.current().map(|current| current.round_trip);
    contention.announce(FAR);
    for _ in 0..2 {
        time::advance(VALID / 4).await;
        contention.announce(FAR / 2);
    }
    time::advance(VALID / 2 - NEAR).await;
    assert_eq!(current(), Some(FAR));
    time::advance(NEAR).await;
    assert_eq!(current(), Some(FAR / 2));
    time::advance(VALID / 2).await;
    assert_eq!(current(), None);
}

#[tokio::test(start_paused = true)]
async fn an_announcement_is_kept_until_it_is_renewed_exceeded_or_expired() {
    let contention = Contention::default();
    contention.announce(FAR);
    for announced in [FAR, FAR * 2] {
        time::advance(VALID / 2).await;
        contention.announce(announced);
        let known = contention.0.lock().clone();
        let known: Vec<_> = known
            .iter()
            .map(|known| (known.round_trip, known.at))
            .collect();
        assert_eq!(known, [(announced, Instant::now())]);
    }
    contention.announce(FAR);
    assert_eq!(contention.0.lock().len(), 2);
    time::advance(VALID).await;
    contention.announce(NEAR);
    assert_eq!(contention.0.lock().len(), 1);
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
