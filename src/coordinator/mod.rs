//! The application layer: decides whether a request may lock its group now, and passes it to the group.
//!
//! Group lookup, authorization, reboot windows, waiters and the outcomes of requests are combined here and nowhere else.
//! This layer knows no HTTP: it returns a [`Granted`], a [`Released`] or a [`Denied`].

mod block;
mod metrics;
mod state;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::field;

use crate::config::Limits;
use crate::group::{DenyReason, GroupError, Passes};
use crate::lock::holders::Client;
use crate::lock::policy::{Refusal, Terms};
use crate::lock::semaphore::{Command, Outcome};
use crate::lock::{GroupName, InvalidNodeId, NodeId, RequestId};
use crate::names::NodeNames;
pub(crate) use block::{Block, Outside};
pub(crate) use metrics::GroupCollector;
pub(crate) use state::{ConfiguredGroup, ServerState, StateReceiver};

/// Coordinates the requests of all nodes.
pub(crate) struct Coordinator {
    state: StateReceiver,
    /// The time that a request may take for all of its work with the store.
    timeout: Duration,
    names: Arc<NodeNames>,
}

/// One request, which uses the state of the server at its start: a reload in between does not change its authorization.
pub(crate) struct Session<'c> {
    coordinator: &'c Coordinator,
    state: Arc<ServerState>,
}

/// The identity in a request: the node, and the group it claims to belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The name that the client sent: not empty, not looked up yet.
    pub(crate) group: String,
    pub(crate) id: RequestId,
}

/// A successful pre-reboot request: the node holds a slot.
#[derive(Debug)]
pub(crate) struct Granted<'a> {
    pub(crate) group: &'a GroupName,
    /// Whether the node held the slot before the request.
    pub(crate) already_held: bool,
}

/// A successful steady-state request: the node holds no slot.
#[derive(Debug)]
pub(crate) struct Released<'a> {
    pub(crate) group: &'a GroupName,
    /// Whether the node held a slot before the request.
    pub(crate) was_held: bool,
}

/// A request that was denied.
#[derive(Debug)]
pub(crate) struct Denied<'a> {
    /// The configured group that the request named, if it named one.
    pub(crate) group: Option<&'a GroupName>,
    pub(crate) cause: DenialCause,
}

/// The cause of a denial.
#[derive(Debug)]
pub(crate) enum DenialCause {
    /// The group is not configured.
    UnknownGroup { name: String },
    /// The user may not lock the group.
    Forbidden { user: String, group: GroupName },
    /// The id is not a valid one, and holds no slot.
    InvalidId(InvalidNodeId),
    /// The group grants no new lock.
    Blocked { group: GroupName, block: Box<Block> },
    /// The group could not execute the request.
    Group(GroupError),
}

// === impl Coordinator ===

impl Coordinator {
    pub(crate) fn new(state: StateReceiver, timeout: Duration, names: Arc<NodeNames>) -> Self {
        Coordinator {
            state,
            timeout,
            names,
        }
    }

    /// Starts a request.
    pub(crate) fn begin(&self) -> Session<'_> {
        Session {
            coordinator: self,
            state: self.state.get(),
        }
    }
}

// === impl Session ===

