//! The state of the server that a reload replaces as a whole: groups, policies and limits.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::config::{CapSettings, GroupSettings, Limits, SlotsMismatch};
use crate::group::Group;
use crate::lock::GroupName;

/// One version of the state. A request uses the same version from its start to its end.
#[derive(Clone)]
pub(crate) struct ServerState {
    pub(crate) groups: BTreeMap<GroupName, ConfiguredGroup>,
    /// The limits that several groups share.
    pub(crate) caps: Vec<CapSettings>,
    pub(crate) slots_mismatch: SlotsMismatch,
    pub(crate) limits: Limits,
    /// The digest of the configuration, which all servers should have in common.
    pub(crate) configuration: String,
}

/// A group with its part of the configuration.
#[derive(Clone)]
pub(crate) struct ConfiguredGroup {
    pub(crate) group: Group,
    pub(crate) settings: GroupSettings,
}

/// Returns the current state, and waits for the next one.
#[derive(Clone)]
pub(crate) struct StateReceiver(watch::Receiver<Arc<ServerState>>);

// === impl ServerState ===

#[cfg(test)]
impl ServerState {
    /// Returns a state with these groups, and with limits that no test depends on.
    pub(crate) fn of(groups: BTreeMap<GroupName, ConfiguredGroup>) -> Self {
        let second = std::time::Duration::from_secs(1);
        ServerState {
            groups,
            caps: Vec::new(),
            configuration: String::new(),
            slots_mismatch: SlotsMismatch::Warn,
            limits: Limits {
                body_bytes: 1,
                header_bytes: 1,
                max_headers: 1,
                handshake_timeout: second,
                header_timeout: second,
                body_timeout: second,
                idle_timeout: second,
                response_timeout: second,
                max_connections: 1,
                max_connections_per_peer: None,
                connection_bytes: 1,
                waiting_requests_per_group: 1,
                max_pending_auth: 1,
            },
        }
    }
}

// === impl StateReceiver ===

impl StateReceiver {
    pub(crate) fn new(receiver: watch::Receiver<Arc<ServerState>>) -> Self {
        StateReceiver(receiver)
    }

    /// Returns the current state.
    pub(crate) fn get(&self) -> Arc<ServerState> {
        Arc::clone(&self.0.borrow())
    }

    /// Returns the current state; [`StateReceiver::changed`] then waits for a newer one.
    pub(crate) fn get_and_mark(&mut self) -> Arc<ServerState> {
        Arc::clone(&self.0.borrow_and_update())
    }

    /// Waits for the next state. The server keeps the sender as long as it runs; without a sender this never
    /// completes.
    pub(crate) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
