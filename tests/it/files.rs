//! Files that cannot be read: what is not a regular file of reasonable size, and a filesystem that does not respond.
//! Nothing hangs, and the content in use stays.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use tempfile::TempDir;

use airlock_test_support::airlock::{LISTEN, airlock, port_in};
use airlock_test_support::client::Client;
use airlock_test_support::eventually;
use airlock_test_support::pki::secret;
use airlock_test_support::process::Process;

use crate::systemd::Manager;

/// The problem that is reported about something in the place of a file, and a function that makes it.
type Unusable = (&'static str, fn(&Path));

const UNUSABLE: [Unusable; 3] = [
    ("it is a FIFO, not a regular file", |path| {
        mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    }),
    ("it is a directory, not a regular file", |path| {
        fs::create_dir(path).unwrap();
    }),
    (
        "it has 104857600 bytes, more than the maximum of 8388608",
        |path| File::create(path).unwrap().set_len(100 << 20).unwrap(),
    ),
];

/// The problem with a file of which the filesystem does not respond, without the number of seconds.
const NO_RESPONSE: &str = "its filesystem has not responded for ";

/// Mounts a filesystem that never responds at `$0`, in a new mount namespace, and runs the command there. The filesystem
/// is gone with the last process that has its descriptor.
const UNRESPONSIVE: &str = "exec 3<>/dev/fuse || exit 99; \
    mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 dead \"$0\" || exit 99; exec \"$@\"";

/// A folder with a configuration and an htpasswd file, both of which are symbolic links.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let files = Files(tempfile::tempdir().unwrap());
        let htpasswd = files.path("htpasswd");
        let service = format!("[service]\nhtpasswd_path = {htpasswd:?}");
        let store = format!("[embedded]\npath = {:?}\n", files.path("airlock.db"));
        secret(&files.path("good.htpasswd"), &line("first"));
        let config = LISTEN.replace("[service]", &service) + &store;
        fs::write(files.path("good.toml"), config).unwrap();
        fs::create_dir(files.path("dead")).unwrap();
        files.point("htpasswd", "good.htpasswd");
        files.point("config.toml", "good.toml");
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Replaces a link in one step.
    fn point(&self, link: &str, target: &str) {
        symlink(target, self.path("link")).unwrap();
        fs::rename(self.path("link"), self.path(link)).unwrap();
    }

    /// Returns a command that runs the binary where the folder "dead" is a filesystem that never responds.
    fn beside_dead_mount(&self) -> Command {
        let mount = || {
            let mut command = Command::new("unshare");
            command
                .args(["--mount", "--map-root-user", "sh", "-c", UNRESPONSIVE])
                .arg(self.path("dead"));
            command
        };
        let output = mount().arg("true").output().unwrap();
        assert!(
            output.status.success(),
            "this test needs /dev/fuse, and user namespaces in which it can be mounted: {output:?}"
        );
        let mut command = mount();
        command.arg(airlock().get_program());
        command
    }

    /// Runs a command to its end, and returns its exit code and its output.
    fn run(&self, mut command: Command, arguments: &[&str]) -> (Option<i32>, String) {
        command.args(arguments);
        command.arg("-c").arg(self.path("config.toml"));
        let output = tempfile::NamedTempFile::new().unwrap();
        let mut process = Process::start(command, output.path());
        (process.wait().code(), process.log())
    }

    fn serve(self, mut command: Command) -> Server {
        command.args(["serve", "-vv", "-c"]);
        command.arg(self.path("config.toml"));
        let process = Process::start(command, &self.path("log"));
        let mut server = Server {
            process,
            files: self,
        };
        server.wait_for_log("msg=\"main service\"");
        server
    }
}

/// A server with these files.
struct Server {
    process: Process,
    files: Files,
}

impl Server {
    #[track_caller]
    fn wait_for_log(&mut self, text: &str) {
        eventually(&format!("{text:?} in the log"), || {
            let (status, log) = (self.process.exit_status(), self.process.log());
            assert!(status.is_none(), "the server has exited: {log}");
            log.contains(text).then_some(())
        });
    }

    fn reload(&self) {
        self.process.signal(Signal::HUP);
    }

    /// Returns the status of a request with this password.
    fn lock(&self, password: &str) -> u16 {
        let port = port_in(&self.process.log(), "main service").unwrap();
        let client = Client::new(format!("http://node:{password}@127.0.0.1:{port}"));
        client.lock("default", "n").status
    }

    fn wait_for_metric(&self, name: &str, value: usize) {
        let port = port_in(&self.process.log(), "status service").unwrap();
        let url = format!("http://127.0.0.1:{port}/metrics");
        eventually(&format!("{name} to be {value}"), || {
            let metrics = reqwest::blocking::get(&url).unwrap().text().unwrap();
            let found = metrics.lines().find_map(|line| line.strip_prefix(name));
            (found?.trim().parse::<usize>().unwrap() >= value).then_some(())
        });
    }

