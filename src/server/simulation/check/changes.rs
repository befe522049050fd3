//! Checks that each change is the effect of exactly one request.

use std::collections::BTreeSet;

use super::super::history::{Kind, Reply, Request};
use super::super::trace::{Moment, Violation};
use super::{ChangeOfNode, Values, violation};
use crate::lock::semaphore::Outcome;

/// The interval in which a request may take effect.
struct Claim<'a> {
    request: &'a Request,
    ends: Moment,
    /// The epochs in which it had its effect. A server that had no reply before an older state was restored applies the
    /// request again.
    used: BTreeSet<u32>,
}

// === impl Values ===

impl Values<'_> {
    /// Checks that each change is the effect of one request, and that each request that had an effect, according to its
    /// reply, had one.
    pub(super) fn check_changes(&self, requests: &[&Request]) -> Result<(), Violation> {
        let claims = |wanted: &dyn Fn(&Request) -> bool, end: &dyn Fn(&Request) -> Moment| {
            let wanted = requests.iter().filter(|request| wanted(request));
            let claims = wanted.map(|request| Claim {
                request,
                ends: end(request),
                used: BTreeSet::new(),
            });
            claims.collect::<Vec<_>>()
        };
        let may_have_effect = |request: &Request| {
            may_have_effect(&request.reply)
                || self.spans_restore(request.sent, request.answered)
                || self.may_use_lost_value(request, requests)
        };
        let mut possible = claims(&may_have_effect, &|request| self.end(request, requests));
        for change in &self.changes {
            if !assign(change, &mut possible) {
                return Err(violation(
                    change.at,
                    format!(
                        "{}: no request explains the {:?} of {}",
                        self.group, change.kind, change.node
                    ),
                ));
            }
        }
        let has_effect = |request: &Request| has_effect(&request.reply);
        let mut certain = claims(&has_effect, &|request| request.answered);
        for change in &self.changes {
            assign(change, &mut certain);
        }
        // Requests of one node at the same time may share a commit, of which only the result can be seen.
        let is_alone = |claim: &&Claim<'_>| {
            let claimed = claim.request;
            requests.iter().all(|other| {
                other.node != claimed.node
                    || other.number == claimed.number
                    || other.answered < claimed.sent
                    || claimed.answered < other.sent
            })
        };
        let unused = certain.iter().filter(|claim| claim.used.is_empty());
        match unused.into_iter().find(is_alone) {
            None => Ok(()),
            Some(claim) => Err(violation(
                claim.request.answered,
                format!(
                    "request {} had the reply {:?}, but no effect since {}",
                    claim.request.number, claim.request.reply, claim.request.sent
                ),
            )),
        }
    }

    /// Returns the end of the interval in which a request may take effect.
    ///
    /// It ends with the reply, unless the write may be based on a value that was lost: a restored store can return to
    /// that value, and then accept a copy of the write that arrives late.
    ///
    /// Without a definite reply, it ends with a later reply by the same run of the same server, which fences its own lost
    /// writes (invariant 6), or with a success of the same node at any server: the value that this is based on is not
    /// the one on which the lost write was based.
    fn end(&self, request: &Request, requests: &[&Request]) -> Moment {
        if self.may_use_lost_value(request, requests) {
            return Moment::MAX;
        }
        if request.reply != Reply::Unknown {
            return request.answered;
        }
        let later = requests
            .iter()
            .filter(|later| later.sent > request.answered);
        let proof = later.filter(|later| {
            let fenced = request.server.is_some()
                && request.server == later.server
                && matches!(later.reply, Reply::Outcome(_));
            let same = later.node == request.node && later.kind == request.kind;
            fenced || (same && later.reply.is_success(later.kind))
        });
        let proven = proof.map(|later| later.answered).min();
        let proven = proven.unwrap_or(Moment::MAX);
        // A restored store can return to the value on which a lost write was based.
        match self.restores.first() {
            Some(restored) if *restored < proven => Moment::MAX,
            _ => proven,
        }
    }

    /// Reports whether the server may have had no reply about the group since the store was restored, when the request
    /// reached it. coreos/airlock reads the store for each request.
    fn may_use_lost_value(&self, request: &Request, requests: &[&Request]) -> bool {
        let knows = |restored: Moment| match request.server {
            None => restored < request.sent,
            Some(_) => requests.iter().any(|earlier| {
                earlier.server == request.server
                    && matches!(earlier.reply, Reply::Outcome(_))
                    && restored < earlier.sent
                    && earlier.answered < request.sent
            }),
        };
        let restores = self.restores.iter();
        restores
            .take_while(|restored| **restored < request.answered)
            .any(|restored| !knows(*restored))
    }
}

fn may_have_effect(reply: &Reply) -> bool {
    match reply {
        Reply::Unknown => true,
        Reply::Refused => false,
        // A request of unknown outcome is answered as if it had been repeated.
        Reply::Outcome(outcome) => !matches!(outcome, Outcome::Refused(_)),
    }
}

fn has_effect(reply: &Reply) -> bool {
    matches!(reply, Reply::Outcome(outcome) if outcome.changes())
}

/// Assigns a change to the request that can wait least. Returns `false` if there is none.
fn assign(change: &ChangeOfNode, claims: &mut [Claim<'_>]) -> bool {
    let open = claims.iter_mut().filter(|claim| {
        let request = claim.request;
        let is_it = match change.request {
            Some(number) => request.number == number,
            // coreos/airlock stores no times.
            None => change.kind == Kind::Unlock || request.server.is_none(),
        };
        !claim.used.contains(&change.epoch)
            && is_it
            && request.kind == change.kind
            && request.node == change.node
            && request.sent < change.at
            && change.at <= claim.ends
    });
    match open.min_by_key(|claim| claim.ends) {
        Some(claim) => claim.used.insert(change.epoch),
        None => false,
    }
}
