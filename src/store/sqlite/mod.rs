//! The embedded store: one SQLite file, for where one server is enough.
//!
//! One thread owns the writing connection and runs all that waits in one transaction with one `fsync`.
//! Several processes may have the file open, so the command line works beside a running server.

mod file;

use std::path::{Path, PathBuf};
use std::slice;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};
use tokio::time;

use super::{Commit, GroupName, Report, Revision, Seen, Store, StoreError, Stored, Value};
pub use file::OpenError;

/// How often the file is looked at for changes by others.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// The most jobs that share one transaction.
const MAX_JOBS: usize = 256;

/// A store in a SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    timeout: Duration,
    jobs: mpsc::Sender<Job>,
    /// For [`Store::follow`] alone: `data_version` tells of changes by other connections only.
    follower: Arc<Mutex<Connection>>,
}

/// A read (`expected` is `None`) or a commit, and where its result goes.
struct Job {
    group: GroupName,
    expected: Option<Revision>,
    new: Option<Value>,
    reply: oneshot::Sender<Result<Commit, StoreError>>,
}

// === impl SqliteStore ===

impl SqliteStore {
    /// Opens the file, creating it if it does not exist, and starts the thread that owns it.
    ///
    /// `timeout` bounds every call; waiting for another process's transaction is bounded below it.
    pub fn open(path: &Path, timeout: Duration) -> Result<Self, OpenError> {
        let connection = file::open(path, timeout / 2)?;
        let follower = file::open(path, timeout / 2)?;
        let (jobs, waiting) = mpsc::channel(MAX_JOBS);
        let owned = path.to_owned();
        std::thread::Builder::new()
            .name("sqlite".into())
            .spawn(move || work(&owned, connection, waiting))
            .map_err(|error| OpenError::thread(path, &error))?;
        Ok(SqliteStore {
            path: path.to_owned(),
            timeout,
            jobs,
            follower: Arc::new(Mutex::new(follower)),
        })
    }

    async fn run(
        &self,
        group: &GroupName,
        expected: Option<Revision>,
        new: Option<&Value>,
    ) -> Result<Commit, StoreError> {
        let (reply, result) = oneshot::channel();
        let job = Job {
            group: group.clone(),
            expected,
            new: new.cloned(),
            reply,
        };
        let file = self.path.display();
        let answer = async {
            if self.jobs.send(job).await.is_err() {
                return Err(StoreError::Rejected(format!(
                    "{file}: its thread has ended"
                )));
            }
            result.await.unwrap_or_else(|_| {
                Err(StoreError::Unknown(format!("{file}: its thread has ended")))
            })
        };
        time::timeout(self.timeout, answer)
            .await
            .unwrap_or_else(|_| {
                let timeout = self.timeout.as_millis();
                Err(StoreError::Unknown(format!(
                    "{file}: no answer from the disk within {timeout} ms"
                )))
            })
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn read(&self, group: &GroupName) -> Result<Stored, StoreError> {
        match self.run(group, None, None).await? {
            Commit::Conflict(stored) => Ok(stored),
            // `perform` compares only what it was given to expect.
            Commit::Committed(_) => Err(StoreError::Unknown("a read was committed".into())),
        }
    }

    async fn commit(
        &self,
        group: &GroupName,
        expected: Revision,
        new: Option<&Value>,
    ) -> Result<Commit, StoreError> {
        self.run(group, Some(expected), new).await
    }

    fn place(&self, group: &GroupName) -> String {
        format!("group {group} in {}", self.path.display())
    }

    async fn follow(&self, groups: &[GroupName], report: &mut Report<'_>) -> StoreError {
        let mut poll = time::interval(POLL_INTERVAL);
        poll.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        let mut known = None;
        loop {
            poll.tick().await;
            let follower = Arc::clone(&self.follower);
            let groups = groups.to_vec();
            let polled = tokio::task::spawn_blocking(move || {
                let mut follower = follower.lock().unwrap_or_else(PoisonError::into_inner);
                changes(&mut follower, known, &groups)
            });
            match polled.await {
                Ok(Ok((version, changes))) => {
                    known = Some(version);
                    for (group, stored) in changes {
                        report(&group, Seen::Current(stored));
                    }
                }
                Ok(Err(error)) => return file::store_error(&self.path, &error),
                Err(error) => return StoreError::Unknown(error.to_string()),
            }
        }
    }
}

/// The thread that owns the writing connection. Ends when the store is dropped.
fn work(path: &Path, mut connection: Connection, mut waiting: mpsc::Receiver<Job>) {
    let mut jobs = Vec::with_capacity(MAX_JOBS);
    while waiting.blocking_recv_many(&mut jobs, MAX_JOBS) > 0 {
        let results = run_all(path, &mut connection, &jobs);
        for (job, result) in jobs.drain(..).zip(results) {
            // Nobody waits any more: that is theirs to decide.
            let _ = job.reply.send(result);
        }
    }
}

fn run_all(
    path: &Path,
    connection: &mut Connection,
    jobs: &[Job],
) -> Vec<Result<Commit, StoreError>> {
    let error = match transact(connection, jobs) {
        Ok(results) => return results.into_iter().map(Ok).collect(),
        Err(error) => file::store_error(path, &error),
    };
    match error {
        // One that cannot be done keeps no other from being done: a full disk can still be read.
        StoreError::Rejected(_) if jobs.len() > 1 => jobs
            .iter()
            .flat_map(|job| run_all(path, connection, slice::from_ref(job)))
            .collect(),
        error => vec![Err(error); jobs.len()],
    }
}

/// Runs all jobs in one transaction: their results hold only once it is committed.
fn transact(connection: &mut Connection, jobs: &[Job]) -> rusqlite::Result<Vec<Commit>> {
    let behavior = if jobs.iter().any(|job| job.new.is_some()) {
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

fn perform(transaction: &Transaction<'_>, job: &Job) -> rusqlite::Result<Commit> {
    let current = file::select(transaction, &job.group)?;
    if job.expected != Some(current.revision) {
        return Ok(Commit::Conflict(current));
    }
    match &job.new {
        Some(value) => file::write(transaction, &job.group, value).map(Commit::Committed),
        None => Ok(Commit::Committed(current.revision)),
    }
}

/// The values of all groups, if anyone has changed the file since it had the version `known`.
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
        .map(|group| Ok((group.clone(), file::select(&transaction, group)?)))
        .collect::<rusqlite::Result<_>>()?;
    Ok((version, values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_is_refused_refuses_none_of_those_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("airlock.db");
        let mut connection = file::open(&path, Duration::from_secs(1)).unwrap();
        connection.pragma_update(None, "max_page_count", 1).unwrap();
        let job = |group: &str, size: Option<usize>| Job {
            group: GroupName::new(group).unwrap(),
            expected: Some(Revision::ABSENT),
            new: size.map(|size| Value {
                semaphore: vec![b' '; size],
                lock_times: None,
            }),
            reply: oneshot::channel().0,
        };
        let jobs = [job("a", None), job("b", Some(1 << 20)), job("c", None)];
        let results = run_all(&path, &mut connection, &jobs);
        assert!(
            matches!(
                results[..],
                [
                    Ok(Commit::Committed(Revision::ABSENT)),
                    Err(StoreError::Rejected(_)),
                    Ok(Commit::Committed(Revision::ABSENT)),
                ]
            ),
            "{results:?}"
        );
    }
}
