//! The one task of a group: it takes what waits, applies it in order, and commits it at once.
//!
//! It alone decides what a node is told, and only after the commit that the answer rests on
//! (invariant 3). It never answers from what it remembers alone (invariant 4).

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task;

use super::protocol::Protocol;
use super::retry::Retry;
use super::{Failure, Known, Request, Shared};
use crate::fleetlock::NodeId;
use crate::metrics::GroupMetrics;
use crate::semaphore::{Command, Outcome, Semaphore};
use crate::store::{Commit, Revision, Store, StoreError};
use crate::stored;

/// The most requests that one commit answers.
const MAX_BATCH: usize = 4096;

/// Runs until all handles of its group are gone.
pub struct GroupTask {
    shared: Arc<Shared>,
    requests: mpsc::Receiver<Request>,
    store: Arc<dyn Store>,
    metrics: GroupMetrics,
    protocol: Protocol,
    retry: Retry,
}

/// Why an attempt answered nobody.
enum Setback {
    /// Somebody else has written; what they wrote is known now.
    Conflict,
    Store(StoreError),
    /// The stored value is no semaphore.
    Damaged(String),
    /// The store refuses the write; what it was for is told so and has left the batch.
    WriteRefused,
}

// === impl GroupTask ===

impl GroupTask {
    pub(super) fn new(
        shared: Arc<Shared>,
        requests: mpsc::Receiver<Request>,
        store: Arc<dyn Store>,
        metrics: GroupMetrics,
    ) -> Self {
        GroupTask {
            shared,
            requests,
            store,
            metrics,
            protocol: Protocol::default(),
            retry: Retry::default(),
        }
    }

