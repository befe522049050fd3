//! The cap on some groups, in every state that etcd ever had.
//!
//! Nodes observe moments. The revisions of etcd contain each committed state of all groups, so none is missed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;
use std::time::Duration;

use etcd_client::{Client, GetOptions, KeyValue};
use tokio::runtime;
use tokio::time::timeout;

use super::cluster::contents;
use super::record::{MAX_GROUPS, MAX_HELD, capped_groups};
use airlock_test_support::etcd::{Etcd, USER, connect_as};

/// The time within which all new revisions of one round are read.
const MAX_READ: Duration = Duration::from_secs(20);

/// The check of all committed states.
pub(crate) struct Committed {
    /// The revision that is read next.
    next: i64,
    /// The holders of the groups before it; `None` if they are not known.
    before: Option<Holders>,
    pub(crate) summary: Summary,
    /// The first state above the cap that is the result of a grant by Airlock.
    pub(crate) violation: Option<String>,
}

/// The beginning of the keys of the groups of the cap, and of no others.
const PREFIX: &str = "com.coreos.airlock/groups/zone-";

/// What was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) revisions: u64,
    /// Commits of Airlock that granted a lock.
    pub(crate) grants: u64,
    /// Those that reached a limit of the cap.
    pub(crate) reached: u64,
    /// States above the cap that other writers have caused.
    pub(crate) exceeded_by_others: u64,
    /// Revisions that were compacted before they were read.
    pub(crate) missed: u64,
}

/// The holders of the groups that have some.
type Holders = BTreeMap<&'static str, BTreeSet<String>>;

/// One revision of the groups.
struct State {
    revision: i64,
    holders: Holders,
    /// The groups that Airlock has written at this revision: both keys. coreos/airlock and operators change only one.
    written: BTreeSet<&'static str>,
}

// === impl Summary ===

impl AddAssign for Summary {
    fn add_assign(&mut self, other: Summary) {
        self.revisions += other.revisions;
        self.grants += other.grants;
        self.reached += other.reached;
        self.exceeded_by_others += other.exceeded_by_others;
        self.missed += other.missed;
    }
}

// === impl Committed ===

impl Committed {
    pub(crate) fn new() -> Self {
        Committed {
            next: 1,
            before: None,
            summary: Summary::default(),
            violation: None,
        }
    }

    /// The store was restored: its revisions are others.
    pub(crate) fn restart(&mut self) {
        (self.next, self.before) = (1, None);
    }

    /// Returns the latest revision that was checked.
    pub(crate) fn checked(&self) -> i64 {
        self.next - 1
    }

    /// Checks the revisions of the member that has most of them.
    pub(crate) fn read(&mut self, etcd: &Etcd) -> Result<(), String> {
        let members = etcd.members.iter().filter(|member| member.is_running());
        let status = members.filter_map(|member| Some((member.endpoint(), member.status()?)));
        // A learner serves no clients.
        let status = status.filter(|(_, status)| !status.is_learner);
        let newest = status.max_by_key(|(_, status)| status.revision);
        let (endpoint, status) = newest.ok_or("no member responds")?;
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let reading = async { timeout(MAX_READ, self.read_until(status.revision, endpoint)).await };
        match runtime.block_on(reading) {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(_) => Err("the revisions are not read in time".to_owned()),
        }
    }

