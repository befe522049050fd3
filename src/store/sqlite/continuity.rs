//! The continuity of the contents: whether a file contains everything that this process has seen in the store.
//!
//! Each write gives the clock of the file a new revision and a new random token. The file keeps the latest tokens, and one
//! of the store, so it is a continuation of what a process has seen if and only if it has the token of the revision that
//! the process saw last. A copy that is older lacks the revision; one that was written to since has another token for it;
//! another store has another token of its own.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::lock::GroupName;
use crate::lock::codec::{Revision, Stored, Value};

/// The number of bytes of one token.
pub(super) const TOKEN_BYTES: usize = 8;

/// The number of tokens that a file keeps, with that of the store.
pub(super) const MAX_TOKENS: usize = 256;

/// The clock of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    /// The revision of the last write.
    pub(super) revision: i64,
    /// The tokens of the last writes, the latest one first, and at the end that of the store.
    pub(super) tokens: Vec<u8>,
}

/// The contents of the store that this process saw last.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    clock: Option<Clock>,
    /// The revision and a hash of the value of each group.
    groups: HashMap<GroupName, (Revision, u64)>,
}

/// The reason why the contents are not a continuation of those that this process has seen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Discontinuity {
    #[error(
        "it is older than the store that this server has used (write {found} instead of {seen})"
    )]
    Older { found: i64, seen: i64 },
    #[error("it was written to apart from the store that this server has used")]
    Diverged,
    #[error("it is another store than the one that this server has used")]
    Foreign,
    #[error("its value of group {0} is not the one that this server has seen")]
    Group(GroupName),
}

// === impl Clock ===

impl Clock {
    /// Verifies that `now` is this clock or a later state of it. With `strict`, a clock that has advanced by more writes
    /// than the file keeps tokens is refused too.
    pub(super) fn check_continued_by(
        &self,
        now: &Clock,
        strict: bool,
    ) -> Result<(), Discontinuity> {
        let Ok(writes) = usize::try_from(now.revision.saturating_sub(self.revision)) else {
            return Err(Discontinuity::Older {
                found: now.revision,
                seen: self.revision,
            });
        };
        if self.tokens.last_chunk::<TOKEN_BYTES>() != now.tokens.last_chunk() {
            return Err(Discontinuity::Foreign);
        }
        let expected = self.tokens.get(..TOKEN_BYTES);
        let start = writes.saturating_mul(TOKEN_BYTES);
        let latest = &now.tokens[..now.tokens.len().saturating_sub(TOKEN_BYTES)];
        match latest.get(start..start.saturating_add(TOKEN_BYTES)) {
            token if token == expected => Ok(()),
            None if !strict && writes > 0 => Ok(()),
            _ => Err(Discontinuity::Diverged),
        }
    }
}

// === impl Memory ===

impl Memory {
    /// Verifies that the file with the clock `now` is a continuation; see [`Clock::check_continued_by`].
    pub(super) fn check_clock(&self, now: &Clock, strict: bool) -> Result<(), Discontinuity> {
        self.clock
            .as_ref()
            .map_or(Ok(()), |seen| seen.check_continued_by(now, strict))
    }

