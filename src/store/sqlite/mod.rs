//! The embedded store: one SQLite file, for a fleet with one server.
//!
//! One thread owns the writing connection, and runs all waiting jobs in one transaction with one `fsync`. Several
//! processes may use the file at the same time, so that commands work beside a running server.

mod error;
mod inspect;
mod schema;

use std::path::{Path, PathBuf};
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};
use tokio::time;

use super::{CommitOutcome, Location, Report, Store, StoreError, Update};
use crate::lock::GroupName;
use crate::lock::codec::{Revision, Stored, Value};
pub use error::OpenError;
use error::{OpenProblem, SqliteError};
pub(crate) use inspect::inspect;
pub(crate) use schema::check;

/// The interval at which the file is checked for changes by other processes.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// The maximum number of jobs in one transaction.
const MAX_JOBS: usize = 256;

/// A store in a SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    timeout: Duration,
    jobs: mpsc::Sender<Job>,
    /// The connection of [`Store::watch`]. It writes nothing, because `data_version` ignores changes by the connection
    /// itself.
    watcher: Arc<Mutex<Connection>>,
}

/// A read of the value of a group, and what follows it in the same transaction.
struct Job {
    group: GroupName,
    then: Then,
    reply: oneshot::Sender<Result<Done, StoreError>>,
}

/// The second half of a [`Job`].
enum Then {
    Nothing,
    Commit(Commit),
    /// A write that changes nothing, which fails if no write is possible.
    Touch,
}

/// A compare-and-swap, or a comparison if there is no new value.
struct Commit {
    expected: Stored,
    new: Option<Value>,
}

/// The result of a [`Job`].
#[derive(Clone, Debug)]
struct Done {
    /// The value before the job.
    current: Stored,
    /// The revision after a commit; `None` if there was none, or the comparison failed.
    committed: Option<Revision>,
}

// === impl SqliteStore ===

impl SqliteStore {
    /// Opens the file, which is created if it does not exist, and starts the thread of the store.
    ///
    /// `timeout` bounds every call. The wait for a transaction of another process is bounded by half of it.
    ///
    /// # Errors
    /// If the file cannot be the store.
    pub fn open(path: &Path, timeout: Duration) -> Result<Self, OpenError> {
        let connection = schema::open(path, timeout / 2)?;
        let watcher = schema::open(path, timeout / 2)?;
        let (jobs, pending) = mpsc::channel(MAX_JOBS);
        let owned = path.to_owned();
        std::thread::Builder::new()
            .name("sqlite".into())
            .spawn(move || run_jobs(&owned, connection, pending))
            .map_err(|error| OpenError::new(path, OpenProblem::Thread(error)))?;
        Ok(SqliteStore {
            path: path.to_owned(),
            timeout,
            jobs,
            watcher: Arc::new(Mutex::new(watcher)),
        })
    }

    /// Sends a job to the thread, and waits for its result.
    async fn run(&self, group: &GroupName, then: Then) -> Result<Done, StoreError> {
        let (reply, result) = oneshot::channel();
        let job = Job {
            group: group.clone(),
            then,
            reply,
        };
        let reply = async {
            if self.jobs.send(job).await.is_err() {
                return Err(StoreError::rejected(self.thread_ended()));
            }
            let ended = |_| Err(StoreError::unknown(self.thread_ended()));
            result.await.unwrap_or_else(ended)
        };
        time::timeout(self.timeout, reply)
            .await
            .unwrap_or_else(|_| {
                Err(StoreError::unknown(SqliteError::Timeout {
                    path: self.path.clone(),
                    timeout: self.timeout,
                }))
            })
    }

