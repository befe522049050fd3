//! The identity of the cluster: which cluster the server uses, and which endpoints belong to another one.
//!
//! A lock that is granted in one cluster is unknown to another one. Therefore the server uses one cluster (invariant 11):
//! the configured one, or the one to which all endpoints belong that reply at the start. It changes to another one only
//! with a restart, or with SIGHUP while every endpoint replies and belongs to that one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config::ClusterId;
use crate::store::Notice;

/// The cluster that is used, and the clusters of the endpoints that have replied.
pub(super) struct Identity {
    /// The cluster that the configuration names.
    required: Option<ClusterId>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    decision: Decision,
    /// An operator accepts another cluster, if all endpoints belong to it.
    reconsider: bool,
    /// The number of times that an operator did so. Connections of an earlier generation are verified again.
    generation: u64,
    /// The clusters of the endpoints, by URL, and the generation in which each was seen last.
    seen: BTreeMap<String, (ClusterId, u64)>,
    /// The latest revision of the cluster in use; 0: none is known.
    latest_revision: i64,
    /// When it was logged last that the cluster went back.
    gone_back: Option<Instant>,
}

/// The time for which it is not logged again that the cluster went back: a member that replies with outdated data can
/// do so with every other reply.
const GONE_BACK_INTERVAL: Duration = Duration::from_secs(600);

/// The decision about the cluster to use, if the configuration names none.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Decision {
    /// No endpoint has replied.
    #[default]
    Pending,
    /// This cluster is used.
    Use(ClusterId),
    /// The endpoints belong to different clusters; none is used.
    Split,
}

/// The state of the decision, for a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// All endpoints have to be asked first.
    No,
    /// The cluster is known.
    Yes,
    /// The endpoints belong to different clusters. Those that replied when they were asked last, by URL.
    Split(BTreeMap<String, ClusterId>),
}

/// An endpoint that belongs to another cluster than the one in use.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Foreign {
    pub(super) found: ClusterId,
    pub(super) expected: ClusterId,
    /// Whether the configuration names the expected cluster.
    pub(super) configured: bool,
}

// === impl Identity ===

impl Identity {
    pub(super) fn new(required: Option<ClusterId>) -> Self {
        Identity {
            required,
            state: Mutex::default(),
        }
    }

