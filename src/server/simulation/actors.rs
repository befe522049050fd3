//! The participants beside the servers: nodes, administrators, an operator, and coreos/airlock.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use serde::{Deserialize, Serialize};
use tokio::time::{self, Instant};

use super::fleet::{Fleet, REQUEST_TIMEOUT, time_of};
use super::history::{AdminRequest, Kind, Reply, Request};
use super::link::Link;
use super::plan::{millis, rng};
use crate::admin;
use crate::lock::GroupName;
use crate::lock::codec::Stored;
use crate::lock::command::AdminCommand;
use crate::lock::holders::{Hold, Holder};
use crate::lock::policy::Refusal;
use crate::lock::semaphore::Outcome;
use crate::store::{Store, StoreError};

/// The number of slots with which a command counts a group without a value.
const SLOTS_IF_ABSENT: u64 = 2;

/// A participant with its own random numbers.
pub(super) struct Actor {
    fleet: Arc<Fleet>,
    name: String,
    rng: Rng,
    ends: Instant,
}

/// The value as coreos/airlock reads and writes it.
#[derive(Serialize, Deserialize)]
struct ForeignSemaphore {
    total_slots: u64,
    holders: Vec<String>,
}

// === impl Actor ===

impl Actor {
    pub(super) fn new(fleet: &Arc<Fleet>, name: &str) -> Self {
        Actor {
            fleet: Arc::clone(fleet),
            name: name.into(),
            rng: rng(fleet.plan.seed, name),
            ends: Instant::now() + fleet.plan.duration,
        }
    }

    fn has_ended(&self) -> bool {
        Instant::now() >= self.ends
    }

    async fn pause(&mut self, range: std::ops::Range<u64>) {
        let pause = millis(&mut self.rng, range);
        time::sleep(pause).await;
    }

    fn any_group(&mut self) -> GroupName {
        let index = self.rng.usize(..self.fleet.groups.len());
        self.fleet.groups[index].clone()
    }

    /// Sends a request to any server. Some clients disconnect early.
    async fn ask(&mut self, group: &GroupName, node: &str, kind: Kind) -> Reply {
        let server = self.rng.usize(..self.fleet.plan.servers);
        let patience = match self.rng.u8(..8) {
            0 => millis(&mut self.rng, 1..200),
            _ => REQUEST_TIMEOUT * 2,
        };
        self.fleet.ask(server, group, node, kind, patience).await
    }

    /// Asks until it succeeds. Returns `false` if the run ends before.
    async fn insist(&mut self, group: &GroupName, node: &str, kind: Kind) -> bool {
        while !self.has_ended() {
            if self.ask(group, node, kind).await.is_success(kind) {
                return true;
            }
            self.pause(1..800).await;
        }
        false
    }

    /// Runs a node that asks as Zincati does: steady-state until it succeeds, then pre-reboot until it succeeds.
    pub(super) async fn polite_node(mut self) {
        let node = self.name.clone();
        let group = self.any_group();
        while self.insist(&group, &node, Kind::Unlock).await {
            self.pause(1..1500).await;
            if !self.insist(&group, &node, Kind::Lock).await {
                return;
            }
            self.pause(1..1500).await;
        }
    }

    /// Runs a node that sends any request to any server, in the name of one of two nodes.
    pub(super) async fn impolite_node(mut self) {
        let group = self.any_group();
        while !self.has_ended() {
            let kind = [Kind::Lock, Kind::Unlock, Kind::Lock, Kind::Renew][self.rng.usize(..4)];
            let node = ["impolite-a", "impolite-b"][self.rng.usize(..2)];
            self.ask(&group, node, kind).await;
            let longest = [2, 100, 1500][self.rng.usize(..3)];
            self.pause(1..longest).await;
        }
    }

    /// Runs an administrator who executes any command.
    pub(super) async fn administrator(mut self) {
        let link = Link::new(&self.fleet.world, &self.fleet.plan, &self.name);
        let store: Arc<dyn Store> = link;
        while !self.has_ended() {
            self.pause(100..5000).await;
            let group = self.any_group();
            let command = self.any_command(&group);
            self.execute(&store, &group, command).await;
        }
    }

    fn any_command(&mut self, group: &GroupName) -> AdminCommand {
        let slots = self.rng.u64(1..=3);
        let state = self.fleet.world.states(group).pop();
        let semaphore = state.and_then(|state| state.semaphore);
        let holders: Vec<Holder> = semaphore
            .iter()
            .flat_map(|known| known.holders.iter())
            .map(|(id, hold)| (Arc::clone(id), hold.clone()))
            .collect();
        let any = (!holders.is_empty()).then(|| holders[self.rng.usize(..holders.len())].clone());
        match (self.rng.u8(..8), any) {
            (0, _) => AdminCommand::Pause,
            (1 | 2, _) => AdminCommand::Resume { slots },
            (3, _) => AdminCommand::SetSlots { slots },
            (4, _) => AdminCommand::UpdateSlots { slots },
            (5, Some((id, _))) => AdminCommand::Unlock { id },
            (
                6,
                Some((
                    id,
                    Hold {
                        since: Some(since), ..
                    },
                )),
            ) => AdminCommand::UnlockHeldSince {
                holds: vec![(id, since)],
            },
            _ => AdminCommand::Lock {
                id: "polite-0".parse().expect("a valid id"),
            },
        }
    }