    /// Sends SIGTERM, which has to end the server in order.
    fn end(mut self) {
        self.process.signal(Signal::TERM);
        assert_eq!(self.process.wait().code(), Some(0));
    }
}

fn line(password: &str) -> String {
    format!("node:{}\n", bcrypt::hash(password, 4).unwrap())
}

const PASSWORD_FAILURES: &str = "airlock_htpasswd_reload_failures_total";
const CONFIG_FAILURES: &str = "airlock_config_reloads_total{result=\"failure\"}";

#[test]
fn what_is_not_a_regular_file_of_reasonable_size_changes_nothing_and_delays_no_signal() {
    let mut server = Files::new().serve(airlock());
    for (number, (problem, make)) in (1..).zip(UNUSABLE) {
        let unusable = format!("unusable-{number}");
        make(&server.files.path(&unusable));
        server.files.point("htpasswd", &unusable);
        server.wait_for_log(&format!("htpasswd: cannot be read: {problem}"));
        server.wait_for_metric(PASSWORD_FAILURES, number);
        assert_eq!(server.lock("first"), 200);

        server.files.point("config.toml", &unusable);
        server.reload();
        server.wait_for_log(&format!("cannot read the configuration: {problem}"));
        server.wait_for_metric(CONFIG_FAILURES, number);
        assert_eq!(server.lock("first"), 200);
    }
    server.end();
}

#[test]
fn check_config_reports_each_file_that_is_not_a_regular_file_of_reasonable_size() {
    let keys = [
        ("service", "tls_cert_path"),
        ("service", "tls_key_path"),
        ("service", "client_ca_path"),
        ("service", "htpasswd_path"),
        ("service", "node_names_path"),
        ("etcd3", "ca_cert_path"),
        ("etcd3", "client_cert_pub_path"),
        ("etcd3", "client_cert_key_path"),
        ("etcd3", "password_path"),
    ];
    for (problem, make) in UNUSABLE {
        let files = Files::new();
        make(&files.path("unusable"));
        let mut text = String::from("[service]\naddress = \"127.0.0.1\"\nport = 0\n");
        for (section, key) in keys {
            if (section, key) == ("etcd3", "ca_cert_path") {
                text += "[etcd3]\nendpoints = [\"https://127.0.0.1:1\"]\nusername = \"airlock\"\n";
            }
            text += &format!("{key} = {:?}\n", files.path("unusable"));
        }
        fs::write(files.path("good.toml"), text).unwrap();
        let (code, text) = files.run(airlock(), &["check-config"]);
        assert_eq!(code, Some(78), "{text}");
        for (section, key) in keys {
            let place = format!(", {section}.{key})");
            let error = text.lines().find(|line| line.ends_with(&place));
            let error = error.unwrap_or_else(|| panic!("{place}: {text}"));
            assert!(error.contains("unusable: cannot be read: "), "{error}");
            assert!(error.contains(problem), "{error}");
        }
    }
}

#[test]
fn every_command_refuses_a_configuration_that_is_not_a_regular_file_of_reasonable_size() {
    let commands: [&[&str]; 5] = [
        &["serve"],
        &["check-config"],
        &["healthcheck"],
        &["get", "slots"],
        &["backup", "copy"],
    ];
    for (problem, make) in UNUSABLE {
        let files = Files::new();
        make(&files.path("unusable"));
        files.point("config.toml", "unusable");
        for command in commands {
            let (code, text) = files.run(airlock(), command);
            assert_eq!(code, Some(78), "{command:?}: {text}");
            let expected = format!("cannot read the configuration: {problem}; ");
            assert!(text.contains(&expected), "{command:?}: {text}");
        }
    }
}

#[test]
fn a_filesystem_that_does_not_respond_changes_nothing_and_delays_no_signal() {
    let files = Files::new();
    let command = files.beside_dead_mount();
    let mut server = files.serve(command);
    server.files.point("htpasswd", "dead/htpasswd");
    server.wait_for_log(&format!("htpasswd: cannot be read: {NO_RESPONSE}5 s"));
    server.wait_for_metric(PASSWORD_FAILURES, 1);
    assert_eq!(server.lock("first"), 200);

    server.files.point("config.toml", "dead/config.toml");
    server.reload();
    server.wait_for_log(&format!("cannot read the configuration: {NO_RESPONSE}"));
    server.wait_for_metric(CONFIG_FAILURES, 1);
    assert_eq!(server.lock("first"), 200);

    server.end();
}