    /// Records the cluster of an endpoint.
    ///
    /// # Errors
    /// If another cluster is in use.
    pub(super) fn record(&self, url: &str, found: ClusterId) -> Result<(), Foreign> {
        let mut state = self.state.lock();
        let now = (found, state.generation);
        if state.seen.get(url) != Some(&now) {
            state.seen.insert(url.to_owned(), now);
        }
        match self.expected(&state) {
            Some(expected) if expected != found => Err(Foreign {
                found,
                expected,
                configured: self.required.is_some(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Returns the cluster in use, if it is known.
    pub(super) fn cluster(&self) -> Option<ClusterId> {
        self.expected(&self.state.lock())
    }

    /// Reports whether the endpoint has ever replied.
    pub(super) fn has_seen(&self, url: &str) -> bool {
        self.state.lock().seen.contains_key(url)
    }

    /// Returns the generation of the decision.
    pub(super) fn generation(&self) -> u64 {
        self.state.lock().generation
    }

    /// Reports whether the cluster is known.
    pub(super) fn settled(&self) -> Settled {
        let state = self.state.lock();
        match (self.required, state.decision) {
            (Some(_), _) => Settled::Yes,
            (None, _) if state.reconsider => Settled::No,
            (None, Decision::Use(_)) => Settled::Yes,
            (None, Decision::Pending) => Settled::No,
            (None, Decision::Split) => {
                let seen = state.seen.iter();
                let replied = seen.filter(|(_, (_, generation))| *generation == state.generation);
                Settled::Split(replied.map(|(url, (id, _))| (url.clone(), *id)).collect())
            }
        }
    }

    /// Decides on the cluster, now that all `endpoints` were asked in this generation. Some may not have replied. Returns
    /// `false` if they have to be asked again, because an operator has accepted another cluster in the meantime.
    ///
    /// SUBTLE: a decision is replaced only if every endpoint replies and belongs to the new cluster. Otherwise a reload
    /// during an outage of the cluster would move the locks to a foreign one. Until then the old decision stands, so
    /// that no call in flight can use an endpoint that was not verified.
    pub(super) fn settle(&self, endpoints: usize, generation: u64) -> bool {
        let mut state = self.state.lock();
        if state.generation != generation {
            return false;
        }
        let replies = state.seen.iter();
        let replies = replies.filter(|(_, (_, seen))| *seen == generation);
        let replies: Vec<(&String, ClusterId)> = replies.map(|(url, (id, _))| (url, *id)).collect();
        let first = replies.first().map(|(_, id)| *id);
        let agree = first.filter(|first| replies.iter().all(|(_, id)| id == first));
        let complete = replies.len() == endpoints;
        let decision = match (state.decision, first, agree) {
            (Decision::Pending, None, _) => Decision::Pending,
            (Decision::Pending, Some(_), Some(id)) => Decision::Use(id),
            (Decision::Pending, Some(_), None) => Decision::Split,
            (Decision::Use(_) | Decision::Split, _, Some(id)) if complete && state.reconsider => {
                Decision::Use(id)
            }
            (decision @ (Decision::Use(_) | Decision::Split), ..) => decision,
        };
        log_decision(state.decision, decision, &replies);
        if state.decision != decision {
            state.decision = decision;
            state.latest_revision = 0;
        }
        state.reconsider = false;
        true
    }

    /// Has the next call decide again, because an operator says that the cluster may have been replaced.
    pub(super) fn reconsider(&self) {
        let mut state = self.state.lock();
        state.reconsider = true;
        state.generation += 1;
    }

    /// Returns the latest revision of the cluster that is known.
    pub(super) fn latest_revision(&self) -> i64 {
        self.state.lock().latest_revision
    }

    /// Takes note of the revision in the reply to a call that began when the revision `before` was known. Logs an error
    /// if the cluster went back, but not again and again.
    ///
    /// SUBTLE: the calls are linearizable, so the reply to one is not older than a reply that came before it, unless
    /// etcd has one of the known bugs. Replies to calls at the same time come in any order.
    pub(super) fn record_revision(&self, before: i64, found: i64) {
        let mut state = self.state.lock();
        if found >= before {
            state.latest_revision = found.max(state.latest_revision);
            return;
        }
        // Otherwise another call has found it, or another cluster is in use since.
        if state.latest_revision != before {
            return;
        }
        state.latest_revision = found;
        let is_recent = |logged: Instant| logged.elapsed() < GONE_BACK_INTERVAL;
        if !state.gone_back.is_some_and(is_recent) {
            state.gone_back = Some(Instant::now());
            tracing::error!(
                before,
                found,
                "etcd went back to an earlier revision: it was restored from a backup, has lost writes, or has a member \
                 that replies with outdated data; if nodes may be down whose locks are lost, pause all groups, and follow \
                 \"Restore etcd\" in docs/operations.md"
            );
        }
    }

    /// Returns a notice for each endpoint of another cluster.
    pub(super) fn notices(&self) -> Vec<Notice> {
        let state = self.state.lock();
        let Some(expected) = self.expected(&state) else {
            return Vec::new();
        };
        let foreign = state.seen.iter();
        foreign
            .filter(|(_, (found, _))| *found != expected)
            .map(|(url, (found, _))| Notice::ForeignEndpoint {
                url: url.clone(),
                found: found.to_string(),
                expected: expected.to_string(),
            })
            .collect()
    }

    fn expected(&self, state: &State) -> Option<ClusterId> {
        match (self.required, state.decision) {
            (Some(required), _) => Some(required),
            (None, Decision::Use(id)) => Some(id),
            (None, Decision::Pending | Decision::Split) => None,
        }
    }
}

/// Logs a change of the decision, or that an operator's wish to change it was not fulfilled. The first decision needs no
/// line.
fn log_decision(before: Decision, after: Decision, replies: &[(&String, ClusterId)]) {
    let others = replies.iter().filter(|(_, id)| after != Decision::Use(*id));
    let others: Vec<String> = others.map(|(url, id)| format!("{url} ({id})")).collect();
    match (before, after) {
        (Decision::Use(old), Decision::Use(new)) if old != new => {
            tracing::warn!("the etcd cluster {new} is used from now on, instead of {old}");
        }
        (Decision::Split, Decision::Use(new)) => {
            tracing::warn!("the etcd cluster {new} is used from now on");
        }
        // Replies of a part of the cluster that is used need no warning.
        (Decision::Use(old), _) if replies.is_empty() || !others.is_empty() => {
            tracing::warn!(
                endpoints = others.join(", "),
                "the etcd cluster {old} is still used: not all endpoints have replied and belong to one other cluster; if etcd \
                 was replaced, send SIGHUP again when they do"
            );
        }
        (Decision::Split, _) => tracing::warn!(
            endpoints = others.join(", "),
            "no etcd cluster is used: not all endpoints have replied and belong to the same one; send SIGHUP again \
             when they do"
        ),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