    /// Verifies that the value of a group is the last one that was seen, or a later one. The clock alone does not prove
    /// that, if a file was overwritten while SQLite had parts of another one in its write-ahead log.
    pub(super) fn check_group(
        &self,
        group: &GroupName,
        stored: &Stored,
    ) -> Result<(), Discontinuity> {
        // No write has this revision yet.
        if stored.revision > stored.as_of {
            return Err(Discontinuity::Group(group.clone()));
        }
        match self.groups.get(group) {
            Some(&(revision, _)) if stored.revision > revision => Ok(()),
            Some(seen) if *seen != fingerprint(stored.revision, stored.value.as_ref()) => {
                Err(Discontinuity::Group(group.clone()))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Returns the groups that were seen.
    pub(super) fn groups(&self) -> impl Iterator<Item = &GroupName> {
        self.groups.keys()
    }

    /// Takes a clock that was read or written.
    pub(super) fn set_clock(&mut self, clock: Clock) {
        self.clock = Some(clock);
    }

    /// Takes a value that was read or written.
    pub(super) fn set_group(
        &mut self,
        group: &GroupName,
        revision: Revision,
        value: Option<&Value>,
    ) {
        let fingerprint = fingerprint(revision, value);
        match self.groups.get_mut(group) {
            Some(seen) => *seen = fingerprint,
            None => drop(self.groups.insert(group.clone(), fingerprint)),
        }
    }
}

fn fingerprint(revision: Revision, value: Option<&Value>) -> (Revision, u64) {
    let mut hasher = DefaultHasher::new();
    if let Some(value) = value {
        value.semaphore.hash(&mut hasher);
        value.lock_times.current().hash(&mut hasher);
    }
    (revision, hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::codec::LockTimes;

    /// Returns the clock after the writes with these tokens, the latest one last, in the store with the token 0.
    fn clock(writes: &[u8]) -> Clock {
        clock_of(0, writes)
    }

    fn clock_of(store: u8, writes: &[u8]) -> Clock {
        let latest = writes.iter().rev().take(MAX_TOKENS - 1);
        let tokens = latest.chain([&store]);
        Clock {
            revision: writes.len() as i64,
            tokens: tokens.flat_map(|write| [*write; TOKEN_BYTES]).collect(),
        }
    }

    #[test]
    fn only_the_same_file_with_more_writes_is_a_continuation() {
        let seen = clock(&[1, 2, 3]);
        for (now, expected) in [
            (clock(&[1, 2, 3]), Ok(())),
            (clock(&[1, 2, 3, 4, 5]), Ok(())),
            (
                clock(&[1, 2]),
                Err(Discontinuity::Older { found: 2, seen: 3 }),
            ),
            (clock(&[1, 2, 9]), Err(Discontinuity::Diverged)),
            (clock(&[1, 2, 9, 9, 9]), Err(Discontinuity::Diverged)),
            (clock(&[]), Err(Discontinuity::Older { found: 0, seen: 3 })),
            (
                Clock {
                    revision: 3,
                    tokens: Vec::new(),
                },
                Err(Discontinuity::Foreign),
            ),
            (
                Clock {
                    revision: 3,
                    tokens: vec![0; TOKEN_BYTES],
                },
                Err(Discontinuity::Diverged),
            ),
            (clock_of(1, &[1, 2, 3]), Err(Discontinuity::Foreign)),
            (
                clock_of(1, &[4; 2 * MAX_TOKENS]),
                Err(Discontinuity::Foreign),
            ),
        ] {
            for strict in [false, true] {
                assert_eq!(seen.check_continued_by(&now, strict), expected, "{now:?}");
            }
        }
    }

    #[test]
    fn more_writes_than_tokens_are_a_continuation_only_of_a_file_that_stayed_open() {
        let mut writes = vec![1, 2, 3];
        let seen = clock(&writes);
        writes.extend([4; MAX_TOKENS]);
        let now = clock(&writes);
        assert_eq!(seen.check_continued_by(&now, false), Ok(()));
        assert_eq!(
            seen.check_continued_by(&now, true),
            Err(Discontinuity::Diverged)
        );
        // The token of the store is not taken for that of a write.
        let now = clock(&writes[..MAX_TOKENS + 2]);
        assert_eq!(
            seen.check_continued_by(&now, true),
            Err(Discontinuity::Diverged)
        );
        let now = clock(&writes[..MAX_TOKENS + 1]);
        assert_eq!(seen.check_continued_by(&now, true), Ok(()));
    }

    #[test]
    fn an_older_or_different_value_of_a_group_is_noticed() {
        let group = GroupName::new("g").unwrap();
        let stored = |revision, text: &str| Stored {
            revision: Revision(revision),
            value: Some(Value {
                semaphore: text.into(),
                lock_times: LockTimes::Absent,
            }),
            as_of: Revision(9),
        };
        let mut memory = Memory::default();
        let seen = stored(5, "a");
        memory.set_group(&group, seen.revision, seen.value.as_ref());
        let refused = Err(Discontinuity::Group(group.clone()));
        assert_eq!(memory.check_group(&group, &stored(5, "a")), Ok(()));
        assert_eq!(memory.check_group(&group, &stored(6, "b")), Ok(()));
        assert_eq!(memory.check_group(&group, &stored(5, "b")), refused);
        assert_eq!(memory.check_group(&group, &stored(4, "a")), refused);
        let absent = Stored::absent(Revision(9));
        assert_eq!(memory.check_group(&group, &absent), refused);
        assert_eq!(memory.check_group(&group, &stored(10, "b")), refused);
    }
}
