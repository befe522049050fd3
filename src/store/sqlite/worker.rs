//! The thread of the store: it owns the connections, and runs all waiting calls in one transaction.

use std::path::PathBuf;
use std::slice;

use rusqlite::{Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::database::{Database, Unusable};
use super::error::SqliteError;
use super::schema;
use crate::lock::GroupName;
use crate::lock::codec::{Revision, Stored, Value};
use crate::store::{OwnedMember, StoreError};

/// The maximum number of jobs in one transaction.
pub(super) const MAX_JOBS: usize = 256;

/// The owner of the connections.
pub(super) struct Worker {
    path: PathBuf,
    database: Database,
}

/// A job for the thread.
pub(super) enum Job {
    Call(Call),
    Poll(Poll),
    /// Work that concerns no group.
    Other(Box<dyn FnOnce(&mut Worker) + Send>),
}

/// A read of the value of a group, and what follows it in the same transaction.
pub(super) struct Call {
    pub(super) group: GroupName,
    pub(super) then: Then,
    pub(super) reply: oneshot::Sender<Result<Done, StoreError>>,
}

/// The second half of a [`Call`].
pub(super) enum Then {
    Nothing,
    Commit(Commit),
    /// A write that changes nothing, which fails if no write is possible.
    Touch,
}

/// A compare-and-swap, or a comparison if there is no new value.
pub(super) struct Commit {
    pub(super) expected: Stored,
    pub(super) new: Option<Value>,
    /// Other groups that are compared as well.
    pub(super) also: Vec<OwnedMember>,
}

/// The result of a [`Call`].
#[derive(Clone, Debug)]
pub(super) struct Done {
    /// The value before the call.
    pub(super) current: Stored,
    /// The values of the members of a commit.
    pub(super) members: Vec<Stored>,
    /// The revision after a commit; `None` if there was none, or the comparison failed.
    pub(super) committed: Option<Revision>,
}

/// A check of the file for changes by other processes.
pub(super) struct Poll {
    /// The version at the last poll.
    pub(super) known: Option<Version>,
    pub(super) groups: Vec<GroupName>,
    pub(super) reply: oneshot::Sender<Result<Polled, StoreError>>,
}

/// The version of the file, as one connection sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    /// The number of times that the file was opened.
    opened: u64,
    /// `PRAGMA data_version`, which is comparable within one connection only.
    data: i64,
}

/// The result of a [`Poll`].
#[derive(Debug)]
pub(super) struct Polled {
    pub(super) version: Version,
    /// The values of all groups; empty if the version is the known one.
    pub(super) values: Vec<(GroupName, Stored)>,
}

/// The reason why a transaction has no results.
struct Failure {
    error: Unusable,
    /// Whether a write may have taken effect.
    is_unknown: bool,
}

// === impl Worker ===

impl Worker {
    pub(super) fn new(path: PathBuf, database: Database) -> Self {
        Worker { path, database }
    }

    /// Runs jobs until the store is dropped.
    pub(super) fn run(mut self, mut pending: mpsc::Receiver<Job>) {
        let mut jobs = Vec::with_capacity(MAX_JOBS);
        let mut calls = Vec::with_capacity(MAX_JOBS);
        while pending.blocking_recv_many(&mut jobs, MAX_JOBS) > 0 {
            let (mut polls, mut others) = (Vec::new(), Vec::new());
            for job in jobs.drain(..) {
                match job {
                    Job::Call(call) => calls.push(call),
                    Job::Poll(poll) => polls.push(poll),
                    Job::Other(work) => others.push(work),
                }
            }
            let results = self.call_all(&calls);
            // Sending fails if the caller no longer waits, which is not an error.
            for (call, result) in calls.drain(..).zip(results) {
                let _ = call.reply.send(result);
            }
            for poll in polls {
                let _ = poll.reply.send(self.poll(poll.known, &poll.groups));
            }
            for work in others {
                work(&mut self);
            }
            self.database.limit_log();
        }
    }

