//! A child process that is killed with its owner and writes its output to a file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use rustix::process::{Pid, Signal, kill_process};

use super::eventually;

/// A running process. It is killed when the value is dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` and appends its output to the file `log`.
    pub fn start(mut command: Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file);
        let program = command.get_program().to_owned();
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("{program:?} cannot be started ({error}); `make setup` installs what is missing")
        });
        Process {
            child,
            log: log.to_owned(),
        }
    }

    /// Returns the output up to now.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.id() as i32).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Stops the process with SIGSTOP and waits until every thread of it has stopped.
    ///
    /// SUBTLE: the signal is delivered to one thread. The others go on until they next enter the kernel or are
    /// interrupted, which takes a while on a busy machine.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        eventually("every thread of a process to stop", || {
            self.is_frozen().then_some(())
        });
    }

    /// Returns whether every thread of the process has stopped.
    pub fn is_frozen(&self) -> bool {
        let mut threads = fs::read_dir(format!("/proc/{}/task", self.id())).unwrap();
        threads.all(|thread| is_stopped(&thread.unwrap().path()))
    }

    /// Continues the process after [`Process::freeze`].
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Returns the exit status if the process has exited.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until the process exits and returns its status.
    pub fn wait(&mut self) -> ExitStatus {
        eventually("a process to exit", || self.child.try_wait().unwrap())
    }

    /// Sends SIGKILL and waits until the process has exited.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns whether the thread with this folder in /proc has stopped or ended.
fn is_stopped(thread: &Path) -> bool {
    let Ok(stat) = fs::read_to_string(thread.join("stat")) else {
        return true;
    };
    // The state follows the name of the program, which is in parentheses and may contain any character.
    let state = stat.rsplit(") ").next().and_then(|s| s.chars().next());
    matches!(state, Some('T' | 'Z' | 'X'))
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns the user and system time of a process. The kernel counts hundredths of a second.
pub fn cpu_seconds(id: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks: f64 = fields[11..13]
        .iter()
        .map(|field| field.parse::<f64>().unwrap())
        .sum();
    ticks / 100.0
}

/// Returns the resident memory of a process in bytes.
pub fn resident_bytes(pid: u32) -> u64 {
    status_bytes(pid, "VmRSS:")
}

/// Returns the most resident memory that a process has had in bytes, since its start or [`forget_peak`].
pub fn peak_resident_bytes(pid: u32) -> u64 {
    status_bytes(pid, "VmHWM:")
}

/// Makes the resident memory of now the peak.
pub fn forget_peak(pid: u32) {
    // Source: proc_pid_clear_refs(5).
    fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
}

fn status_bytes(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
    kilobytes.parse::<u64>().unwrap() << 10
}