impl Session<'_> {
    pub(crate) fn limits(&self) -> &Limits {
        &self.state.limits
    }

    /// Handles a pre-reboot request: makes the node a holder, unless a policy refuses new grants. A node that holds a
    /// slot already keeps it in any case (invariant 12), even under an id that is not granted a lock here.
    ///
    /// `user` is the authenticated user, if the server authenticates its clients.
    pub(crate) async fn pre_reboot(
        &self,
        user: Option<String>,
        identity: &Identity,
        peer: Option<IpAddr>,
    ) -> Result<Granted<'_>, Denied<'_>> {
        let Identity { group, id } = identity;
        tracing::debug!(%group, %id, "processing client pre-reboot request");
        tracing::trace!(%group, %id, user, peer = peer.map(field::display), "pre-reboot request");
        let found = self.authorize(user, group)?;
        let name = found.group.name();
        let client = self.client(id, peer);
        match self.lock(found, id, &client).await {
            Ok(already_held) => {
                if let RequestId::Valid(id) = id {
                    found.group.record_served(id);
                }
                tracing::debug!(group = %name, %id, "givin green-flag to pre-reboot request");
                Ok(Granted {
                    group: name,
                    already_held,
                })
            }
            Err((reason, cause)) => {
                if let (RequestId::Valid(id), Some(reason)) = (id, reason) {
                    found.group.record_denied(id, client, reason);
                }
                Err(Denied {
                    group: Some(name),
                    cause,
                })
            }
        }
    }

    /// Handles a steady-state request: releases the slot of the node, if it holds one. No policy refuses it
    /// (invariant 9). An id that is not a valid one is denied if it holds no slot.
    pub(crate) async fn steady_state(
        &self,
        user: Option<String>,
        identity: &Identity,
        peer: Option<IpAddr>,
    ) -> Result<Released<'_>, Denied<'_>> {
        let Identity { group, id } = identity;
        tracing::debug!(%group, %id, "processing client steady-state report");
        tracing::trace!(%group, %id, user, peer = peer.map(field::display), "steady-state report");
        let found = self.authorize(user, group)?;
        let name = found.group.name();
        let command = Command::Unlock {
            id: id.shared(),
            at: Timestamp::now(),
            peer,
        };
        let result = found.group.execute(command, self.coordinator.timeout).await;
        let cause = match (result, id) {
            (Ok(Outcome::NotHeld), RequestId::Foreign { reason, .. }) => {
                DenialCause::InvalidId(*reason)
            }
            (Ok(outcome), _) => {
                if let RequestId::Valid(id) = id {
                    found.group.record_served(id);
                }
                tracing::debug!(group = %name, %id, "steady-state confirmed");
                return Ok(Released {
                    group: name,
                    was_held: outcome == Outcome::Unlocked,
                });
            }
            (Err(error), _) => DenialCause::Group(error),
        };
        Err(Denied {
            group: Some(name),
            cause,
        })
    }

    /// Returns the node behind an id, as a person knows it.
    fn client(&self, id: &RequestId, peer: Option<IpAddr>) -> Client {
        let name = match id {
            RequestId::Valid(id) => self.coordinator.names.name(id.as_str()),
            RequestId::Foreign { .. } => None,
        };
        Client { peer, name }
    }

    /// Looks the group up and checks that the user may lock it.
    fn authorize(&self, user: Option<String>, name: &str) -> Result<&ConfiguredGroup, Denied<'_>> {
        let Some(found) = self.state.groups.get(name) else {
            return Err(Denied {
                group: None,
                cause: DenialCause::UnknownGroup {
                    name: name.to_owned(),
                },
            });
        };
        if let (Some(user), Some(users)) = (user, &found.settings.users)
            && !users.contains(&user)
        {
            let group = found.group.name();
            return Err(Denied {
                group: Some(group),
                cause: DenialCause::Forbidden {
                    user,
                    group: group.clone(),
                },
            });
        }
        Ok(found)
    }

    /// Locks a slot for the node; returns whether it held one before. An error comes with the reason that is shown in
    /// the list of waiting nodes; `None` if the node does not count as waiting.
    async fn lock(
        &self,
        found: &ConfiguredGroup,
        id: &RequestId,
        client: &Client,
    ) -> Result<bool, (Option<DenyReason>, DenialCause)> {
        let (outcome, outside) = match id {
            RequestId::Valid(id) => self.lock_valid(found, id, client).await,
            RequestId::Foreign { .. } => {
                let renew = Command::Renew { id: id.shared() };
                let outcome = found.group.execute(renew, self.coordinator.timeout).await;
                (outcome, Outside::default())
            }
        };
        let (reason, cause) = match outcome {
            Ok(Outcome::Locked) => return Ok(false),
            Ok(Outcome::AlreadyHeld) => return Ok(true),
            Ok(Outcome::Refused(refusal)) => {
                let block = Box::new(found.block(refusal, &outside, Timestamp::now()));
                let group = found.group.name().clone();
                let reason = Some(block.deny_reason());
                (reason, DenialCause::Blocked { group, block })
            }
            Ok(Outcome::NotHeld | Outcome::Unlocked) => match id {
                RequestId::Foreign { reason, .. } => (None, DenialCause::InvalidId(*reason)),
                // No lock has this outcome.
                RequestId::Valid(_) => (None, DenialCause::Group(GroupError::Ambiguous)),
            },
            Err(error) => {
                let reason = match &error {
                    GroupError::Timeout { .. } | GroupError::Ambiguous | GroupError::QueueFull => {
                        Some(DenyReason::Unavailable)
                    }
                    GroupError::Rejected(_) | GroupError::Damaged(_) => Some(DenyReason::Rejected),
                    GroupError::ShuttingDown => None,
                };
                (reason, DenialCause::Group(error))
            }
        };
        Err((reason, cause))
    }

    /// Locks a slot for the node, as soon as the gates allow it. Returns the outcome, and the reasons against it that are
    /// not in the store.
    async fn lock_valid(
        &self,
        found: &ConfiguredGroup,
        id: &NodeId,
        client: &Client,
    ) -> (Result<Outcome, GroupError>, Outside) {
        let (group, started) = (&found.group, Instant::now());
        let timeout = self.coordinator.timeout;
        // A gate is not asked for a node that holds a slot, or that would be refused for another reason.
        let mut asks = found.has_gates();
        loop {
            let (mut command, mut outside) = self.command(found, id, client);
            let mut passes = Passes::default();
            if asks && group.needs_only_gates(&command) {
                let given = found.ask_gates(&command, started + timeout / 4 * 3).await;
                // A window may have closed meanwhile.
                (command, outside) = self.command(found, id, client);
                match given {
                    Ok(given) => passes = given,
                    Err(closed) => {
                        outside.gate = Some(closed);
                        command.close_gates();
                    }
                }
            }
            let left = timeout.saturating_sub(started.elapsed());
            let outcome = group.execute_with(command, passes, left).await;
            // They were not asked yet or too long ago, or another node was granted a lock meanwhile.
            asks = matches!(outcome, Ok(Outcome::Refused(Refusal::GateUnasked)));
            if !asks {
                return (outcome, outside);
            }
        }
    }

    /// Returns the command of a node that asks for a lock now, and the reasons against it that are not in the store.
    fn command(&self, found: &ConfiguredGroup, id: &NodeId, client: &Client) -> (Command, Outside) {
        let now = Timestamp::now();
        let mut outside = Outside {
            closed: found.closed(now),
            gate: None,
        };
        let mut command = Command::Lock {
            id: id.clone(),
            at: now,
            client: client.clone(),
            terms: Terms {
                closed: outside.closed.is_some(),
                gates: found.unasked_gates(),
            },
        };
        if let Some(reserved) = found.reserved_for_others(&command, now) {
            outside.closed = Some(Block::Reserved(reserved));
            command.close();
        }
        (command, outside)
    }
}

// === impl Granted ===

impl Granted<'_> {
    /// The value of the label `outcome`.
    pub(crate) fn label(&self) -> &'static str {
        if self.already_held {
            "already_held"
        } else {
            "locked"
        }
    }
}

// === impl Released ===

impl Released<'_> {
    /// The value of the label `outcome`.
    pub(crate) fn label(&self) -> &'static str {
        if self.was_held {
            "unlocked"
        } else {
            "not_held"
        }
    }
}
