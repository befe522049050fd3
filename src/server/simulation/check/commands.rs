//! Checks the commands of administrators.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::fleet::time_of;
use super::super::history::AdminRequest;
use super::super::trace::{Moment, Violation};
use super::super::world::{Cause, State};
use super::{Values, violation};
use crate::admin::{Change, ExecuteError};
use crate::lock::command::Decision;
use crate::lock::semaphore::Semaphore;

// === impl Values ===

impl Values<'_> {
    /// Checks that the result of an administrator's command is true.
    pub(super) fn check_command(&self, command: &AdminRequest) -> Result<(), Violation> {
        let executed = self.executions(command)?;
        let time = time_of(command.number);
        let moments = self.moments(command.sent, command.answered);
        let decides = |wanted: &Decision| {
            moments.iter().any(|at| {
                let absent = || Arc::new(Semaphore::new(command.slots_if_absent));
                let known = self.current(*at).semaphore.clone().unwrap_or_else(absent);
                let caps = self.policies.caps(*at);
                command.command.decide(&known, time, &caps) == *wanted
            })
        };
        let none = executed.is_empty() || self.spans_restore(command.sent, command.answered);
        let true_result = match &command.result {
            Some(Ok(Change { before, after })) if before == after => {
                none && decides(&Decision::Unchanged)
            }
            Some(Ok(change)) => executed.iter().any(|(known, next)| {
                next.from <= command.answered
                    && next.semaphore.as_ref() == Some(&change.after)
                    && known.semaphore.as_ref() == Some(&change.before)
            }),
            Some(Err(ExecuteError::Refused(refused))) => {
                none && decides(&Decision::Refused(refused.clone()))
            }
            Some(Err(
                ExecuteError::Unavailable(_) | ExecuteError::Contended | ExecuteError::Damaged(_),
            )) => none,
            Some(Err(ExecuteError::Unknown(_) | ExecuteError::NoTrace)) | None => true,
        };
        match true_result {
            true => Ok(()),
            false => {
                let at: Vec<Moment> = executed.iter().map(|(_, next)| next.from).collect();
                Err(violation(
                    command.answered,
                    format!(
                        "command {} ({:?}) was executed at {at:?}, which its result does not say: {:?}",
                        command.number, command.command, command.result
                    ),
                ))
            }
        }
    }

    /// Returns the commits of a command, and checks that there is at most one, which does what the command says.
    fn executions(&self, command: &AdminRequest) -> Result<Vec<(&State, &State)>, Violation> {
        let mut found = Vec::new();
        for pair in self.states.windows(2) {
            let [before, after] = pair else { continue };
            if after.cause != Cause::Commit || !after.new_entries(before).contains(&command.number)
            {
                continue;
            }
            let known = before.semaphore.as_deref();
            let (time, caps) = (time_of(command.number), self.policies.caps(after.from));
            let decision = known.map(|known| command.command.decide(known, time, &caps));
            let does_it = match (&decision, &after.semaphore) {
                (Some(Decision::Change { next, .. }), Some(found)) => *next == **found,
                _ => false,
            };
            if !does_it || after.from < command.sent {
                return Err(violation(
                    after.from,
                    format!(
                        "command {} has another effect, not {decision:?}",
                        command.number
                    ),
                ));
            }
            found.push((before, after));
        }
        // After an older state was restored, the command may have to be executed again.
        let epochs: BTreeSet<u32> = found.iter().map(|(_, after)| after.epoch).collect();
        if epochs.len() < found.len() {
            let at: Vec<Moment> = found.iter().map(|(_, after)| after.from).collect();
            return Err(violation(
                at[at.len() - 1],
                format!(
                    "command {} was executed more than once, at {at:?}",
                    command.number
                ),
            ));
        }
        Ok(found)
    }
}