    async fn execute(&mut self, store: &Arc<dyn Store>, group: &GroupName, command: AdminCommand) {
        let number = self.fleet.world.number();
        let event = format!("{number}: {} executes {command:?} on {group}", self.name);
        let sent = self.fleet.record(&event);
        let caps = self.fleet.plan.policies.caps_of(group);
        let target = admin::Target {
            group,
            slots_if_absent: SLOTS_IF_ABSENT,
            caps: &caps,
        };
        let executing = admin::execute_at(store, target, &command, &self.name, time_of(number));
        // Some processes are killed.
        let patience = match self.rng.u8(..8) {
            0 => millis(&mut self.rng, 1..200),
            _ => Duration::from_secs(60),
        };
        let result = time::timeout(patience, executing).await.ok();
        let answered = self.fleet.record(&format!("{number}: {result:?}"));
        self.fleet.history.commands.lock().push(AdminRequest {
            number,
            group: group.clone(),
            command,
            slots_if_absent: SLOTS_IF_ABSENT,
            sent,
            answered,
            result,
        });
    }

    /// Crashes and reloads servers, deletes values, and restores the store.
    pub(super) async fn operator(mut self) {
        let plan = self.fleet.plan.clone();
        while !self.has_ended() {
            self.pause(100..3000).await;
            let server = self.rng.usize(..plan.servers);
            match self.rng.u8(..5) {
                0 if plan.crashes => {
                    self.fleet.crash(server);
                    self.pause(1..1000).await;
                    self.fleet.start(server);
                }
                1 if plan.reloads => {
                    let slots = self.rng.u64(1..=3);
                    self.fleet.reload(server, slots);
                }
                2 if plan.deletions => {
                    let group = self.any_group();
                    self.fleet.world.delete(&group);
                }
                3 | 4 if plan.restores => {
                    // A young backup makes the store use revisions again that servers still know.
                    let backup = self.fleet.world.backup();
                    let age = [100, 1000, 8000][self.rng.usize(..3)];
                    self.pause(1..age).await;
                    self.fleet.world.restore(backup);
                }
                _ => {}
            }
        }
    }

    /// Runs a node that asks coreos/airlock.
    pub(super) async fn foreign_node(mut self) {
        let link = Link::new(&self.fleet.world, &self.fleet.plan, &self.name);
        let group = self.any_group();
        while !self.has_ended() {
            let kind = [Kind::Lock, Kind::Unlock][self.rng.usize(..2)];
            let number = self.fleet.world.number();
            let node = self.name.clone();
            let event = format!("{number}: {kind:?} {node} in {group} at coreos/airlock");
            let sent = self.fleet.record(&event);
            let reply = foreign_request(&link, &group, &node, kind).await;
            let answered = self.fleet.record(&format!("{number}: {reply:?}"));
            self.fleet.history.requests.lock().push(Request {
                number,
                group: group.clone(),
                server: None,
                node: node.into(),
                kind,
                sent,
                answered,
                reply: reply.unwrap_or_else(|error| match error {
                    StoreError::Rejected(_) | StoreError::Unreachable(_) => Reply::Refused,
                    StoreError::NoSpace(_) | StoreError::Unknown(_) => Reply::Unknown,
                }),
            });
            self.pause(1..2500).await;
        }
    }
}

/// Handles a request as coreos/airlock does: it creates the value if there is none, reads it, and writes it back
/// without the lock times. It reports a conflict as an error.
async fn foreign_request(
    link: &Link,
    group: &GroupName,
    node: &str,
    kind: Kind,
) -> Result<Reply, StoreError> {
    let stored = link.read(group).await?;
    let found = stored.value.as_ref().map(|value| &value.semaphore);
    let Some(found) = found else {
        let first = ForeignSemaphore {
            total_slots: SLOTS_IF_ABSENT,
            holders: Vec::new(),
        };
        foreign_write(link, group, stored, &first).await?;
        return Ok(Reply::Refused);
    };
    let semaphore: ForeignSemaphore = serde_json::from_slice(found).expect("a valid value");
    let mut holders: BTreeSet<String> = semaphore.holders.into_iter().collect();
    let slots = semaphore.total_slots;
    let outcome = match kind {
        Kind::Lock if holders.contains(node) => return Ok(Reply::Outcome(Outcome::AlreadyHeld)),
        Kind::Lock if holders.len() as u64 >= slots => {
            let refusal = match slots {
                0 => Refusal::Paused,
                slots => Refusal::Full { slots },
            };
            return Ok(Reply::Outcome(Outcome::Refused(refusal)));
        }
        Kind::Lock | Kind::Renew => {
            holders.insert(node.into());
            Outcome::Locked
        }
        Kind::Unlock if holders.remove(node) => Outcome::Unlocked,
        Kind::Unlock => Outcome::NotHeld,
    };
    let next = ForeignSemaphore {
        total_slots: slots,
        holders: holders.into_iter().collect(),
    };
    let written = foreign_write(link, group, stored, &next).await?;
    Ok(match written {
        true => Reply::Outcome(outcome),
        false => Reply::Refused,
    })
}

async fn foreign_write(
    link: &Link,
    group: &GroupName,
    expected: Stored,
    new: &ForeignSemaphore,
) -> Result<bool, StoreError> {
    let group = group.clone();
    let bytes = serde_json::to_vec(new).expect("JSON");
    link.call("write", true, move |world| {
        world.foreign_commit(&group, &expected, bytes.clone())
    })
    .await
}
