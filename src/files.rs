//! Files that are read again when they change: certificates, keys, passwords.
//!
//! They are looked at once a second, by their metadata behind all symbolic links, so that the swapped
//! link of a Kubernetes secret counts as a change. What cannot be used is said, counted, and not put in use.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;
use tokio::time::{self, MissedTickBehavior};

/// How often files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// Something in use that was made of files, and can be made of them again.
pub trait FromFiles: Send + Sync {
    /// What it is, for the log.
    fn what(&self) -> String;

    /// The files, in the order of their names in the configuration.
    fn paths(&self) -> Vec<PathBuf>;

    /// Reads the files and puts what is in them in use.
    ///
    /// # Errors
    /// Why they cannot be used, naming the file. What was in use still is.
    fn reload(&self) -> Result<(), String>;
}

/// Everything that was made of files.
#[derive(Default)]
pub struct Watched {
    items: Vec<Item>,
}

struct Item {
    files: Arc<dyn FromFiles>,
    failures: IntCounter,
    /// When they were first read.
    look: Look,
}

/// What files look like from outside. `None`: it cannot be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Look(Vec<Option<[i64; 5]>>);

// === impl Watched ===

impl Watched {
    /// Something that has just been made; `failures` counts when it cannot be made again.
    pub fn push(&mut self, files: Arc<dyn FromFiles>, failures: IntCounter) {
        warn_of_open_files(&*files);
        self.items.push(Item {
            look: Look::at(&files.paths()),
            files,
            failures,
        });
    }

    /// Reads everything again, as SIGHUP asks for.
    pub fn reload_all(&self) {
        for item in &self.items {
            item.reload();
        }
    }

    /// Reads again what has changed. Never ends.
    ///
    /// A change counts when it has been the same for two looks: the two files of a pair are seldom
    /// written at the same moment.
    pub async fn watch(&self) {
        let mut loaded: Vec<Look> = self.items.iter().map(|item| item.look.clone()).collect();
        let mut before = loaded.clone();
        let mut tick = time::interval(INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            for (index, item) in self.items.iter().enumerate() {
                let now = Look::at(&item.files.paths());
                if now != loaded[index] && now == before[index] {
                    warn_of_open_files(&*item.files);
                    item.reload();
                    loaded[index] = now.clone();
                }
                before[index] = now;
            }
        }
    }
}

// === impl Item ===

impl Item {
    fn reload(&self) {
        let what = self.files.what();
        match self.files.reload() {
            Ok(()) => tracing::info!(what, "files were read again"),
            Err(reason) => {
                self.failures.inc();
                tracing::error!(what, %reason, "files cannot be used, what was in use stays");
            }
        }
    }
}

/// Certificates are for everybody; a key or a password that others can read is no secret.
fn warn_of_open_files(item: &dyn FromFiles) {
    for path in item.paths() {
        let Ok(metadata) = std::fs::metadata(&path) else {
            continue;
        };
        if metadata.mode() & 0o007 != 0 && is_secret(&path) {
            let (path, what) = (path.display(), item.what());
            tracing::warn!(what, %path, "a secret that every user of this machine can open: chmod o= it");
        }
    }
}

fn is_secret(path: &Path) -> bool {
    // A file with certificates alone is public; anything else here is a key or has passwords.
    std::fs::read_to_string(path).is_ok_and(|text| {
        text.contains("PRIVATE KEY-----") || !text.contains("-----BEGIN CERTIFICATE-----")
    })
}

// === impl Look ===

impl Look {
    fn at(paths: &[PathBuf]) -> Self {
        let look = |path: &PathBuf| {
            let metadata = std::fs::metadata(path).ok()?;
            let (seconds, nanoseconds) = (metadata.ctime(), metadata.ctime_nsec());
            let (device, inode) = (metadata.dev().cast_signed(), metadata.ino().cast_signed());
            let size = metadata.size().cast_signed();
            Some([seconds, nanoseconds, device, inode, size])
        };
        Look(paths.iter().map(look).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_swapped_link_and_a_written_file_look_different() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        // As the kubelet does: file -> ..data/file, ..data -> a folder that is never written again.
        for version in ["one", "two"] {
            fs::create_dir(path(version)).unwrap();
            fs::write(path(version).join("key"), "same size").unwrap();
        }
        symlink("one", path("..data")).unwrap();
        symlink("..data/key", path("key")).unwrap();
        let look = || Look::at(&[path("key"), path("absent")]);
        let first = look();
        assert_eq!(look(), first);
        symlink("two", path("..new")).unwrap();
        fs::rename(path("..new"), path("..data")).unwrap();
        let second = look();
        assert_ne!(second, first);
        fs::write(path("two/key"), "other size of content").unwrap();
        assert_ne!(look(), second);
        fs::remove_file(path("key")).unwrap();
        assert_eq!(look(), Look(vec![None, None]));
    }

    #[test]
    fn certificates_are_no_secret_and_everything_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let secret = |text: &str| {
            let path = folder.path().join("file");
            fs::write(&path, text).unwrap();
            is_secret(&path)
        };
        let certificate = "-----BEGIN CERTIFICATE-----\n";
        let key = "-----BEGIN EC PRIVATE KEY-----\n";
        assert!(!secret(certificate));
        assert!(secret(key));
        assert!(secret(&format!("{certificate}{key}")));
        assert!(secret("node:$2y$05$abc\n"));
    }
}