    pub async fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                taken = self.requests.recv_many(&mut batch, MAX_BATCH) => match taken {
                    0 => return,
                    _ => self.serve(&mut batch).await,
                },
                () = self.shared.nudge.notified() => self.turned(),
            }
        }
    }

    fn turned(&self) {
        self.shared.turns.send_modify(|turns| *turns += 1);
    }

    /// Answers all of `batch`, and what joins it meanwhile. Requests whose deadline passes close their
    /// reply, so this ends at the latest when all of them have.
    async fn serve(&mut self, batch: &mut Vec<Request>) {
        let mut others_may_join = true;
        loop {
            self.turned();
            drop_the_gone(batch);
            if batch.is_empty() {
                return;
            }
            let result = self.attempt(batch, others_may_join).await;
            others_may_join = true;
            match result {
                Ok(()) => {
                    self.shared.set_last_failure(None);
                    self.retry.success();
                }
                Err(Setback::Conflict) => {
                    self.metrics.lost_comparisons.inc();
                    self.retry.after_conflict().await;
                }
                Err(Setback::Store(StoreError::Rejected(reason)) | Setback::Damaged(reason)) => {
                    refuse(batch.drain(..), &reason);
                }
                // First those who need no write: with new grants beside them it would be refused again.
                Err(Setback::WriteRefused) => others_may_join = false,
                Err(Setback::Store(
                    StoreError::Unreachable(reason) | StoreError::Unknown(reason),
                )) => {
                    tracing::debug!(group = %self.shared.name, %reason, "store failed, asking again");
                    self.shared.set_last_failure(Some(reason));
                    self.retry.after_failure().await;
                }
            }
        }
    }

    /// Takes what waits, and what the runtime has ready, as long as that brings more requests. No timer: a
    /// request alone waits for nobody, and many are one commit.
    async fn gather(&mut self, batch: &mut Vec<Request>) {
        loop {
            let had = batch.len();
            task::yield_now().await;
            while batch.len() < MAX_BATCH
                && let Ok(request) = self.requests.try_recv()
            {
                batch.push(request);
            }
            if batch.len() == had || batch.len() == MAX_BATCH {
                return;
            }
        }
    }

    /// One commit for as much of `batch` as it can answer, from the front.
    async fn attempt(
        &mut self,
        batch: &mut Vec<Request>,
        others_may_join: bool,
    ) -> Result<(), Setback> {
        self.read_if_needed().await?;
        if others_may_join {
            self.gather(batch).await;
        }
        drop_the_gone(batch);
        let Some(known) = self.shared.view.get() else {
            return Ok(());
        };
        let semaphore = known.semaphore.map_err(|reason| {
            let place = self.store.place(&self.shared.name);
            Setback::Damaged(format!(
                "the value stored at {place} cannot be used: {reason} \
                 (see docs/operations.md, \"A damaged value\")"
            ))
        })?;
        self.give_up_ambiguous(batch, known.revision, &semaphore);
        if batch.is_empty() {
            return Ok(());
        }
        let commands = batch.iter().map(|request| &request.command);
        let attempt = self.protocol.attempt(known.revision, &semaphore, commands);
        let new = attempt
            .writes
            .then(|| stored::encode(&attempt.next, &known.acts));
        let committed = self
            .store
            .commit(&self.shared.name, attempt.expected, new.as_ref())
            .await;
        match committed {
            Ok(Commit::Committed(revision)) => {
                self.protocol.committed(&attempt);
                self.metrics
                    .batch_size
                    .observe(attempt.outcomes.len() as f64);
                if attempt.writes {
                    self.shared.view.set_if_newer(Known {
                        revision,
                        as_of: revision,
                        semaphore: Ok(attempt.next),
                        acts: known.acts,
                    });
                }
                let answered = batch.drain(..attempt.outcomes.len());
                for (request, outcome) in answered.zip(attempt.outcomes) {
                    // Whoever hung up in the meantime holds what it asked for; asking again is harmless.
                    let _ = request.reply.send(Ok(outcome));
                }
                Ok(())
            }
            Ok(Commit::Conflict(current)) => {
                let slots = self.shared.configured_slots();
                self.shared.view.set(Known::new(current, slots));
                Err(Setback::Conflict)
            }
            Err(StoreError::Rejected(reason)) if attempt.writes => {
                refuse_what_writes(batch, &semaphore, &attempt.outcomes, &reason);
                Err(Setback::WriteRefused)
            }
            Err(error) => {
                if let StoreError::Unknown(_) = error {
                    self.metrics.unknown_outcomes.inc();
                    self.protocol.unknown(&attempt);
                    for (request, outcome) in batch.iter_mut().zip(&attempt.outcomes) {
                        if outcome.changes() {
                            request.in_doubt = Some(attempt.expected);
                        }
                    }
                }
                Err(Setback::Store(error))
            }
        }
    }

    /// Tells those of whom it cannot be known any more that it cannot; they ask again.
    fn give_up_ambiguous(&self, batch: &mut Vec<Request>, known: Revision, semaphore: &Semaphore) {
        let is_ambiguous = |request: &mut Request| {
            Protocol::is_ambiguous(&request.command, request.in_doubt, known, semaphore)
        };
        for request in batch.extract_if(.., is_ambiguous) {
            let reason = "the store did not answer in time, and another server has written since: \
                          it is not known whether this was done, ask again";
            let _ = request.reply.send(Err(Failure::Unavailable(reason.into())));
        }
    }

    /// Reads the store, where what is known is nothing to build on.
    async fn read_if_needed(&mut self) -> Result<(), Setback> {
        let known = self.shared.view.get();
        if !self.protocol.must_read && known.is_some_and(|known| known.semaphore.is_ok()) {
            return Ok(());
        }
        let stored = self
            .store
            .read(&self.shared.name)
            .await
            .map_err(Setback::Store)?;
        self.turned();
        self.protocol.has_read();
        let known = Known::new(stored, self.shared.configured_slots());
        self.shared.view.set(known);
        Ok(())
    }
}

/// Invariant 7: whose client hung up is not applied.
fn drop_the_gone(batch: &mut Vec<Request>) {
    batch.retain(|request| !request.reply.is_closed());
}

fn refuse(requests: impl Iterator<Item = Request>, reason: &str) {
    for request in requests {
        let _ = request.reply.send(Err(Failure::Refused(reason.into())));
    }
}

/// Refuses those of a batch for whom its write was: the grants; without any the releases, which may pass
/// where a grant does not, since they make the value smaller; without either all.
fn refuse_what_writes(
    batch: &mut Vec<Request>,
    semaphore: &Semaphore,
    outcomes: &[Outcome],
    reason: &str,
) {
    let has_grants = outcomes.contains(&Outcome::Locked);
    let has_changes = outcomes.iter().any(|outcome| outcome.changes());
    let mut outcomes = outcomes.iter();
    let writes = |request: &mut Request| {
        let changes = outcomes.next().is_some_and(|outcome| outcome.changes());
        let holds = |id: &NodeId| semaphore.holders.contains_key(id.as_str());
        match &request.command {
            _ if !has_changes => true,
            // Who is refused because the slots are taken would be next to take one.
            Command::Lock { id, .. } => has_grants && (changes || !holds(id)),
            Command::Unlock { id } => !has_grants && (changes || holds(id)),
            Command::Renew { .. } => false,
        }
    };
    refuse(batch.extract_if(.., writes), reason);
}
