//! The probe: calls the store when nothing else does, so that its health is always known.

use std::time::Duration;

use tokio::time::{self, MissedTickBehavior};

use crate::coordinator::StateReceiver;
use crate::store::Store as _;
use crate::store::health::Health;
use crate::store::instrumented::InstrumentedStore;
use crate::text::explain::chain;

/// The age of the latest reply after which the store is called again.
pub(super) const INTERVAL: Duration = Duration::from_secs(2);

/// Calls the store from time to time, and logs when it becomes unavailable or available. Never returns.
pub(crate) async fn probe(store: &InstrumentedStore, state: StateReceiver) {
    let health = store.health();
    let mut down = false;
    let mut tick = time::interval(INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let fresh = matches!(*health.borrow(), Health::Up { at } if at.elapsed() < INTERVAL);
        if !fresh && let Some(group) = state.get().groups.keys().next() {
            // The health records the result.
            let _ = store.read(group).await;
        }
        match health.borrow().clone() {
            Health::Down { error, .. } if !down => {
                down = true;
                let reason = chain(&error);
                tracing::error!(
                    reason,
                    "the store is unavailable; requests are denied until it is available again"
                );
            }
            Health::Up { .. } if down => {
                down = false;
                tracing::warn!("the store is available again");
            }
            Health::Unknown | Health::Up { .. } | Health::Down { .. } => {}
        }
    }
}
