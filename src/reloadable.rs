//! Files that are reloaded when they change: certificates, keys, passwords.
//!
//! Their metadata is checked once a second, behind all symbolic links, so that the swapped link of a Kubernetes secret
//! counts as a change. A file that cannot be used is logged and reported to the caller; its previous content stays in
//! use.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{self, MissedTickBehavior};

use crate::text::explain::{Remedy, explain};
use crate::text::permission::exposure;

/// The interval between two checks.
const INTERVAL: Duration = Duration::from_secs(1);

/// Something that was loaded from files and can be reloaded from them.
pub(crate) trait Reload: Send + Sync {
    /// Returns its name for the log.
    fn what(&self) -> String;

    /// Returns the files, in the order of their keys in the configuration.
    fn paths(&self) -> Vec<PathBuf>;

    /// Reads the files and uses their content from now on.
    ///
    /// # Errors
    /// If the files cannot be used. The error names the file; the previous content stays in use.
    fn reload(&self) -> Result<(), ReloadError>;
}

/// The reason why files cannot be reloaded.
pub(crate) type ReloadError = Box<dyn Remedy>;

impl<E: Remedy + 'static> From<E> for ReloadError {
    fn from(error: E) -> Self {
        Box::new(error)
    }
}

/// Watches files, and reloads what was loaded from them. Each item has a key `K`, under which its reloads are reported.
pub(crate) struct FileWatcher<K> {
    items: Vec<Item<K>>,
}

struct Item<K> {
    key: K,
    files: Arc<dyn Reload>,
    /// The fingerprint at the first load.
    loaded: Fingerprint,
}

/// The identity and the times of files. `None`: the metadata of the file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fingerprint(Vec<Option<[i64; 5]>>);

// === impl FileWatcher ===

impl<K> FileWatcher<K> {
    pub(crate) fn new() -> Self {
        FileWatcher { items: Vec::new() }
    }

    /// Adds an item that was just loaded.
    pub(crate) fn push(&mut self, key: K, files: Arc<dyn Reload>) {
        warn_if_exposed(&*files);
        self.items.push(Item {
            key,
            loaded: Fingerprint::of(&files.paths()),
            files,
        });
    }

    /// Reloads all items. `report` receives the key of each one, and whether it could be reloaded.
    pub(crate) fn reload_all(&self, report: impl Fn(&K, bool)) {
        for item in &self.items {
            report(&item.key, item.reload());
        }
    }

    /// Reloads each item after a change of its files. Never returns.
    ///
    /// A change counts once two checks in a row have seen it: the two files of a pair are rarely written at the same
    /// moment.
    pub(crate) async fn watch(&self, report: impl Fn(&K, bool)) {
        let mut loaded: Vec<Fingerprint> =
            self.items.iter().map(|item| item.loaded.clone()).collect();
        let mut before = loaded.clone();
        let mut tick = time::interval(INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            for (index, item) in self.items.iter().enumerate() {
                let now = Fingerprint::of(&item.files.paths());
                if now != loaded[index] && now == before[index] {
                    warn_if_exposed(&*item.files);
                    report(&item.key, item.reload());
                    loaded[index] = now.clone();
                }
                before[index] = now;
            }
        }
    }
}

// === impl Item ===

impl<K> Item<K> {
    fn reload(&self) -> bool {
        let what = self.files.what();
        match self.files.reload() {
            Ok(()) => {
                tracing::info!(what, "files reloaded");
                true
            }
            Err(error) => {
                let reason = explain(&*error);
                tracing::error!(
                    what,
                    reason,
                    "files cannot be reloaded; their previous content stays in use"
                );
                false
            }
        }
    }
}

/// Logs a warning for each key or password file that every user can read.
fn warn_if_exposed(item: &dyn Reload) {
    for path in item.paths() {
        if let Some(text) = exposed_secret(&path) {
            let what = item.what();
            tracing::warn!(what, "{text}");
        }
    }
}

/// Returns the warning about a secret that every user of this machine can read. Certificates are public.
pub(crate) fn exposed_secret(path: &Path) -> Option<String> {
    exposure(path).filter(|_| is_secret(path))
}

fn is_secret(path: &Path) -> bool {
    // A file that contains only certificates is public. Any other file here contains a key or passwords.
    std::fs::read_to_string(path).is_ok_and(|text| {
        text.contains("PRIVATE KEY-----") || !text.contains("-----BEGIN CERTIFICATE-----")
    })
}

// === impl Fingerprint ===

impl Fingerprint {
    fn of(paths: &[PathBuf]) -> Self {
        let of_file = |path: &PathBuf| {
            let metadata = std::fs::metadata(path).ok()?;
            let (seconds, nanoseconds) = (metadata.ctime(), metadata.ctime_nsec());
            let (device, inode) = (metadata.dev().cast_signed(), metadata.ino().cast_signed());
            let size = metadata.size().cast_signed();
            Some([seconds, nanoseconds, device, inode, size])
        };
        Fingerprint(paths.iter().map(of_file).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_swapped_link_and_a_written_file_change_the_fingerprint() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        // As the kubelet does it: file -> ..data/file, ..data -> a folder that is never written again.
        for version in ["one", "two"] {
            fs::create_dir(path(version)).unwrap();
            fs::write(path(version).join("key"), "same size").unwrap();
        }
        symlink("one", path("..data")).unwrap();
        symlink("..data/key", path("key")).unwrap();
        let fingerprint = || Fingerprint::of(&[path("key"), path("absent")]);
        let first = fingerprint();
        assert_eq!(fingerprint(), first);
        symlink("two", path("..new")).unwrap();
        fs::rename(path("..new"), path("..data")).unwrap();
        let second = fingerprint();
        assert_ne!(second, first);
        fs::write(path("two/key"), "other size of content").unwrap();
        assert_ne!(fingerprint(), second);
        fs::remove_file(path("key")).unwrap();
        assert_eq!(fingerprint(), Fingerprint(vec![None, None]));
    }

    #[test]
    fn certificates_are_public_and_every_other_file_is_secret() {
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
