//! A group while a distant server waits for its turn.

use super::*;
use crate::lock::policy::Refusal;
use crate::store::Update;

const ROUND_TRIP: Duration = Duration::from_millis(40);

impl Fixture {
    /// A distant server announces that it loses.
    fn announce(&self) {
        let round_trip = ROUND_TRIP;
        self.group.observe(Update::Contention { round_trip });
    }
}

#[tokio::test(start_paused = true)]
async fn writes_wait_for_the_next_period_and_confirmations_do_not() {
    let fixture = Fixture::new(2);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    fixture.announce();
    let announced = Instant::now();
    tokio::time::advance(ROUND_TRIP).await;
    assert_eq!(fixture.lock("a").await, Ok(Outcome::AlreadyHeld));
    assert_eq!(fixture.unlock("b").await, Ok(Outcome::NotHeld));
    assert_eq!(announced.elapsed(), ROUND_TRIP);
    let asked = [
        fixture.send(lock("b")).await,
        fixture.send(unlock("a")).await,
    ];
    for asked in asked {
        assert!(asked.await.unwrap().is_ok());
    }
    assert_eq!(announced.elapsed(), ROUND_TRIP * 5 / 2);
    assert_eq!(fixture.holders().await, ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_is_released_is_free_for_other_servers_until_the_next_commit() {
    for (contended, expected) in [
        (false, Outcome::Locked),
        (true, Outcome::Refused(Refusal::Full { slots: 1 })),
    ] {
        let fixture = Fixture::new(1);
        assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
        if contended {
            fixture.announce();
        }
        fixture.store.hold();
        let first = fixture.send(unlock("nobody")).await;
        let released = fixture.send(unlock("a")).await;
        let asked = fixture.send(lock("b")).await;
        fixture.store.release();
        assert_eq!(first.await.unwrap(), Ok(Outcome::NotHeld));
        assert_eq!(released.await.unwrap(), Ok(Outcome::Unlocked));
        assert_eq!(asked.await.unwrap(), Ok(expected));
    }
}
