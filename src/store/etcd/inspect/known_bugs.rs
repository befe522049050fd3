//! The bugs of etcd that matter to the locks, by version.

use std::fmt;

/// A bug of etcd, and the first release of each minor series without it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct KnownBug {
    /// The effect, as the continuation of "this version …".
    effect: &'static str,
    /// The issue or pull request of etcd-io/etcd.
    issue: u32,
    /// The first version with the bug.
    since: Version,
    /// The first version of each minor series without it, the oldest series first. Later series never had it.
    fixed: &'static [Version],
    /// Whether only a cluster with a single member has it.
    only_single_member: bool,
}

/// A version of etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

const fn version(minor: u32, patch: u32) -> Version {
    Version {
        major: 3,
        minor,
        patch,
    }
}

/// Source: the changelogs of etcd (CHANGELOG/CHANGELOG-3.4.md to CHANGELOG-3.6.md), and the issues.
const KNOWN_BUGS: &[KnownBug] = &[
    KnownBug {
        effect: "can return an outdated value for a linearizable read after its process was paused",
        issue: 20418,
        since: version(0, 0),
        fixed: &[version(4, 42), version(5, 28), version(6, 9)],
        only_single_member: false,
    },
    KnownBug {
        effect: "can lose or diverge data if a member is killed under load",
        issue: 13766,
        since: version(5, 0),
        fixed: &[version(5, 3)],
        only_single_member: false,
    },
    KnownBug {
        effect: "can count revisions differently from the other members if it is killed during a defragmentation",
        issue: 14733,
        since: version(5, 0),
        fixed: &[version(5, 6)],
        only_single_member: false,
    },
    KnownBug {
        effect: "can lose a confirmed write of a cluster with a single member if it crashes",
        issue: 14370,
        since: version(0, 0),
        fixed: &[version(4, 21), version(5, 5)],
        only_single_member: true,
    },
    KnownBug {
        effect: "can reuse revisions after a crash during a compaction",
        issue: 17780,
        since: version(0, 0),
        fixed: &[version(4, 32), version(5, 14)],
        only_single_member: false,
    },
    KnownBug {
        effect: "can corrupt its data if it is defragmented while it applies a snapshot of the leader",
        issue: 20271,
        since: version(0, 0),
        fixed: &[version(4, 38), version(5, 23), version(6, 5)],
        only_single_member: false,
    },
    KnownBug {
        effect: "rejects transactions that only read while it is out of space",
        issue: 13435,
        since: version(0, 0),
        fixed: &[version(4, 20), version(5, 7)],
        only_single_member: false,
    },
];

/// Returns the known bugs of a version, each with the first version of its series that fixes it, or of the next series
/// if its own has no such release.
pub(super) fn known_bugs(
    version: Version,
    is_single_member: bool,
) -> Vec<(&'static KnownBug, Version)> {
    KNOWN_BUGS
        .iter()
        .filter(|bug| is_single_member || !bug.only_single_member)
        .filter_map(|bug| Some((bug, bug.fixed_after(version)?)))
        .collect()
}

// === impl KnownBug ===

impl KnownBug {
    /// Returns the version to upgrade to; `None`: this version does not have the bug.
    fn fixed_after(&self, version: Version) -> Option<Version> {
        let series = |version: &Version| (version.major, version.minor);
        let fixed = self
            .fixed
            .iter()
            .find(|fixed| series(fixed) >= series(&version))?;
        (self.since <= version && version < *fixed).then_some(*fixed)
    }
}

impl fmt::Display for KnownBug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (etcd-io/etcd #{})", self.effect, self.issue)
    }
}

// === impl Version ===

impl Version {
    /// Parses a version such as `3.5.1` or `3.6.0-rc.1`; the part after a hyphen is ignored.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let number = text.split(['-', '+']).next()?;
        let mut parts = number.split('.').map(|part| part.parse().ok());
        let version = Version {
            major: parts.next()??,
            minor: parts.next()??,
            patch: parts.next()??,
        };
        parts.next().is_none().then_some(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Version {
            major,
            minor,
            patch,
        } = self;
        write!(f, "{major}.{minor}.{patch}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the issues and the versions that fix them.
    fn bugs(text: &str, is_single_member: bool) -> Vec<(u32, String)> {
        known_bugs(Version::parse(text).unwrap(), is_single_member)
            .into_iter()
            .map(|(bug, fixed)| (bug.issue, fixed.to_string()))
            .collect()
    }

    fn issues(text: &str) -> Vec<u32> {
        bugs(text, true)
            .into_iter()
            .map(|(issue, _)| issue)
            .collect()
    }

    #[test]
    fn each_bug_ends_with_the_release_that_fixes_it() {
        for (last, fixed, issue) in [
            ("3.4.41", "3.4.42", 20418),
            ("3.5.27", "3.5.28", 20418),
            ("3.6.8", "3.6.9", 20418),
            ("3.5.2", "3.5.3", 13766),
            ("3.5.5", "3.5.6", 14733),
            ("3.4.20", "3.4.21", 14370),
            ("3.5.4", "3.5.5", 14370),
            ("3.4.31", "3.4.32", 17780),
            ("3.5.13", "3.5.14", 17780),
            ("3.4.37", "3.4.38", 20271),
            ("3.5.22", "3.5.23", 20271),
            ("3.6.4", "3.6.5", 20271),
            ("3.4.19", "3.4.20", 13435),
            ("3.5.6", "3.5.7", 13435),
        ] {
            assert!(
                bugs(last, true).contains(&(issue, fixed.to_owned())),
                "{last} {issue}"
            );
            assert!(!issues(fixed).contains(&issue), "{fixed} {issue}");
        }
    }

    #[test]
    fn the_packaged_versions_have_these_bugs() {
        assert_eq!(issues("3.4.23"), [20418, 17780, 20271]);
        assert_eq!(
            issues("3.5.1"),
            [20418, 13766, 14733, 14370, 17780, 20271, 13435]
        );
        assert_eq!(issues("3.5.16"), [20418, 20271]);
        assert_eq!(issues("3.5.30"), [0; 0]);
        assert_eq!(issues("3.6.9"), [0; 0]);
        assert_eq!(issues("3.7.0"), [0; 0]);
        assert_eq!(issues("4.0.0"), [0; 0]);
    }

    #[test]
    fn a_series_without_a_fixed_release_needs_the_next_one() {
        let fixed: Vec<_> = bugs("3.3.27", true)
            .into_iter()
            .map(|(_, fixed)| fixed)
            .collect();
        assert_eq!(fixed, ["3.4.42", "3.4.21", "3.4.32", "3.4.38", "3.4.20"]);
    }

    #[test]
    fn the_bug_of_single_members_does_not_concern_other_clusters() {
        assert!(
            bugs("3.5.1", false)
                .iter()
                .all(|(issue, _)| *issue != 14370)
        );
    }

    #[test]
    fn versions_are_parsed_with_and_without_a_suffix() {
        let parse = |text| Version::parse(text).map(|version| version.to_string());
        assert_eq!(parse("3.5.1"), Some("3.5.1".into()));
        assert_eq!(parse("3.6.0-rc.1"), Some("3.6.0".into()));
        assert_eq!(parse("3.4.23+dfsg"), Some("3.4.23".into()));
        for text in ["", "3", "3.5", "3.5.1.2", "3.x.1", "v3.5.1"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
