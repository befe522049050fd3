//! What looks at the store while nobody asks: it keeps what is known of the groups fresh, notices when
//! the store does not answer, and compares slots with the configuration as Airlock does.
//!
//! It never writes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::time::{self, MissedTickBehavior};

use crate::group::Group;
use crate::store::measured::{Health, MeasuredStore};
use crate::store::{GroupName, Seen, Store};

/// How long a group may differ from the store after following it has failed.
const FOLLOW_PAUSE: Duration = Duration::from_millis(500);

/// How old the store's last answer may get before it is asked again.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// How often Airlock compares the configuration with the database.
const CONSISTENCY_INTERVAL: Duration = Duration::from_secs(60);

/// Keeps what is known of each group as the store has it. Never ends.
pub async fn follow(store: &MeasuredStore, groups: &BTreeMap<GroupName, Group>) {
    let names: Vec<GroupName> = groups.keys().cloned().collect();
    loop {
        let mut report = |name: &GroupName, seen: Seen| {
            if let Some(group) = groups.get(name) {
                group.see(seen);
            }
        };
        let error = store.follow(&names, &mut report).await;
        tracing::debug!(reason = %error, "following the store failed, trying again");
        time::sleep(FOLLOW_PAUSE).await;
    }
}

/// Asks the store now and then, so that its state is known when no node asks. Logs when it goes and
/// when it is back. Never ends.
pub async fn probe(store: &MeasuredStore, group: &GroupName) {
    let health = store.health();
    let mut down = false;
    let mut tick = time::interval(PROBE_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let fresh = matches!(*health.borrow(), Health::Up { at } if at.elapsed() < PROBE_INTERVAL);
        if !fresh {
            // The result is in the health.
            let _ = store.read(group).await;
        }
        match health.borrow().clone() {
            Health::Down { reason, .. } if !down => {
                down = true;
                tracing::error!(%reason, "the store does not answer; nodes are refused until it does");
            }
            Health::Up { .. } if down => {
                down = false;
                tracing::warn!("the store answers again");
            }
            Health::Unknown | Health::Up { .. } | Health::Down { .. } => {}
        }
    }
}

/// Whether the store answered lately, and if not, why.
pub fn readiness(health: &Health) -> Result<(), String> {
    match health {
        Health::Unknown => Err("the store has not answered yet".into()),
        Health::Down { since, reason } => Err(format!(
            "the store has not answered for {} s: {reason}",
            since.elapsed().as_secs()
        )),
        Health::Up { at } => {
            let age = Instant::now().saturating_duration_since(*at);
            if age > 5 * PROBE_INTERVAL {
                Err(format!(
                    "the store has not answered for {} s",
                    age.as_secs()
                ))
            } else {
                Ok(())
            }
        }
    }
}

/// Warns, at the start and every 60 s, where the store differs from the configuration. Never ends.
pub async fn check_consistency(store: &MeasuredStore, groups: &BTreeMap<GroupName, Group>) {
    let mut tick = time::interval(CONSISTENCY_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        for group in groups.values() {
            match store.read(group.name()).await {
                Ok(stored) => group.see(Seen::Change(stored)),
                Err(error) => {
                    let (name, reason) = (group.name(), error);
                    tracing::warn!(group = %name, %reason, "consistency check, semaphore fetch failed");
                    continue;
                }
            }
            compare(group);
        }
    }
}

fn compare(group: &Group) {
    let (name, config) = (group.name(), group.configured_slots());
    match group.known().map(|known| known.semaphore) {
        Some(Ok(semaphore)) => {
            if semaphore.slots != config {
                tracing::warn!(
                    config,
                    database = semaphore.slots,
                    group = %name,
                    "semaphore max slots consistency check failed"
                );
            }
            if (semaphore.holders.len() as u64) > semaphore.slots {
                tracing::warn!(
                    group = %name,
                    holder = semaphore.holders.len() as u64,
                    slots = semaphore.slots,
                    "semaphore locks consistency check failed"
                );
            }
        }
        Some(Err(reason)) => {
            tracing::error!(group = %name, %reason, "the stored value cannot be used");
        }
        None => {}
    }
}