    fn thread_ended(&self) -> SqliteError {
        let path = self.path.clone();
        SqliteError::ThreadEnded { path }
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn read(&self, group: &GroupName) -> Result<Stored, StoreError> {
        Ok(self.run(group, Then::Nothing).await?.current)
    }

    async fn commit(
        &self,
        group: &GroupName,
        expected: &Stored,
        new: Option<&Value>,
    ) -> Result<CommitOutcome, StoreError> {
        let (expected, new) = (expected.clone(), new.cloned());
        let commit = Then::Commit(Commit { expected, new });
        let done = self.run(group, commit).await?;
        Ok(match done.committed {
            Some(revision) => CommitOutcome::Committed(revision),
            None => CommitOutcome::Conflict(done.current),
        })
    }

    async fn check_writable(&self, group: &GroupName) -> Result<(), StoreError> {
        self.run(group, Then::Touch).await?;
        Ok(())
    }

    fn location(&self, group: &GroupName) -> Location {
        schema::location(&self.path, group)
    }

    async fn watch(&self, groups: &[GroupName], report: &mut Report<'_>) -> StoreError {
        let mut poll = time::interval(POLL_INTERVAL);
        poll.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        let mut known = None;
        loop {
            poll.tick().await;
            let watcher = Arc::clone(&self.watcher);
            let groups = groups.to_vec();
            let polled = tokio::task::spawn_blocking(move || {
                let mut watcher = watcher.lock();
                changes(&mut watcher, known, &groups)
            });
            match polled.await {
                Ok(Ok((version, changes))) => {
                    known = Some(version);
                    for (group, stored) in changes {
                        report(&group, Update::Current(stored));
                    }
                }
                Ok(Err(error)) => return SqliteError::classify(&self.path, error),
                Err(error) => {
                    return StoreError::unknown(SqliteError::Poll {
                        path: self.path.clone(),
                        source: error,
                    });
                }
            }
        }
    }
}

/// Runs jobs on the writing connection until the store is dropped.
fn run_jobs(path: &Path, mut connection: Connection, mut pending: mpsc::Receiver<Job>) {
    let mut jobs = Vec::with_capacity(MAX_JOBS);
    while pending.blocking_recv_many(&mut jobs, MAX_JOBS) > 0 {
        let results = run_all(path, &mut connection, &jobs);
        for (job, result) in jobs.drain(..).zip(results) {
            // Sending fails if the caller no longer waits, which is not an error.
            let _ = job.reply.send(result);
        }
    }
}

/// Runs jobs in one transaction, or each in its own if the first attempt is rejected.
fn run_all(
    path: &Path,
    connection: &mut Connection,
    jobs: &[Job],
) -> Vec<Result<Done, StoreError>> {
    let error = match transact(connection, jobs) {
        Ok(results) => return results.into_iter().map(Ok).collect(),
        Err(error) => SqliteError::classify(path, error),
    };
    match error {
        // A job that fails does not affect the others: a full disk can still be read.
        StoreError::Rejected(_) | StoreError::NoSpace(_) if jobs.len() > 1 => jobs
            .iter()
            .flat_map(|job| run_all(path, connection, slice::from_ref(job)))
            .collect(),
        error => vec![Err(error); jobs.len()],
    }
}

/// Runs all jobs in one transaction. Their results are valid only because it was committed.
fn transact(connection: &mut Connection, jobs: &[Job]) -> rusqlite::Result<Vec<Done>> {
    let writes = |job: &Job| match &job.then {
        Then::Nothing => false,
        Then::Commit(commit) => commit.new.is_some(),
        Then::Touch => true,
    };
    let behavior = if jobs.iter().any(writes) {
        TransactionBehavior::Immediate
    } else {
        TransactionBehavior::Deferred
    };
    let transaction = connection.transaction_with_behavior(behavior)?;
    let results = jobs
        .iter()
        .map(|job| perform(&transaction, job))
        .collect::<Result<_, _>>()?;
    transaction.commit()?;
    Ok(results)
}

/// Runs one job.
fn perform(transaction: &Transaction<'_>, job: &Job) -> rusqlite::Result<Done> {
    let current = schema::select(transaction, &job.group)?;
    let committed = match &job.then {
        Then::Commit(commit) if commit.expected.is_still(&current) => Some(match &commit.new {
            Some(value) => schema::write(transaction, &job.group, value)?,
            None => current.revision,
        }),
        Then::Touch => {
            schema::touch(transaction)?;
            None
        }
        Then::Commit(_) | Then::Nothing => None,
    };
    Ok(Done { current, committed })
}

/// Returns the version of the file, and the values of all groups if the version is not `known`.
fn changes(
    connection: &mut Connection,
    known: Option<i64>,
    groups: &[GroupName],
) -> rusqlite::Result<(i64, Vec<(GroupName, Stored)>)> {
    let version = connection.pragma_query_value(None, "data_version", |row| row.get(0))?;
    if known == Some(version) {
        return Ok((version, Vec::new()));
    }
    let transaction = connection.transaction()?;
    let values = groups
        .iter()
        .map(|group| Ok((group.clone(), schema::select(&transaction, group)?)))
        .collect::<rusqlite::Result<_>>()?;
    Ok((version, values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejected_job_does_not_affect_the_jobs_in_the_same_batch() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("airlock.db");
        let mut connection = schema::open(&path, Duration::from_secs(1)).unwrap();
        connection.pragma_update(None, "max_page_count", 1).unwrap();
        let job = |group: &str, size: Option<usize>| Job {
            group: GroupName::new(group).unwrap(),
            then: Then::Commit(Commit {
                expected: Stored::absent(Revision::ABSENT),
                new: size.map(|size| Value {
                    semaphore: vec![b' '; size],
                    lock_times: None,
                }),
            }),
            reply: oneshot::channel().0,
        };
        let jobs = [job("a", None), job("b", Some(1 << 20)), job("c", None)];
        let results = run_all(&path, &mut connection, &jobs);
        let absent = Some(Revision::ABSENT);
        assert!(
            matches!(
                &results[..],
                [Ok(first), Err(StoreError::NoSpace(_)), Ok(last)]
                    if first.committed == absent && last.committed == absent
            ),
            "{results:?}"
        );
    }
}
