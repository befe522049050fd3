//! The limits that the system sets to this process: open files, which bound the number of connections, and threads.

use std::io;
use std::thread;

use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Limits;
use crate::text::explain::Remedy;

/// The minimum of the limit of open files with which a server can do anything.
const MIN_FILES: u64 = 64;

/// The threads of a server beside the workers of the runtime: of the log, the store, files, passwords, and name lookups.
const OTHER_THREADS: usize = 8;

/// The reason why the limits of the process do not suffice.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RlimitError {
    #[error("the process may open {limit} files only; the server needs at least {MIN_FILES}")]
    Files { limit: u64 },
    #[error("cannot start {needed} threads")]
    Threads { needed: usize, source: io::Error },
}

/// The remedy if a thread cannot be started.
pub(crate) const THREADS_REMEDY: &str =
    "raise the limit of processes of the user (LimitNPROC=, ulimit -u) or of the unit (TasksMax=)";

impl Remedy for RlimitError {
    fn remedy(&self) -> Option<String> {
        let text = match self {
            RlimitError::Files { .. } => "raise the limit of open files (LimitNOFILE=, ulimit -n)",
            RlimitError::Threads { .. } => THREADS_REMEDY,
        };
        Some(text.into())
    }
}

/// Checks that the limits suffice for a server at all.
///
/// Libraries panic if a thread cannot be started, so as many as the server needs are started once before.
///
/// # Errors
/// If they do not.
pub(crate) fn check() -> Result<(), RlimitError> {
    if let Some(limit) = getrlimit(Resource::Nofile).maximum
        && limit < MIN_FILES
    {
        return Err(RlimitError::Files { limit });
    }
    let needed = thread::available_parallelism().map_or(1, usize::from) + OTHER_THREADS;
    let all_started = Mutex::new(());
    let waiting = all_started.lock();
    thread::scope(|scope| {
        let wait = || drop(all_started.lock());
        let start = |_| thread::Builder::new().spawn_scoped(scope, wait);
        let started = (0..needed).map(start).collect::<io::Result<Vec<_>>>();
        drop(waiting);
        started.map(drop)
    })
    .map_err(|source| RlimitError::Threads { needed, source })
}

/// The number of files that are not connections of clients: etcd, SQLite, the log, files that are reloaded.
const RESERVED: u64 = 160;

/// Raises the limit of open files as far as the system allows. Returns the number of connections that nodes may have:
/// `wanted`, or as many as the limit permits together with the connections of operators ([`Limits::for_operators`]).
///
/// A listener that runs out of files could not accept connections, and clients could lock nodes out.
pub(super) fn raise_nofile_limit(wanted: usize) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    let max = max_connections(limit);
    if max < wanted {
        tracing::warn!(
            configured = wanted as u64,
            connections = max as u64,
            "limits.max_connections exceeds the limit of open files of this process; raise that limit (LimitNOFILE=, ulimit -n)"
        );
    }
    wanted.min(max)
}

/// Returns the number of connections of nodes for a limit of open files; `None` is no limit.
fn max_connections(limit: Option<u64>) -> usize {
    let all = limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit.saturating_sub(RESERVED)).unwrap_or(usize::MAX)
    });
    (all - all / (Limits::OPERATORS_SHARE + 1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_and_operators_share_the_files_that_are_not_reserved() {
        assert_eq!(max_connections(Some(RESERVED + 900)), 800);
        assert_eq!(max_connections(Some(10)), 1);
        assert!(max_connections(None) > 1 << 48);
    }
}