#[test]
fn a_file_is_reloaded_once_its_filesystem_responds_again() {
    let files = Files::new();
    let command = files.beside_dead_mount();
    let mut server = files.serve(command);
    server.files.point("htpasswd", "dead/htpasswd");
    server.wait_for_log(&format!("htpasswd: cannot be read: {NO_RESPONSE}5 s"));

    fs::write(server.files.path("good.htpasswd"), line("second")).unwrap();
    server.files.point("htpasswd", "good.htpasswd");
    let unmounted = Command::new("nsenter")
        .args(["--user", "--preserve-credentials", "--mount", "--target"])
        .arg(server.process.id().to_string())
        .args(["umount", "--force", "--lazy", "--internal-only"])
        .arg(server.files.path("dead"))
        .status();
    assert!(unmounted.unwrap().success());
    eventually("the new password to be accepted", || {
        (server.lock("second") == 200).then_some(())
    });
    server.end();
}

#[test]
fn a_second_sighup_during_a_reload_causes_one_more_reload_after_it() {
    let manager = Manager::listen();
    let server = server_with_dead_configuration(&manager);
    server.reload();
    assert_eq!(state(&manager), "RELOADING=1");
    server.reload();
    server.reload();
    let states = [(); 3].map(|()| state(&manager));
    assert_eq!(states, ["READY=1", "RELOADING=1", "READY=1"]);
    server.end();
    assert_eq!(state(&manager), "STOPPING=1");
}

#[test]
fn sigterm_ends_the_server_while_a_reload_hangs() {
    let manager = Manager::listen();
    let server = server_with_dead_configuration(&manager);
    server.reload();
    assert_eq!(state(&manager), "RELOADING=1");
    server.end();
    // The reload has not ended: the next message would be that the server is ready.
    assert_eq!(state(&manager), "STOPPING=1");
}

/// Starts a server of which the configuration is then on a filesystem that never responds.
fn server_with_dead_configuration(manager: &Manager) -> Server {
    let files = Files::new();
    let mut command = files.beside_dead_mount();
    command.env("NOTIFY_SOCKET", manager.path());
    let server = files.serve(command);
    assert_eq!(state(manager), "READY=1");
    server.files.point("config.toml", "dead/config.toml");
    server
}

/// Returns the first line of the next message that is not about the status text.
fn state(manager: &Manager) -> String {
    loop {
        let message = manager.receive("");
        if !message.starts_with("STATUS=") {
            return message.lines().next().unwrap().to_owned();
        }
    }
}

#[test]
fn check_config_and_commands_end_if_a_filesystem_does_not_respond() {
    let files = Files::new();
    files.point("htpasswd", "dead/htpasswd");
    let (code, text) = files.run(files.beside_dead_mount(), &["check-config"]);
    assert_eq!(code, Some(78), "{text}");
    let expected = format!("htpasswd: cannot be read: {NO_RESPONSE}5 s; ");
    assert!(text.contains(&expected), "{text}");

    files.point("config.toml", "dead/config.toml");
    for command in [&["check-config"][..], &["get", "slots"]] {
        let (code, text) = files.run(files.beside_dead_mount(), command);
        assert_eq!(code, Some(78), "{text}");
        let expected = format!("cannot read the configuration: {NO_RESPONSE}5 s; ");
        assert!(text.contains(&expected), "{text}");
    }

    files.point("config.toml", "etcd.toml");
    let unused = files.path("dead/cert.pem");
    let etcd = format!(
        "[etcd3]\nendpoints = [\"http://127.0.0.1:1\"]\nclient_cert_pub_path = {unused:?}\n"
    );
    fs::write(files.path("etcd.toml"), format!("{LISTEN}{etcd}")).unwrap();
    let (code, text) = files.run(files.beside_dead_mount(), &["check-config"]);
    assert_eq!(code, Some(0), "{text}");
    let expected = "cert.pem\" is not used because all endpoints are plain http://; ";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn commands_end_if_the_filesystem_of_the_store_does_not_respond() {
    let files = Files::new();
    let path = files.path("good.toml");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config.replace("airlock.db", "dead/airlock.db")).unwrap();
    let copy = files.path("copy").display().to_string();
    let commands: [(&[&str], i32); 6] = [
        (&["check-config"], 78),
        (&["check-config", "--online"], 78),
        (&["serve"], 78),
        (&["get", "slots"], 69),
        (&["backup", &copy], 69),
        (&["restore", &copy], 69),
    ];
    thread::scope(|scope| {
        for (command, expected) in commands {
            let files = &files;
            scope.spawn(move || {
                let (code, text) = files.run(files.beside_dead_mount(), command);
                assert_eq!(code, Some(expected), "{command:?}: {text}");
                for part in [
                    "dead/airlock.db: cannot be used",
                    &format!("{NO_RESPONSE}5 s"),
                    "check that the filesystem is mounted",
                ] {
                    assert!(text.contains(part), "{command:?}: {text}");
                }
            });
        }
    });
}
