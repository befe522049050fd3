//! Files that are reloaded when they change: certificates, keys, passwords, names.
//!
//! Their metadata is checked once a second, behind all symbolic links, so that the swapped link of a Kubernetes secret
//! counts as a change. A file that cannot be used is logged and reported to the caller; its previous content stays in
//! use. All functions here may block the thread for seconds, if a filesystem does not respond.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{iter, thread};

use parking_lot::Mutex;

use crate::file::{self, FileError, FileProblem};
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

    /// Reports whether a file that is not a certificate contains a secret.
    fn has_secrets(&self) -> bool {
        true
    }

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
    /// Locked during a reload: no older content replaces a newer one.
    reloading: Mutex<()>,
    /// The fingerprint at the first load.
    loaded: Option<Fingerprint>,
}

/// What the watcher knows about the files of an item. `None` means that the next checks have to find out.
#[derive(Clone, Default)]
struct Seen {
    /// The fingerprint of the files in use, or of those that cannot be used.
    loaded: Option<Fingerprint>,
    /// The fingerprint at the last check. `None`: the filesystem did not respond, which was reported.
    before: Option<Fingerprint>,
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
            reloading: Mutex::new(()),
            loaded: Fingerprint::of(&files.paths()).ok(),
            files,
        });
    }

    /// Reloads all items. `report` receives the key of each one, and whether it could be reloaded.
    pub(crate) fn reload_all(&self, report: impl Fn(&K, bool)) {
        for item in &self.items {
            report(&item.key, item.reload().is_ok());
        }
    }

    /// Reloads each item after a change of its files. Never returns.
    ///
    /// A change counts once two checks in a row have seen it: the two files of a pair are rarely written at the same
    /// moment.
    pub(crate) fn watch(&self, report: impl Fn(&K, bool)) {
        let first = |item: &Item<K>| Seen {
            loaded: item.loaded.clone(),
            before: item.loaded.clone(),
        };
        let mut seen: Vec<Seen> = self.items.iter().map(first).collect();
        loop {
            for (item, seen) in iter::zip(&self.items, &mut seen) {
                if let Some(successful) = item.check(seen) {
                    report(&item.key, successful);
                }
            }
            thread::sleep(INTERVAL);
        }
    }
}

// === impl Item ===

impl<K> Item<K> {
    /// Reloads the files if they have changed, and returns whether that succeeded. After a time without a response of
    /// their filesystem, which fails once, they count as changed.
    fn check(&self, seen: &mut Seen) -> Option<bool> {
        let now = match Fingerprint::of(&self.files.paths()) {
            Ok(now) => now,
            Err(error) => {
                let is_new = seen.before.is_some();
                *seen = Seen::default();
                return is_new.then(|| {
                    self.log_failure(&error);
                    false
                });
            }
        };
        let is_changed = seen.loaded.as_ref() != Some(&now) && seen.before.as_ref() == Some(&now);
        seen.before = Some(now.clone());
        is_changed.then(|| {
            warn_if_exposed(&*self.files);
            let reloaded = self.reload();
            match &reloaded {
                Err(error) if is_without_response(&**error) => *seen = Seen::default(),
                Ok(()) | Err(_) => seen.loaded = Some(now),
            }
            reloaded.is_ok()
        })
    }

    fn reload(&self) -> Result<(), ReloadError> {
        // Such as those of gates, of which a reload may remove the last one.
        if self.files.paths().is_empty() {
            return Ok(());
        }
        let _reloading = self.reloading.lock();
        let reloaded = self.files.reload();
        match &reloaded {
            Ok(()) => tracing::info!(what = self.files.what(), "files reloaded"),
            Err(error) => self.log_failure(&**error),
        }
        reloaded
    }

    fn log_failure(&self, error: &dyn Remedy) {
        let (what, reason) = (self.files.what(), explain(error));
        tracing::error!(
            what,
            reason,
            "files cannot be reloaded; their previous content stays in use"
        );
    }
}

/// Reports whether the filesystem of a file did not respond, which may pass without a change of the file.
fn is_without_response(error: &dyn Remedy) -> bool {
    let mut causes = iter::successors(error.source(), |cause| (*cause).source());
    causes.any(|cause| matches!(cause.downcast_ref(), Some(FileProblem::NoResponse(_))))
}

/// Logs a warning for each key or password file that every user can read.
fn warn_if_exposed(item: &dyn Reload) {
    if !item.has_secrets() {
        return;
    }
    for path in item.paths() {
        if let Some(text) = exposed_secret(&path) {
            let what = item.what();
            tracing::warn!(what, "{text}");
        }
    }
}

/// Returns the warning about a secret that every user of this machine can read. Certificates are public.
pub(crate) fn exposed_secret(path: &Path) -> Option<String> {
    if !is_secret(path) {
        return None;
    }
    file::call(path, exposure).ok().flatten()
}

fn is_secret(path: &Path) -> bool {
    // A file that contains only certificates is public. Any other file here is one of keys or passwords.
    file::read_text(path).is_ok_and(|text| {
        text.contains("PRIVATE KEY-----") || !text.contains("-----BEGIN CERTIFICATE-----")
    })
}

// === impl Fingerprint ===

impl Fingerprint {
    /// # Errors
    /// If the filesystem of a file does not respond.
    fn of(paths: &[PathBuf]) -> Result<Self, FileError> {
        let of_file = |path: &Path| {
            let metadata = path.metadata().ok()?;
            let (seconds, nanoseconds) = (metadata.ctime(), metadata.ctime_nsec());
            let (device, inode) = (metadata.dev().cast_signed(), metadata.ino().cast_signed());
            let size = metadata.size().cast_signed();
            Some([seconds, nanoseconds, device, inode, size])
        };
        let files = paths.iter().map(|path| file::call(path, of_file));
        Ok(Fingerprint(files.collect::<Result<_, _>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::{Error, ErrorKind};
    use std::os::unix::fs::symlink;

    /// A file of which each reload fails with the next of these problems, and succeeds when there is none left.
    struct Failing {
        path: PathBuf,
        problems: Mutex<Vec<FileProblem>>,
    }

    impl Reload for Failing {
        fn what(&self) -> String {
            "file".into()
        }

        fn paths(&self) -> Vec<PathBuf> {
            vec![self.path.clone()]
        }

        fn reload(&self) -> Result<(), ReloadError> {
            match self.problems.lock().pop() {
                Some(problem) => Err(FileError::new(&self.path, problem).into()),
                None => Ok(()),
            }
        }
    }

    /// Returns the results of five checks after a change of a file, of which the first reload fails.
    fn checks(problem: FileProblem) -> [Option<bool>; 5] {
        let file = tempfile::NamedTempFile::new().unwrap();
        let item = Item {
            key: (),
            files: Arc::new(Failing {
                path: file.path().into(),
                problems: Mutex::new(vec![problem]),
            }),
            reloading: Mutex::new(()),
            loaded: None,
        };
        let mut seen = Seen::default();
        [(); 5].map(|()| item.check(&mut seen))
    }

    #[test]
    fn a_file_that_cannot_be_used_is_reloaded_when_it_changes_again() {
        let problem = Error::from(ErrorKind::PermissionDenied).into();
        assert_eq!(checks(problem), [None, Some(false), None, None, None]);
    }

    #[test]
    fn a_file_that_was_not_read_in_time_is_reloaded_without_another_change() {
        let problem = FileProblem::NoResponse(Duration::ZERO);
        let expected = [None, Some(false), None, Some(true), None];
        assert_eq!(checks(problem), expected);
    }

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
        let fingerprint = || Fingerprint::of(&[path("key"), path("absent")]).unwrap();
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
