//! Runs etcdctl and etcdutl.

use std::fmt;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// A failed command of etcdctl or etcdutl.
#[derive(Debug)]
pub struct EtcdctlError {
    arguments: Vec<String>,
    /// What the command wrote to stderr.
    pub stderr: String,
}

impl fmt::Display for EtcdctlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arguments = self.arguments.join(" ");
        let stderr = self.stderr.trim_end();
        write!(f, "`etcdctl {arguments}` failed: {stderr}")
    }
}

impl std::error::Error for EtcdctlError {}

/// Runs a command of etcdctl (API 3) with an endpoint and returns its output, or its error.
pub(super) fn etcdctl(
    program: &Path,
    endpoint: &str,
    arguments: &[&str],
    input: &str,
) -> Result<String, EtcdctlError> {
    let bounded = ["--endpoints", endpoint, "--command-timeout", "2s"];
    run(program, &[&bounded, arguments].concat(), input)
}

/// Runs a program with the arguments and returns its output, or its error.
pub(super) fn run(program: &Path, arguments: &[&str], input: &str) -> Result<String, EtcdctlError> {
    let mut child = Command::new(program)
        .env("ETCDCTL_API", "3")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("{program:?} cannot be started ({error}); `make setup` installs what is missing")
        });
    // A command that reads no input may have exited already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(EtcdctlError {
            arguments: arguments.iter().map(ToString::to_string).collect(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}
