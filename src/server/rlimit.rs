//! The limit of open files, which bounds the number of connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Limits;

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
