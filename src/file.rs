//! The files that an operator names: the configuration, passwords, certificates and keys.
//!
//! A call to a filesystem may never return, for example if it is that of an NFS server that is gone. Each call here runs
//! on a thread of its own, which is left behind after a timeout. While it hangs, calls for the same path fail at once; they
//! are made again after a minute, and then each time after twice as long, at most 10 minutes: the path may lead to another
//! filesystem by then. The pauses grow further while many threads hang, so that they do not become too many.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::fs::OFlags;

use crate::text::explain::Remedy;
use crate::text::permission::permission_remedy;

/// The maximum size of a file.
const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// The number of hanging calls from which on the pause between two calls for a path has no maximum.
const MANY_HANGING: usize = 64;

/// The calls of this process.
static CALLS: Calls = Calls {
    timeout: Duration::from_secs(5),
    timeout_beside_hanging: Duration::from_secs(1),
    retry_after: Duration::from_secs(60),
    max_pause: Duration::from_secs(600),
    hanging: Mutex::new(Vec::new()),
};

/// The reason why a file cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot be read", path.display())]
pub struct FileError {
    path: PathBuf,
    /// The problem, without the path.
    #[source]
    pub(crate) problem: FileProblem,
}

/// The problem with a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileProblem {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is a {0}, not a regular file")]
    NotRegular(&'static str),
    #[error("it has {0} bytes, more than the maximum of {MAX_BYTES}")]
    TooLarge(u64),
    #[error("its filesystem has not responded for {} s", .0.as_secs())]
    NoResponse(Duration),
}

/// Reads a file of at most 8 MiB. Blocks the thread for at most 5 s.
///
/// # Errors
/// If the file cannot be read, is not a regular file, or is too large.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let read = call(path, read_regular)?;
    read.map_err(|problem| FileError::new(path, problem))
}

/// Reads a text file in the same way.
///
/// # Errors
/// The same as those of [`read`], and if the file is not UTF-8.
pub(crate) fn read_text(path: &Path) -> Result<String, FileError> {
    let text = String::from_utf8(read(path)?);
    text.map_err(|error| FileError::new(path, io::Error::new(ErrorKind::InvalidData, error)))
}

/// Makes another call to the filesystem of the file at `path`. Blocks the thread for at most 5 s.
///
/// # Errors
/// If the call does not return in time.
pub(crate) fn call<T: Send + 'static>(
    path: &Path,
    call: impl FnOnce(&Path) -> T + Send + 'static,
) -> Result<T, FileError> {
    let returned = CALLS.run(path, call);
    returned.map_err(|problem| FileError::new(path, problem))
}

fn read_regular(path: &Path) -> Result<Vec<u8>, FileProblem> {
    // Opening a device may change its state.
    check(&fs::metadata(path)?)?;
    let file = open(path)?;
    // The file may have been replaced since.
    check(&file.metadata()?)?;
    read_up_to_maximum(file)
}

/// Opens a file. Does not wait for the writer of a FIFO.
fn open(path: &Path) -> io::Result<File> {
    let no_wait = OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new()
        .read(true)
        .custom_flags(no_wait)
        .open(path)
}

fn read_up_to_maximum(file: File) -> Result<Vec<u8>, FileProblem> {
    let mut content = Vec::new();
    // The file may grow, and those of /proc have no size.
    let bytes = file.take(MAX_BYTES + 1).read_to_end(&mut content)? as u64;
    if bytes > MAX_BYTES {
        return Err(FileProblem::TooLarge(bytes));
    }
    Ok(content)
}

fn check(file: &Metadata) -> Result<(), FileProblem> {
    let found = file.file_type();
    let kind = match () {
        () if found.is_file() && file.len() > MAX_BYTES => {
            return Err(FileProblem::TooLarge(file.len()));
        }
        () if found.is_file() => return Ok(()),
        () if found.is_dir() => "directory",
        () if found.is_fifo() => "FIFO",
        () if found.is_socket() => "socket",
        () => "device",
    };
    Err(FileProblem::NotRegular(kind))
}

// === impl FileError ===

impl FileError {
    /// Creates an error about the file at `path`.
    pub(crate) fn new(path: &Path, problem: impl Into<FileProblem>) -> Self {
        FileError {
            path: path.to_owned(),
            problem: problem.into(),
        }
    }
}

