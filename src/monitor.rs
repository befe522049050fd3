//! What looks at the store while nobody asks: it keeps what is known of the groups fresh, notices when
//! the store does not answer, and compares slots with the configuration as Airlock does.
//!
//! It writes only where `lock.on_slots_mismatch` says so.

use std::time::{Duration, Instant};

use tokio::time::{self, MissedTickBehavior};

use crate::admin::{self, NotDone, Order};
use crate::config::SlotsMismatch;
use crate::group::Group;
use crate::live::{Live, LiveGroup, LiveReceiver};
use crate::store::measured::{Health, MeasuredStore};
use crate::store::{GroupName, Seen, Store};

/// How long a group may differ from the store after following it has failed.
const FOLLOW_PAUSE: Duration = Duration::from_millis(500);

/// How old the store's last answer may get before it is asked again.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// How often Airlock compares the configuration with the database.
const CONSISTENCY_INTERVAL: Duration = Duration::from_secs(60);

/// Keeps what is known of each group as the store has it. Never ends.
pub async fn follow(store: &MeasuredStore, mut live: LiveReceiver) {
    loop {
        let current = live.get_and_mark();
        let names: Vec<GroupName> = current.groups.keys().cloned().collect();
        let mut report = |name: &GroupName, seen: Seen| {
            if let Some(found) = current.groups.get(name) {
                found.group.see(seen);
            }
        };
        let error = tokio::select! {
            error = store.follow(&names, &mut report) => error,
            () = live.changed() => continue,
        };
        tracing::debug!(reason = %error, "following the store failed, trying again");
        time::sleep(FOLLOW_PAUSE).await;
    }
}

/// Asks the store now and then, so that its state is known when no node asks. Logs when it goes and
/// when it is back. Never ends.
pub async fn probe(store: &MeasuredStore, live: LiveReceiver) {
    let health = store.health();
    let mut down = false;
    let mut tick = time::interval(PROBE_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let fresh = matches!(*health.borrow(), Health::Up { at } if at.elapsed() < PROBE_INTERVAL);
        if !fresh && let Some(group) = live.get().groups.keys().next() {
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
pub async fn check_consistency(store: &MeasuredStore, mut live: LiveReceiver) {
    let mut tick = time::interval(CONSISTENCY_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut to_update = groups_to_update(&live.get_and_mark());
    loop {
        update_slots(store, &mut to_update).await;
        tokio::select! {
            _ = tick.tick() => {}
            () = live.changed() => {
                to_update = groups_to_update(&live.get_and_mark());
                update_slots(store, &mut to_update).await;
            }
            () = time::sleep(PROBE_INTERVAL), if !to_update.is_empty() => continue,
        }
        for LiveGroup { group, .. } in live.get().groups.values() {
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

/// The groups whose slots the configuration is to win, once: what is set by hand later stays.
fn groups_to_update(live: &Live) -> Vec<Group> {
    match live.slots_mismatch {
        SlotsMismatch::Warn => Vec::new(),
        SlotsMismatch::Update => live.groups.values().map(|l| l.group.clone()).collect(),
    }
}

/// Writes the configured slots to the store; the groups for which the store did not answer stay.
async fn update_slots(store: &MeasuredStore, groups: &mut Vec<Group>) {
    let by = format!("on_slots_mismatch@{}", admin::host());
    let mut left = Vec::new();
    for group in groups.drain(..) {
        let slots = group.configured_slots();
        let order = Order::UpdateSlots { slots };
        match admin::carry_out(store, group.name(), slots, &order, &by).await {
            Ok(_) | Err(NotDone::Refused(_) | NotDone::Damaged(_)) => {}
            Err(NotDone::Unavailable(reason) | NotDone::Unknown(reason)) => {
                tracing::debug!(group = %group.name(), reason, "slots not updated yet");
                left.push(group);
            }
        }
    }
    *groups = left;
}

fn compare(group: &Group) {
    let (name, config) = (group.name(), group.configured_slots());
    match group.known().map(|known| known.semaphore) {
        Some(Ok(semaphore)) => {
            if semaphore.slots != config {
                let remedy = match semaphore.slots {
                    0 => format!("the group is paused; end that with: airlock resume {name}"),
                    _ => format!("airlock set slots {name} {config}"),
                };
                tracing::warn!(
                    config,
                    database = semaphore.slots,
                    group = %name,
                    remedy,
                    "semaphore max slots consistency check failed"
                );
            }
            // In a pause holders leave in their own time.
            if semaphore.slots > 0 && (semaphore.holders.len() as u64) > semaphore.slots {
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
