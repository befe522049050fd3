//! The follower: watches the store, and updates the known state of each group.

use std::time::Duration;

use tokio::time;

use crate::coordinator::StateReceiver;
use crate::lock::GroupName;
use crate::store::instrumented::InstrumentedStore;
use crate::store::{Store as _, Update};
use crate::text::explain::chain;

/// The pause after a failed watch. For that long, the known state of a group may differ from the store.
const PAUSE: Duration = Duration::from_millis(500);

/// Keeps the known state of each group current. Never returns.
pub(crate) async fn follow(store: &InstrumentedStore, mut state: StateReceiver) {
    loop {
        let current = state.get_and_mark();
        let names: Vec<GroupName> = current.groups.keys().cloned().collect();
        let mut report = |name: &GroupName, update: Update| {
            if let Some(found) = current.groups.get(name) {
                found.group.observe(update);
            }
        };
        let error = tokio::select! {
            error = store.watch(&names, &mut report) => error,
            () = state.changed() => continue,
        };
        tracing::debug!(
            reason = chain(&error),
            "watching the store failed, retrying"
        );
        time::sleep(PAUSE).await;
    }
}