impl Remedy for FileError {
    fn remedy(&self) -> Option<String> {
        let text = match &self.problem {
            FileProblem::Io(error) => match error.kind() {
                ErrorKind::PermissionDenied => return Some(permission_remedy(&self.path)),
                ErrorKind::NotFound | ErrorKind::NotADirectory if self.path.is_relative() => {
                    return Some(format!(
                        "create the file, or correct the path, which is relative to the working directory {}",
                        std::env::current_dir().unwrap_or_default().display()
                    ));
                }
                ErrorKind::NotFound | ErrorKind::NotADirectory => {
                    "create the file, or correct the path"
                }
                ErrorKind::InvalidData => "save the file as UTF-8 text",
                _ => return None,
            },
            FileProblem::NotRegular(_) => "replace it with a regular file, or correct the path",
            FileProblem::TooLarge(_) => "shorten the file, or correct the path",
            FileProblem::NoResponse(_) => {
                "check that the filesystem is mounted and its server reachable"
            }
        };
        Some(text.into())
    }
}

/// Calls to filesystems, each on a thread of its own.
struct Calls {
    timeout: Duration,
    /// The timeout while another call hangs, probably on the same filesystem.
    timeout_beside_hanging: Duration,
    /// The time after which a call is made for a path of which another call hangs.
    retry_after: Duration,
    /// The maximum time between two such calls, unless many calls hang.
    max_pause: Duration,
    hanging: Mutex<Vec<Call>>,
}

/// A call that has not returned in time.
struct Call {
    path: PathBuf,
    started: Instant,
    thread: JoinHandle<()>,
}

// === impl Calls ===

