//! Writes by other programs to a group of a cap: they do not know the cap, so that it may be exceeded.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::lock::codec::LockTimes;
use crate::lock::{GroupName, GroupState};

/// The time for which a write is remembered, and the minimum time between two warnings.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// What is known about writes by other programs to one group.
#[derive(Default)]
pub(super) struct ForeignWrites {
    /// The caps to which the group belongs. Without one, nothing is noted.
    caps: Vec<Arc<str>>,
    /// The latest write.
    latest: Option<Instant>,
    /// The latest warning.
    warned: Option<Instant>,
}

// === impl ForeignWrites ===

impl ForeignWrites {
    /// Changes the caps to which the group belongs.
    pub(super) fn set_caps(&mut self, caps: Vec<Arc<str>>) {
        self.caps = caps;
        if self.caps.is_empty() {
            self.latest = None;
        }
    }

    /// Takes note of the change from `before` to `after`, and warns if another program has made it.
    pub(super) fn observe(&mut self, group: &GroupName, before: &GroupState, after: &GroupState) {
        if self.caps.is_empty() || !is_foreign(before, after) {
            return;
        }
        let now = Instant::now();
        self.latest = Some(now);
        if self.warned.is_some_and(|at| now - at < REMEMBERED) {
            return;
        }
        self.warned = Some(now);
        tracing::warn!(
            %group,
            caps = self.caps.join(", "),
            "another program has written a group of a cap; coreos/airlock does not know caps and may exceed them, so \
             let only Airlock serve the groups of a cap"
        );
    }

    /// Reports whether another program has written the group lately.
    pub(super) fn is_recent(&self) -> bool {
        self.latest.is_some_and(|at| at.elapsed() < REMEMBERED)
    }
}

/// Reports whether another program has written the value of `after` since `before`: the lock times are not of that write.
fn is_foreign(before: &GroupState, after: &GroupState) -> bool {
    let value = after.stored.value.as_ref();
    before.stored.revision != after.stored.revision
        && value.is_some_and(|value| match value.lock_times {
            LockTimes::Absent | LockTimes::Unreported | LockTimes::Outdated(_) => true,
            LockTimes::Current(_) => false,
        })
}

#[cfg(test)]
mod tests {
    use tokio::time;

    use super::*;
    use crate::lock::codec::{self, Revision, Stored, Value};
    use crate::lock::history::History;
    use crate::lock::semaphore::Semaphore;
    use crate::logging::warnings;

    /// Returns a state that this program wrote.
    fn own(revision: i64) -> GroupState {
        let value = codec::encode(&Semaphore::new(1), &[], &History::default());
        GroupState::new(Stored::written(value, Revision(revision)), 1)
    }

    fn foreign(revision: i64, lock_times: LockTimes) -> GroupState {
        let value = Value {
            lock_times,
            ..codec::encode(&Semaphore::new(1), &[], &History::default())
        };
        GroupState::new(Stored::written(value, Revision(revision)), 1)
    }

    fn writes(caps: &[&str]) -> ForeignWrites {
        let mut writes = ForeignWrites::default();
        writes.set_caps(caps.iter().map(|cap| (*cap).into()).collect());
        writes
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_by_another_program_is_a_warning_at_most_once_an_hour() {
        let group = GroupName::new("zone-a").unwrap();
        let mut writes = writes(&["zones"]);
        let mut observe = |before: &GroupState, after: &GroupState| {
            let warnings = warnings(|| writes.observe(&group, before, after));
            (warnings, writes.is_recent())
        };
        assert_eq!(observe(&own(1), &own(2)), (0, false));
        let reported = foreign(3, LockTimes::Unreported);
        assert_eq!(observe(&own(2), &reported), (1, true));
        // The same write, read from the store.
        let read = foreign(3, LockTimes::Outdated(b"{}".to_vec()));
        assert_eq!(observe(&reported, &read), (0, true));
        time::advance(REMEMBERED / 2).await;
        assert_eq!(observe(&read, &foreign(4, LockTimes::Absent)), (0, true));
        time::advance(REMEMBERED / 2).await;
        assert_eq!(observe(&own(5), &own(6)), (0, true));
        time::advance(REMEMBERED / 2).await;
        assert_eq!(observe(&own(5), &own(6)), (0, false));
        assert_eq!(observe(&own(6), &reported), (1, true));
    }

    #[test]
    fn without_a_cap_another_program_may_write() {
        let group = GroupName::new("zone-a").unwrap();
        let mut without = writes(&[]);
        let after = foreign(3, LockTimes::Absent);
        assert_eq!(warnings(|| without.observe(&group, &own(2), &after)), 0);
        assert!(!without.is_recent());
        let mut with = writes(&["zones"]);
        with.observe(&group, &own(2), &after);
        with.set_caps(Vec::new());
        assert!(!with.is_recent());
    }
}
