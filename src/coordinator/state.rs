//! The state of the server that a reload replaces as a whole: groups, policies and limits.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use super::block::{Block, Outside};
use crate::config::{CapSettings, GroupSettings, Limits, SlotsMismatch};
use crate::gate::{Closed, Gate, Wanted};
use crate::group::{Group, Passes, Reservation};
use crate::lock::GroupName;
use crate::lock::policy::{Conditions, Gates, Refusal};
use crate::lock::semaphore::Command;

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
    /// Its gates, in the order in which they are asked.
    pub(crate) gates: Arc<[Arc<Gate>]>,
}

/// Returns the current state, and waits for the next one.
#[derive(Clone)]
pub(crate) struct StateReceiver(watch::Receiver<Arc<ServerState>>);

// === impl ConfiguredGroup ===

impl ConfiguredGroup {
    /// Returns the reasons why the group grants no new lock now, as far as they are known, the one that a node is told
    /// first; `None` if the state of the group is not known.
    pub(crate) fn blocks(&self, now: Timestamp) -> Option<Vec<Block>> {
        let semaphore = self.group.known()?.semaphore.ok()?;
        let outside = Outside {
            closed: self.closed(now),
            gate: self.closed_gate(),
        };
        let conditions = self.group.conditions();
        Some(Block::all(&semaphore, &conditions, &outside, now))
    }

    /// Returns the policies of the group, as the labels of the reasons for which they refuse a new lock.
    pub(super) fn policies(&self) -> Vec<&'static str> {
        let settings = &self.settings;
        let policies = [
            ("group_stalled", settings.stall_after.is_some()),
            ("frozen", !settings.freezes.0.is_empty()),
            ("outside_reboot_window", !settings.windows.0.is_empty()),
            ("gate_closed", self.has_gates()),
            ("cap_reached", self.group.has_caps()),
            ("settling", settings.settle.is_some()),
        ];
        let own = policies
            .into_iter()
            .filter(|(_, is_configured)| *is_configured);
        own.map(|(label, _)| label).collect()
    }

    /// Returns the window or the freeze for which the group grants no new lock.
    pub(super) fn closed(&self, now: Timestamp) -> Option<Block> {
        Block::of_calendar(self.settings.calendar().state(now))
    }

    /// Describes the reason why a node was not granted a lock.
    pub(super) fn block(&self, refusal: Refusal, outside: &Outside, now: Timestamp) -> Block {
        if !self.has_gates() && !matches!(refusal, Refusal::Stalled(_)) {
            return Block::new(refusal, None, &Conditions::default(), outside);
        }
        let semaphore = self.group.known().and_then(|known| known.semaphore.ok());
        let semaphore = semaphore.as_deref();
        // The gate was not asked, but it is known to be closed: that lasts longer.
        if refusal > Refusal::GateClosed
            && !semaphore.is_some_and(|semaphore| semaphore.is_overridden(now))
            && let Some(closed) = self.closed_gate()
            && self.gates.iter().all(|gate| gate.latest().is_some())
        {
            return Block::GateClosed(closed);
        }
        Block::new(refusal, semaphore, &self.group.conditions(), outside)
    }

    /// Returns the reservation for which a lock is refused. None is made while a gate is closed, or its time would pass.
    pub(super) fn reserved_for_others(
        &self,
        command: &Command,
        now: Timestamp,
    ) -> Option<Reservation> {
        match self.closed_gate() {
            None => self.group.reserved_for_others(command, now),
            Some(_) => None,
        }
    }

    pub(super) fn has_gates(&self) -> bool {
        !self.gates.is_empty()
    }

    /// Returns what is known about the gates before they are asked.
    pub(super) fn unasked_gates(&self) -> Gates {
        match self.has_gates() {
            true => Gates::Unasked,
            false => Gates::None,
        }
    }

    /// Acquires a pass of each gate for a lock. Without passes, the lock would be refused for another reason meanwhile.
    pub(super) async fn ask_gates(
        &self,
        command: &Command,
        deadline: Instant,
    ) -> Result<Passes, Closed> {
        let lock = WantedLock {
            group: &self.group,
            command,
        };
        // They are asked at the same time, and then acquired one after the other.
        for gate in self.gates.iter().skip(1) {
            gate.prepare(&lock);
        }
        let mut passes = Vec::new();
        for gate in &*self.gates {
            match gate.acquire(deadline, &lock).await? {
                Some(pass) => passes.push(pass),
                None => return Ok(Passes::default()),
            }
        }
        Ok(Passes::new(passes))
    }

    /// Returns a gate that was closed at its latest answer.
    fn closed_gate(&self) -> Option<Closed> {
        self.gates.iter().find_map(|gate| gate.latest_refusal())
    }
}

/// A lock that needs a pass of each gate.
struct WantedLock<'a> {
    group: &'a Group,
    command: &'a Command,
}

impl Wanted for WantedLock<'_> {
    fn is_wanted(&self) -> bool {
        self.group.needs_only_gates(self.command)
    }

    fn granted_since(&self, since: Instant) -> u64 {
        self.group.granted_since(since)
    }
}

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
