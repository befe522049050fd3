//! The passes of the gates with which a request reaches the task.

use tokio::time::Instant;

use crate::gate::Pass;
use crate::lock::policy::Gates;

/// The passes of all gates of a group for one request. They are given back when they are dropped, unless a lock was
/// granted, or may have been.
#[derive(Default)]
pub(crate) struct Passes {
    passes: Vec<Pass>,
    are_used: bool,
}

// === impl Passes ===

impl Passes {
    pub(crate) fn new(passes: Vec<Pass>) -> Self {
        Passes {
            passes,
            are_used: false,
        }
    }

    /// Returns what the gates allow at `now`, if `granted_since` counts the grants in the group since a gate was asked.
    /// Without passes, they have to be asked.
    ///
    /// SUBTLE: a grant by another server is counted when this server sees it. Until then, the value that a commit compares
    /// does not have it either, and the commit fails.
    pub(super) fn gates(&self, now: Instant, granted_since: impl Fn(Instant) -> u64) -> Gates {
        let allowed = self.passes.iter().map(|pass| match pass.is_valid(now) {
            true => pass.allows().saturating_sub(granted_since(pass.asked())),
            false => 0,
        });
        match allowed.min() {
            None | Some(0) => Gates::Unasked,
            Some(grants) => Gates::Allow(grants),
        }
    }

    /// Records that a lock was granted, or may have been.
    pub(super) fn mark_used(&mut self) {
        self.are_used = true;
    }
}

impl Drop for Passes {
    fn drop(&mut self) {
        if self.are_used {
            self.passes.drain(..).for_each(Pass::used);
        }
    }
}
