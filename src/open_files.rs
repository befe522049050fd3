//! How many files this process may open, which is how many connections it can have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Limits;

/// What is no connection of a client: etcd, SQLite, the log, files that are read again.
const RESERVED: u64 = 160;

/// Raises the limit of open files as far as the system allows, and returns how many connections nodes may
/// have: `wanted`, or what there is room for, with those of operators ([`Limits::for_operators`]).
///
/// Without room a listener could not accept, and strangers would keep nodes out.
pub fn make_room(wanted: usize) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    let room = room(limit);
    if room < wanted {
        tracing::warn!(
            configured = wanted as u64,
            connections = room as u64,
            "limits.connections is more than this process may open files for: raise its limit (LimitNOFILE=, ulimit -n)"
        );
    }
    wanted.min(room)
}

/// `None` is no limit.
fn room(limit: Option<u64>) -> usize {
    let room = limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit.saturating_sub(RESERVED)).unwrap_or(usize::MAX)
    });
    (room - room / (Limits::OPERATORS_SHARE + 1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_and_operators_share_what_is_not_reserved() {
        assert_eq!(room(Some(RESERVED + 900)), 800);
        assert_eq!(room(Some(10)), 1);
        assert!(room(None) > 1 << 48);
    }
}