impl Calls {
    fn run<T: Send + 'static>(
        &self,
        path: &Path,
        call: impl FnOnce(&Path) -> T + Send + 'static,
    ) -> Result<T, FileProblem> {
        let started = Instant::now();
        let timeout = self.timeout_for(path, started)?;
        let path = path.to_owned();
        let (sender, receiver) = mpsc::channel();
        let called = path.clone();
        let thread = thread::Builder::new().name("file".into()).spawn(move || {
            // The receiver may have given up.
            let _ = sender.send(call(&called));
        })?;
        match receiver.recv_timeout(timeout) {
            Ok(result) => Ok(result),
            Err(RecvTimeoutError::Timeout) => {
                let hanging = Call {
                    path,
                    started,
                    thread,
                };
                self.hanging.lock().push(hanging);
                Err(FileProblem::NoResponse(timeout))
            }
            Err(RecvTimeoutError::Disconnected) => {
                Err(io::Error::other("the thread of the call panicked").into())
            }
        }
    }

    /// Returns the timeout of a call.
    ///
    /// # Errors
    /// If an earlier call for the same path still hangs.
    fn timeout_for(&self, path: &Path, now: Instant) -> Result<Duration, FileProblem> {
        let mut hanging = self.hanging.lock();
        hanging.retain(|call| !call.thread.is_finished());
        let same = hanging.iter().filter(|call| call.path == path);
        let started = same.map(|call| call.started);
        if let (Some(first), Some(last)) = (started.clone().min(), started.max()) {
            let mut pause = self.retry_after.max(last - first);
            if hanging.len() < MANY_HANGING {
                pause = pause.min(self.max_pause);
            }
            if now < last + pause {
                return Err(FileProblem::NoResponse(now - first));
            }
        }
        Ok(if hanging.is_empty() {
            self.timeout
        } else {
            self.timeout_beside_hanging
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use crate::text::explain::explain;

    #[test]
    fn only_regular_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "text").unwrap();
        mknodat(CWD, path("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        assert_eq!(read_text(&path("file")).unwrap(), "text");
        for (path, found) in [
            (path("fifo"), "FIFO"),
            (path("socket"), "socket"),
            (folder.path().into(), "directory"),
            ("/dev/null".into(), "device"),
        ] {
            let expected = format!(
                "{}: cannot be read: it is a {found}, not a regular file; replace it with a regular file, or correct \
                 the path",
                path.display()
            );
            assert_eq!(explain(&read(&path).unwrap_err()), expected);
        }
        // As if it had replaced a file after the first check.
        let fifo = call(&path("fifo"), open).unwrap().unwrap();
        assert!(check(&fifo.metadata().unwrap()).is_err());
    }

    #[test]
    fn a_file_of_8_mib_is_read_and_a_larger_one_is_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(MAX_BYTES).unwrap();
        assert_eq!(read(file.path()).unwrap().len() as u64, MAX_BYTES);
        file.as_file().set_len(MAX_BYTES + 1).unwrap();
        let error = read(file.path()).unwrap_err();
        let expected = "it has 8388609 bytes, more than the maximum of 8388608; shorten the file";
        assert!(explain(&error).contains(expected), "{error:?}");
        // As a file that grows after the check.
        let grown = read_up_to_maximum(file.reopen().unwrap());
        assert!(matches!(grown, Err(FileProblem::TooLarge(8_388_609))));
    }

    #[test]
    fn a_missing_file_has_to_be_created_or_named_correctly() {
        let remedy = |path| read(Path::new(path)).unwrap_err().remedy().unwrap();
        assert_eq!(remedy("/missing/a"), "create the file, or correct the path");
        let relative = remedy("missing");
        assert!(
            relative.contains("relative to the working directory /"),
            "{relative}"
        );
        let other = FileError::new(Path::new("/a"), io::Error::from(ErrorKind::Other));
        assert_eq!(other.remedy(), None);
    }

    #[test]
    fn text_is_utf_8() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), b"\xff").unwrap();
        let error = read_text(file.path()).unwrap_err();
        assert_eq!(error.remedy().unwrap(), "save the file as UTF-8 text");
    }

    const SECOND: Duration = Duration::from_secs(1);

    /// Calls of which the first one hangs until the sender is dropped.
    struct Hanging {
        calls: Calls,
        started: Instant,
        end: Option<mpsc::Sender<()>>,
    }

    impl Hanging {
        fn new() -> Self {
            let calls = Calls {
                timeout: Duration::ZERO,
                timeout_beside_hanging: 600 * SECOND,
                retry_after: 60 * SECOND,
                max_pause: 600 * SECOND,
                hanging: Mutex::default(),
            };
            let (end, ended) = mpsc::channel::<()>();
            let hang = move |_: &Path| ended.recv().is_err();
            let error = calls.run(Path::new("hangs"), hang).unwrap_err();
            assert!(matches!(error, FileProblem::NoResponse(_)), "{error:?}");
            let started = calls.hanging.lock()[0].started;
            Hanging {
                calls,
                started,
                end: Some(end),
            }
        }

        /// Adds another call that hangs.
        fn push(&self, path: &str, started: Instant) -> mpsc::Sender<()> {
            let (end, ended) = mpsc::channel::<()>();
            let thread = thread::spawn(move || {
                let _ = ended.recv();
            });
            let path = path.into();
            self.calls.hanging.lock().push(Call {
                path,
                started,
                thread,
            });
            end
        }

        /// Returns the timeout of a call at this time after the first one.
        fn timeout(&self, path: &str, after: Duration) -> Option<Duration> {
            let timeout = self
                .calls
                .timeout_for(Path::new(path), self.started + after);
            timeout.ok()
        }
    }

    #[test]
    fn while_a_call_hangs_others_for_its_path_fail_at_once() {
        let mut hanging = Hanging::new();
        let run = |path: &str| hanging.calls.run(Path::new(path), |_| ());
        for _ in 0..3 {
            let error = run("hangs").unwrap_err().to_string();
            assert!(error.starts_with("its filesystem has not responded for "));
            assert_eq!(hanging.calls.hanging.lock().len(), 1);
        }
        assert!(run("other").is_ok());
        hanging.end = None;
        while hanging.timeout("hangs", Duration::ZERO) != Some(hanging.calls.timeout) {
            thread::yield_now();
        }
    }

    #[test]
    fn a_path_on_which_calls_hang_is_tried_again_less_often_but_not_rarely_unless_many_hang() {
        let hanging = Hanging::new();
        let beside = hanging.calls.timeout_beside_hanging;
        let mut ends = Vec::new();
        for at in [60, 120, 240, 480, 960, 1560, 2160, 4320, 8640].map(|seconds| seconds * SECOND) {
            if at == 4320 * SECOND {
                ends.extend((0..MANY_HANGING).map(|_| hanging.push("other", hanging.started)));
            }
            assert_eq!(hanging.timeout("hangs", at - SECOND), None);
            assert_eq!(hanging.timeout("hangs", at), Some(beside));
            ends.push(hanging.push("hangs", hanging.started + at));
        }
    }

    #[test]
    fn other_paths_have_less_time_while_a_call_hangs() {
        let hanging = Hanging::new();
        let beside = hanging.calls.timeout_beside_hanging;
        assert_eq!(hanging.timeout("other", Duration::ZERO), Some(beside));
    }
}