    /// Runs calls in one transaction, or each in its own if the first attempt is rejected.
    fn call_all(&mut self, calls: &[Call]) -> Vec<Result<Done, StoreError>> {
        if calls.is_empty() {
            return Vec::new();
        }
        let error = match self.transact(calls) {
            Ok(results) => return results.into_iter().map(Ok).collect(),
            Err(failure) => self.classify(failure),
        };
        match error {
            // A call that fails does not affect the others: a full disk can still be read.
            StoreError::Rejected(_) | StoreError::NoSpace(_) if calls.len() > 1 => calls
                .iter()
                .flat_map(|call| self.call_all(slice::from_ref(call)))
                .collect(),
            error => vec![Err(error); calls.len()],
        }
    }

    /// Runs all calls in one transaction. Their results are valid only because it was committed to the files that are in
    /// place.
    fn transact(&mut self, calls: &[Call]) -> Result<Vec<Done>, Failure> {
        let writes = calls.iter().any(Call::writes);
        let (behavior, connections) = if writes {
            (TransactionBehavior::Immediate, self.database.connections())
        } else {
            let connections = self.database.connections_to_read();
            (TransactionBehavior::Deferred, connections)
        };
        let (open, memory) = connections?;
        let transaction = open.writer.transaction_with_behavior(behavior)?;
        let mut clock = schema::clock(&transaction)?;
        if let Err(reason) = memory.check_clock(&clock, false) {
            drop(transaction);
            return Err(self.database.distrust(reason).into());
        }
        let mut as_of = Revision(clock.revision);
        let results = calls
            .iter()
            .map(|call| perform(&transaction, call, &mut as_of))
            .collect::<Result<Vec<_>, _>>()?;
        if writes {
            clock = schema::clock(&transaction)?;
        }
        transaction.commit()?;
        let is_latest = self.database.confirm(&clock).map_err(|error| Failure {
            error,
            is_unknown: writes,
        })?;
        if !writes && !is_latest {
            // This ends, because each repetition needs another change of the files.
            return self.transact(calls);
        }
        let memory = &mut self.database.memory;
        memory.set_clock(clock);
        for (call, done) in calls.iter().zip(&results) {
            for (member, stored) in call.also().iter().zip(&done.members) {
                let value = stored.value.as_ref();
                memory.set_group(member.borrowed().group, stored.revision, value);
            }
            let (revision, value) = call.after(done);
            memory.set_group(&call.group, revision, value);
        }
        Ok(results)
    }

    /// Returns the version of the file, and the values of all groups if the version is not `known`.
    fn poll(&mut self, known: Option<Version>, groups: &[GroupName]) -> Result<Polled, StoreError> {
        let polled = self.try_poll(known, groups);
        let polled = polled.map_err(|failure| self.classify(failure))?;
        // After a quiet interval, the write-ahead log is emptied, so that the database can do without it. During writes,
        // it is copied, but keeps its size: to extend it again would make each of them slower.
        if known == Some(polled.version) {
            self.database.empty_log();
        } else {
            self.database.copy_log();
        }
        Ok(polled)
    }

    fn try_poll(
        &mut self,
        known: Option<Version>,
        groups: &[GroupName],
    ) -> Result<Polled, Failure> {
        self.database.connections()?;
        let opened = self.database.opened;
        let (open, memory) = self.database.connections()?;
        let pragma = |row: &rusqlite::Row<'_>| row.get(0);
        let data = open
            .watcher
            .pragma_query_value(None, "data_version", pragma)?;
        let version = Version { opened, data };
        if known == Some(version) {
            let values = Vec::new();
            return Ok(Polled { version, values });
        }
        let transaction = open.watcher.transaction()?;
        let clock = schema::clock(&transaction)?;
        if let Err(reason) = memory.check_clock(&clock, false) {
            drop(transaction);
            return Err(self.database.distrust(reason).into());
        }
        let as_of = Revision(clock.revision);
        let read = |group| schema::select(&transaction, group, as_of);
        let values = groups
            .iter()
            .map(|group| Ok((group.clone(), read(group)?)))
            .collect::<rusqlite::Result<Vec<_>>>()?;
        drop(transaction);
        memory.set_clock(clock);
        for (group, stored) in &values {
            memory.set_group(group, stored.revision, stored.value.as_ref());
        }
        Ok(Polled { version, values })
    }

