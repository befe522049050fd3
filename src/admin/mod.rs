//! Orders of an administrator, carried out on the store itself: beside running servers, or without any.
//!
//! Each is one compare-and-swap with an [`Act`] in it, tried again when somebody else was faster. After
//! an unknown outcome the act is looked for before anything is sent again (invariant 6).

mod order;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{self, Instant};

use crate::act::{self, Act};
use crate::group::Known;
use crate::semaphore::Semaphore;
use crate::store::{Commit, GroupName, Store, StoreError};
use crate::stored;
pub use order::{Decision, Order, Refused};

/// How long an order is tried.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was, and what is. They are equal if it was so already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    pub before: Arc<Semaphore>,
    pub after: Arc<Semaphore>,
}

/// Why an order is not known to be carried out.
#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It did not happen.
    #[error("{0}")]
    Unavailable(String),
    /// It may have happened, or may still.
    #[error("{0}")]
    Unknown(String),
    #[error("the stored value cannot be used: {0} (see docs/operations.md, \"A damaged value\")")]
    Damaged(String),
}

/// Carries out `order`. A group without a value counts as one with `slots_if_absent`.
///
/// # Errors
/// If it is refused, or the store does not answer for 10 s.
pub async fn carry_out(
    store: &dyn Store,
    group: &GroupName,
    slots_if_absent: u64,
    order: &Order,
    by: &str,
) -> Result<Done, NotDone> {
    let mut in_doubt = None;
    let result = carry_out_or_doubt(store, group, slots_if_absent, order, by, &mut in_doubt).await;
    result.map_err(|reason| match in_doubt {
        // Whatever ended it now, before that it may have happened.
        Some(_) => NotDone::Unknown(reason.to_string()),
        None => reason,
    })
}

/// The same; `in_doubt` is what was sent and not answered.
async fn carry_out_or_doubt(
    store: &dyn Store,
    group: &GroupName,
    slots_if_absent: u64,
    order: &Order,
    by: &str,
    in_doubt: &mut Option<(Act, Done)>,
) -> Result<Done, NotDone> {
    let act_at = Timestamp::now();
    let lock_at = Timestamp::from_second(act_at.as_second()).unwrap_or(act_at);
    let give_up = Instant::now() + PATIENCE;
    loop {
        let failed = match store.read(group).await {
            Ok(stored) => {
                let known = Known::new(stored, slots_if_absent);
                let before = known
                    .semaphore
                    .map_err(|reason| NotDone::Damaged(reason.to_string()))?;
                if let Some((act, done)) = &*in_doubt
                    && known.acts.contains(act)
                {
                    return Ok(done.clone());
                }
                let (next, action) = match order.decide(&before, lock_at) {
                    Decision::AlreadySo => {
                        let after = Arc::clone(&before);
                        return Ok(Done { before, after });
                    }
                    Decision::Refused(refused) => return Err(refused.into()),
                    Decision::Change(next, action) => (Arc::new(next), action),
                };
                let act = Act {
                    at: act_at,
                    by: by.into(),
                    action,
                };
                let value = stored::encode(&next, &act::with(&known.acts, act.clone()));
                let done = Done {
                    before,
                    after: next,
                };
                match store.commit(group, known.revision, Some(&value)).await {
                    Ok(Commit::Committed(_)) => return Ok(done),
                    Ok(Commit::Conflict(_)) => None,
                    Err(error) => {
                        if let StoreError::Unknown(_) = error {
                            *in_doubt = Some((act, done));
                        }
                        Some(error)
                    }
                }
            }
            Err(error) => Some(error),
        };
        match failed {
            Some(StoreError::Rejected(reason)) => return Err(NotDone::Unavailable(reason)),
            Some(StoreError::Unreachable(reason) | StoreError::Unknown(reason))
                if Instant::now() >= give_up =>
            {
                return Err(NotDone::Unavailable(reason));
            }
            None if Instant::now() >= give_up => {
                let reason = "others changed the group all the time; try again";
                return Err(NotDone::Unavailable(reason.into()));
            }
            Some(_) | None => {}
        }
        // Not all at once with whoever was faster.
        time::sleep(Duration::from_millis(fastrand::u64(5..50))).await;
    }
}

/// Who gives the order, as far as can be told: `user@host`.
pub fn who() -> String {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = variable("SUDO_USER")
        .or_else(|| variable("USER"))
        .or_else(|| variable("LOGNAME"))
        .unwrap_or_else(|| format!("uid-{}", rustix::process::getuid()));
    format!("{user}@{}", host())
}

/// This machine's name.
pub fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "unknown".into(), |name| name.trim().to_owned())
}

#[cfg(test)]
mod tests;