    async fn read_until(&mut self, last: i64, endpoint: String) -> Result<(), etcd_client::Error> {
        let mut client = connect_as(&[endpoint], USER).await?;
        while self.next <= last {
            match state(&mut client, self.next).await {
                Ok(state) => {
                    self.check(state);
                    self.next += 1;
                }
                Err(error) if error.to_string().contains("compacted") => {
                    self.skip_compacted(&mut client, last).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Goes on with the first revision that is not compacted.
    async fn skip_compacted(
        &mut self,
        client: &mut Client,
        last: i64,
    ) -> Result<(), etcd_client::Error> {
        let (mut compacted, mut readable) = (self.next, last);
        while compacted + 1 < readable {
            let middle = i64::midpoint(compacted, readable);
            match state(client, middle).await {
                Ok(_) => readable = middle,
                Err(error) if error.to_string().contains("compacted") => compacted = middle,
                Err(error) => return Err(error),
            }
        }
        // Those from before a restore were read before it, or belong to an earlier round.
        if self.before.is_some() {
            self.summary.missed += readable.abs_diff(self.next);
        }
        (self.next, self.before) = (readable, None);
        Ok(())
    }

    fn check(&mut self, state: State) {
        self.summary.revisions += 1;
        let held: usize = state.holders.values().map(BTreeSet::len).sum();
        let groups = state.holders.len();
        let no_holders = BTreeSet::new();
        let Some(before) = &self.before else {
            self.before = Some(state.holders);
            return;
        };
        let granted = |group: &&&'static str| {
            let of = |holders: &Holders| holders.get(**group).unwrap_or(&no_holders).clone();
            !of(&state.holders).is_subset(&of(before))
        };
        let granted: Vec<&str> = state.written.iter().filter(granted).copied().collect();
        let opens = granted.iter().any(|group| !before.contains_key(group));
        let exceeds = held > MAX_HELD || opens && groups > MAX_GROUPS;
        if granted.is_empty() {
            let is_new = state.holders != *before;
            let exceeds = held > MAX_HELD || groups > MAX_GROUPS;
            self.summary.exceeded_by_others += u64::from(is_new && exceeds);
        } else {
            self.summary.grants += 1;
            self.summary.reached += u64::from(held == MAX_HELD || opens && groups == MAX_GROUPS);
        }
        if exceeds && !granted.is_empty() {
            self.violation.get_or_insert_with(|| {
                let (revision, now) = (state.revision, &state.holders);
                format!(
                    "revision {revision} grants locks in {granted:?} above the cap of {MAX_HELD} nodes and {MAX_GROUPS} \
                     groups: {now:?}, before {before:?}"
                )
            });
        }
        self.before = Some(state.holders);
    }
}

/// Reads the groups of the cap at one revision.
async fn state(client: &mut Client, revision: i64) -> Result<State, etcd_client::Error> {
    // The member has this revision.
    let options = GetOptions::new().with_prefix().with_serializable();
    let found = client
        .get(PREFIX, Some(options.with_revision(revision)))
        .await?;
    Ok(State::new(revision, found.kvs()))
}

// === impl State ===

impl State {
    fn new(revision: i64, keys: &[KeyValue]) -> Self {
        let find = |key: String| keys.iter().find(|found| found.key() == key.as_bytes());
        let holders = capped_groups().filter_map(|group| {
            let (_, holders) = contents(group, find(group.key())?.value_str().unwrap());
            (!holders.is_empty()).then(|| (group.name, holders.into_iter().collect()))
        });
        let has_changed = |key| find(key).is_some_and(|found| found.mod_revision() == revision);
        let written = capped_groups().filter(|group| {
            let keys = [group.key(), group.lock_times_key()];
            keys.into_iter().all(has_changed)
        });
        State {
            revision,
            holders: holders.collect(),
            written: written.map(|group| group.name).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPS: [&str; 3] = ["zone-a", "zone-b", "zone-c"];

    /// Checks states of the three groups, each with the groups that Airlock has written.
    fn check(states: &[([&[&str]; 3], &[&'static str])]) -> (bool, Summary) {
        let mut committed = Committed::new();
        for (revision, (holders, written)) in (1..).zip(states) {
            let holders = GROUPS.into_iter().zip(holders);
            let holders = holders.filter(|(_, nodes)| !nodes.is_empty());
            let set = |nodes: &[&str]| nodes.iter().map(ToString::to_string).collect();
            committed.check(State {
                revision,
                holders: holders.map(|(group, nodes)| (group, set(nodes))).collect(),
                written: written.iter().copied().collect(),
            });
        }
        (committed.violation.is_some(), committed.summary)
    }

    #[test]
    fn a_grant_above_the_cap_is_found() {
        let full = ([&["1", "2"][..], &["1"], &[]], &["zone-b"][..]);
        let one_more = ([&["1", "2"][..], &["1", "2"], &[]], &["zone-b"][..]);
        let one_less = ([&["1", "2"][..], &[], &[]], &["zone-b"][..]);
        assert!(check(&[one_less, full, one_more]).0);
        let (is_violated, summary) = check(&[one_less, full, one_less, full]);
        assert!(!is_violated);
        assert_eq!((summary.grants, summary.reached), (2, 2));
    }

    #[test]
    fn a_grant_in_one_group_too_many_is_found() {
        let two = ([&["1"][..], &["1"], &[]], &["zone-b"][..]);
        let three = ([&["1"][..], &["1"], &["1"]], &["zone-c"][..]);
        assert!(check(&[two, three]).0);
    }

    #[test]
    fn another_writer_may_exceed_the_cap_and_a_grant_on_top_of_that_is_found() {
        let full = ([&["1", "2"][..], &["1"], &[]], &["zone-b"][..]);
        let by_others = ([&["1", "2"][..], &["1"], &["1"]], &[][..]);
        let release = ([&["2"][..], &["1"], &["1"]], &["zone-a"][..]);
        let exchange = ([&["3"][..], &["1"], &["1"]], &["zone-a"][..]);
        let grant = ([&["1", "2", "3"][..], &["1"], &["1"]], &["zone-a"][..]);
        let (is_violated, summary) = check(&[full, by_others, release, exchange]);
        assert!(!is_violated);
        assert_eq!(summary.exceeded_by_others, 2);
        assert!(check(&[full, by_others, grant]).0);
    }
}