    /// Executes `work`, which changes no group, in a transaction of its own.
    pub(super) fn other<T>(
        &mut self,
        writes: bool,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let result = self.try_other(writes, work);
        result.map_err(|failure| self.classify(failure))
    }

    fn try_other<T>(
        &mut self,
        writes: bool,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Failure> {
        let (open, memory) = self.database.connections()?;
        let behavior = match writes {
            true => TransactionBehavior::Immediate,
            false => TransactionBehavior::Deferred,
        };
        let transaction = open.writer.transaction_with_behavior(behavior)?;
        let clock = schema::clock(&transaction)?;
        if let Err(reason) = memory.check_clock(&clock, false) {
            drop(transaction);
            return Err(self.database.distrust(reason).into());
        }
        let result = work(&transaction)?;
        transaction.commit()?;
        self.database.confirm(&clock)?;
        Ok(result)
    }

    fn classify(&self, failure: Failure) -> StoreError {
        match failure.error {
            Unusable::Sqlite(error) if failure.is_unknown => {
                StoreError::unknown(SqliteError::database(&self.path, error))
            }
            Unusable::Sqlite(error) => SqliteError::classify(&self.path, error),
            Unusable::Changed(cause) if failure.is_unknown => StoreError::unknown(*cause),
            Unusable::Changed(cause) => StoreError::unreachable(*cause),
        }
    }
}

/// Runs one call. `as_of` is the revision of the clock before and after it.
fn perform(
    transaction: &Transaction<'_>,
    call: &Call,
    as_of: &mut Revision,
) -> rusqlite::Result<Done> {
    let current = schema::select(transaction, &call.group, *as_of)?;
    let also = call.also().iter().map(OwnedMember::borrowed);
    let members = also
        .clone()
        .map(|member| schema::select(transaction, member.group, *as_of))
        .collect::<Result<Vec<_>, _>>()?;
    let mut compared = also.zip(&members);
    let committed = match &call.then {
        Then::Commit(commit)
            if commit.expected.is_still(&current)
                && compared.all(|(member, current)| member.is_still(current)) =>
        {
            Some(match &commit.new {
                Some(value) => {
                    *as_of = schema::write(transaction, &call.group, value)?;
                    *as_of
                }
                None => current.revision,
            })
        }
        Then::Touch => {
            schema::touch(transaction)?;
            None
        }
        Then::Commit(_) | Then::Nothing => None,
    };
    Ok(Done {
        current,
        members,
        committed,
    })
}

// === impl Call ===

impl Call {
    fn writes(&self) -> bool {
        match &self.then {
            Then::Nothing => false,
            Then::Commit(commit) => commit.new.is_some(),
            Then::Touch => true,
        }
    }

    /// Returns the other groups that the call compares.
    fn also(&self) -> &[OwnedMember] {
        match &self.then {
            Then::Commit(commit) => &commit.also,
            Then::Nothing | Then::Touch => &[],
        }
    }

    /// Returns the value after the call, and its revision.
    fn after<'a>(&'a self, done: &'a Done) -> (Revision, Option<&'a Value>) {
        match (&self.then, done.committed) {
            (
                Then::Commit(Commit {
                    new: Some(value), ..
                }),
                Some(revision),
            ) => (revision, Some(value)),
            _ => (done.current.revision, done.current.value.as_ref()),
        }
    }
}

// === impl Failure ===

impl From<Unusable> for Failure {
    fn from(error: Unusable) -> Self {
        Failure {
            error,
            is_unknown: false,
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Unusable::from(error).into()
    }
}

#[cfg(test)]
mod tests;
