//! `airlock serve --dev`: a server without a configuration, which leaves nothing behind.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use airlock_test_support::airlock::airlock;
use airlock_test_support::eventually;
use airlock_test_support::process::Process;

/// A running server, and the folder in which it creates its own.
struct Dev {
    process: Process,
    temporary: TempDir,
    /// What the server has printed.
    text: String,
}

// === impl Dev ===

impl Dev {
    fn start() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("tmp");
        fs::create_dir(&folder).unwrap();
        let mut command = airlock();
        command.args(["serve", "--dev"]).env("TMPDIR", &folder);
        // It has no effect.
        command.env("AIRLOCK_CONFIG", "/nowhere/config.toml");
        let process = Process::start(command, &temporary.path().join("log"));
        let text = eventually("the server to print how to use it", || {
            let log = process.log();
            log.contains("Nothing is kept").then_some(log)
        });
        Dev {
            process,
            temporary,
            text,
        }
    }

    /// Returns the first printed line that contains `part`.
    fn line(&self, part: &str) -> &str {
        let mut lines = self.text.lines().map(str::trim);
        lines.find(|line| line.contains(part)).unwrap()
    }

    /// Runs a printed line in a shell, after the line that names the configuration, and returns its output.
    fn run(&self, part: &str) -> String {
        let script = format!("{}\n{}", self.line("export "), self.line(part));
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Returns the number of files and folders in the folder for temporary ones.
    fn left(&self) -> usize {
        fs::read_dir(self.temporary.path().join("tmp"))
            .unwrap()
            .count()
    }

    /// Returns the address of the service, or of the status page.
    fn address(&self, line: &str) -> String {
        let (_, address) = self.line(line).split_once("http://").unwrap();
        address.split('/').next().unwrap().to_owned()
    }

    fn page(&self) -> String {
        // The other lines with an address have a path.
        let mut lines = self.text.lines().map(str::trim);
        let is_page = |line: &&str| line.starts_with("http://") && line.ends_with('/');
        let url = lines.find(is_page).unwrap();
        reqwest::blocking::get(url).unwrap().text().unwrap()
    }
}

#[test]
fn everything_that_it_prints_works_and_nothing_is_left() {
    let mut dev = Dev::start();
    assert!(dev.run("/v1/pre-reboot").starts_with("HTTP/1.1 200 OK"));
    let status = dev.run("airlock status");
    assert!(status.contains("default  rebooting  1/2"), "{status}");
    assert!(dev.page().contains("node-1"));
    assert!(dev.run("/v1/steady-state").starts_with("HTTP/1.1 200 OK"));
    let status = dev.run("airlock status");
    assert!(status.contains("default  free   0/2"), "{status}");
    assert_eq!(dev.left(), 1);
    dev.process.signal(Signal::INT);
    assert!(dev.process.wait().success());
    assert_eq!(dev.left(), 0, "{}", dev.process.log());
}

#[test]
fn a_second_server_uses_other_ports_and_a_second_signal_removes_the_folder_as_well() {
    let (first, mut second) = (Dev::start(), Dev::start());
    assert_ne!(
        first.address("/v1/pre-reboot"),
        second.address("/v1/pre-reboot")
    );
    // A request with an incomplete body keeps the server from ending.
    let mut node = TcpStream::connect(second.address("/v1/pre-reboot")).unwrap();
    write!(
        node,
        "POST /v1/pre-reboot HTTP/1.1\r\nhost: x\r\nfleet-lock-protocol: true\r\ncontent-length: 9\r\n\r\n{{"
    )
    .unwrap();
    second.process.signal(Signal::TERM);
    let address = second.address("/v1/pre-reboot");
    eventually("the server to close its listener", || {
        TcpStream::connect(&address).is_err().then_some(())
    });
    assert_eq!(second.left(), 1);
    second.process.signal(Signal::TERM);
    assert_eq!(second.process.wait().code(), Some(143));
    assert_eq!(second.left(), 0, "{}", second.process.log());
}

#[test]
fn a_terminal_that_is_closed_ends_the_server() {
    let mut dev = Dev::start();
    dev.process.signal(Signal::HUP);
    assert!(dev.process.wait().success());
    assert_eq!(dev.left(), 0, "{}", dev.process.log());
}

#[test]
fn a_configuration_is_refused_and_a_folder_that_cannot_be_written_is_named() {
    for arguments in [
        ["-c", "x.toml", "serve", "--dev"],
        ["serve", "--dev", "-c", "x.toml"],
    ] {
        let output = airlock().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            error.starts_with("error: the argument '--dev' cannot be used with '--config <FILE>'"),
            "{error}"
        );
    }
    let output = airlock()
        .args(["serve", "--dev"])
        .env("TMPDIR", "/nowhere")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("cannot create a temporary folder in /nowhere")
            && error.contains("set TMPDIR"),
        "{error}"
    );
}
