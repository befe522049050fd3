//! The consistency check: compares the store with the configuration, as coreos/airlock does.
//!
//! It reads the known state of each group, which the follower keeps current, so that it costs no call to the store.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{self, MissedTickBehavior};

use super::probe;
use crate::admin::{self, ExecuteError, host};
use crate::config::{SlotsMismatch, command_line};
use crate::coordinator::{ConfiguredGroup, ServerState, StateReceiver};
use crate::group::Group;
use crate::lock::command::AdminCommand;
use crate::store::Store;
use crate::store::health::Replies;
use crate::store::instrumented::InstrumentedStore;
use crate::text::explain::chain;

/// The interval between two checks, as in coreos/airlock.
const INTERVAL: Duration = Duration::from_secs(60);

/// The maximum time for which a check waits for the state of groups, and how often it looks.
const MAX_UNKNOWN: Duration = Duration::from_secs(5);
const KNOWN_INTERVAL: Duration = Duration::from_millis(100);

/// Warns of differences between the store and the configuration, at the start and every 60 s. `config` is the file that
/// the suggested commands use. Never returns.
pub(crate) async fn check_consistency(
    instrumented: Arc<InstrumentedStore>,
    mut state: StateReceiver,
    config: PathBuf,
) {
    let store: Arc<dyn Store> = Arc::clone(&instrumented) as _;
    let mut tick = time::interval(INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut to_update = groups_to_update(&state.get_and_mark());
    loop {
        update_slots(&store, &mut to_update).await;
        tokio::select! {
            _ = tick.tick() => {}
            () = state.changed() => {
                to_update = groups_to_update(&state.get_and_mark());
                update_slots(&store, &mut to_update).await;
            }
            () = time::sleep(probe::INTERVAL), if !to_update.is_empty() => continue,
        }
        let current = state.get();
        wait_until_known(&current).await;
        let replies = instrumented.health().borrow().replies.clone();
        for configured in current.groups.values() {
            check(&store, &replies, &configured.group, &config);
        }
    }
}

/// Returns the groups that get their configured slots in the store, once: a number that an administrator sets later
/// stays.
fn groups_to_update(state: &ServerState) -> Vec<Group> {
    match state.slots_mismatch {
        SlotsMismatch::Warn => Vec::new(),
        SlotsMismatch::Update => {
            let groups = state.groups.values();
            groups.map(|configured| configured.group.clone()).collect()
        }
    }
}

/// Writes the configured slots to the store. The groups for which the store was unavailable remain.
async fn update_slots(store: &Arc<dyn Store>, groups: &mut Vec<Group>) {
    let by = format!("on_slots_mismatch@{}", host::name());
    let mut remaining = Vec::new();
    for group in groups.drain(..) {
        let slots = group.configured_slots();
        let command = AdminCommand::UpdateSlots { slots };
        let target = admin::Target {
            group: group.name(),
            slots_if_absent: slots,
            caps: &[],
        };
        match admin::execute(store, target, &command, &by).await {
            Ok(_) | Err(ExecuteError::Refused(_) | ExecuteError::Damaged(_)) => {}
            Err(
                error @ (ExecuteError::Unavailable(_)
                | ExecuteError::Contended
                | ExecuteError::NoTrace
                | ExecuteError::Unknown(_)),
            ) => {
                tracing::debug!(group = %group.name(), reason = %error, "slots not updated yet");
                remaining.push(group);
            }
        }
    }
    *groups = remaining;
}

/// Waits until the state of each group is known, but not long: the store may be unavailable.
async fn wait_until_known(state: &ServerState) {
    let known = async {
        let is_known = |configured: &ConfiguredGroup| configured.group.known().is_some();
        while !state.groups.values().all(is_known) {
            time::sleep(KNOWN_INTERVAL).await;
        }
    };
    // Whether it is known or not, each group is checked.
    let _ = time::timeout(MAX_UNKNOWN, known).await;
}

fn check(store: &Arc<dyn Store>, replies: &Replies, group: &Group, config: &Path) {
    match replies {
        Replies::Down { error, .. } => {
            let (group, reason) = (group.name(), chain(error));
            tracing::warn!(%group, reason, "consistency check, semaphore fetch failed");
        }
        Replies::Unknown | Replies::Up { .. } => warn_of_differences(store, group, config),
    }
}

fn warn_of_differences(store: &Arc<dyn Store>, group: &Group, config: &Path) {
    let (name, configured) = (group.name(), group.configured_slots());
    let command = |command, arguments: &[&str]| command_line(config, command, arguments);
    match group.known().map(|known| known.semaphore) {
        Some(Ok(semaphore)) => {
            if semaphore.slots != configured {
                let name = name.as_str();
                let remedy = if semaphore.is_paused() {
                    format!(
                        "the group is paused; resume it with: {}",
                        command("resume", &[name])
                    )
                } else {
                    command("set slots", &[name, &configured.to_string()])
                };
                tracing::warn!(
                    config = configured,
                    database = semaphore.slots,
                    group = %name,
                    remedy,
                    "semaphore max slots consistency check failed"
                );
            }
            // During a pause, holders release their slots in their own time.
            if !semaphore.is_paused() && (semaphore.holders.len() as u64) > semaphore.slots {
                tracing::warn!(
                    group = %name,
                    holder = semaphore.holders.len() as u64,
                    slots = semaphore.slots,
                    "semaphore locks consistency check failed"
                );
            }
        }
        Some(Err(reason)) => {
            let location = store.location(name);
            // Not the repair command itself: its quotes would be escaped in the log.
            let get_slots = command("get slots", &[name.as_str()]);
            let remedy =
                format!("the output of this command has the one that repairs it: {get_slots}");
            tracing::error!(group = %name, %location, %reason, remedy, "the stored value cannot be used");
        }
        None => {}
    }
}
