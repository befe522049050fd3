//! The scripts of contrib/ for nodes without Zincati, with the real client and server, and with programs that behave as
//! those of Flatcar, bootc and dnf do.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::{Command, Output};

use rustix::fs::{FlockOperation, fcntl_lock};
use tempfile::TempDir;
use yaml_rust2::YamlLoader;

use airlock_test_support::airlock::{Airlock, binary};
use airlock_test_support::eventually;
use airlock_test_support::process::Process;
use airlock_test_support::prometheus::contrib;
use airlock_test_support::repository;

/// A node with the scripts for one system, and the programs that they call.
struct Node {
    folder: TempDir,
    url: String,
}

impl Node {
    fn new(system: &str, url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        for (file, name) in [
            (binary(), "airlock"),
            (contrib("client/airlock-reboot"), "airlock-reboot"),
            (
                contrib(system).join("airlock-reboot-needed"),
                "airlock-reboot-needed",
            ),
        ] {
            symlink(file, bin.join(name)).unwrap();
        }
        let node = Node {
            folder,
            url: url.to_owned(),
        };
        node.program("systemctl", "echo \"systemctl $*\"");
        node
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces a program by a script. The test process never has the file open for writing under its name, which would
    /// keep it from being executed.
    fn program(&self, name: &str, script: &str) {
        let new = self.path("new");
        fs::write(&new, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(new, self.path("bin").join(name)).unwrap();
    }

    /// Lets update_engine report a state.
    fn update_engine(&self, state: &str) {
        let status =
            format!("LAST_CHECKED_TIME=1\\nPROGRESS=0.0\\nCURRENT_OP={state}\\nNEW_VERSION=1");
        let script =
            format!("[ \"$*\" = -status ] && printf '{status}\\n' && echo I0000 Querying >&2");
        self.program("update_engine_client", &script);
    }

    /// Returns a command with the environment of the units.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("sh");
        command.arg(self.path("bin").join(program)).env_clear();
        command.envs([
            (
                "PATH",
                &*format!("{}:/usr/bin:/bin", self.path("bin").display()),
            ),
            ("RUNTIME_DIRECTORY", self.folder.path().to_str().unwrap()),
            ("AIRLOCK_URL", &self.url),
            ("AIRLOCK_ID", "n"),
            ("AIRLOCK_INTERVAL", "1s"),
        ]);
        command
    }

    fn run(&self, program: &str) -> (Option<i32>, String, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command(program).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code(), text(stdout), text(stderr))
    }

    /// Runs a script with programs that print this, and exit with this code. Returns the code of the script.
    fn needed(&self, program: &str, code: u8, text: &str) -> Option<i32> {
        fs::write(self.path("text"), text).unwrap();
        let text = self.path("text");
        self.program(program, &format!("cat {}; exit {code}", text.display()));
        self.run("airlock-reboot-needed").0
    }
}

fn is_held(server: &Airlock) -> bool {
    let output = server.command(&["ex", "get", "slots"]);
    String::from_utf8(output.stdout).unwrap().contains("- n\n")
}

const REBOOT: &str = "systemctl reboot\n";

#[test]
fn a_flatcar_node_needs_a_reboot_once_update_engine_has_applied_an_update() {
    let node = Node::new("flatcar", "");
    for (state, code) in [
        ("UPDATE_STATUS_UPDATED_NEED_REBOOT", 0),
        ("UPDATE_STATUS_IDLE", 1),
        ("UPDATE_STATUS_DOWNLOADING", 1),
        ("(null)", 2),
        ("", 2),
    ] {
        node.update_engine(state);
        assert_eq!(node.run("airlock-reboot-needed").0, Some(code), "{state}");
    }
    node.program("update_engine_client", "exit 1");
    assert_eq!(node.run("airlock-reboot-needed").0, Some(2));
}

#[test]
fn a_node_with_bootc_needs_a_reboot_once_an_image_is_staged_that_it_activates() {
    let node = Node::new("bootc", "");
    let host = |staged: &str| {
        format!(
            r#"{{"apiVersion":"org.containers.bootc/v1","kind":"BootcHost","spec":{{"image":null}},"status":{{"booted":
            {{"downloadOnly": false,"image":null,"pinned":false}},"rollback":null,"staged" : {staged} }}}}"#
        )
    };
    for (text, code) in [
        (host(r#"{"downloadOnly":false,"image":null}"#), 0),
        // Older versions have no such field.
        (host(r#"{"image":null}"#), 0),
        (host(r#"{"downloadOnly": true,"image":null}"#), 1),
        (host("null"), 1),
        (String::new(), 2),
        (r#"{"status":{}}"#.into(), 2),
    ] {
        assert_eq!(node.needed("bootc", 0, &text), Some(code), "{text}");
    }
    assert_eq!(node.needed("bootc", 1, &host("{}")), Some(2));
}

#[test]
fn a_node_with_dnf_needs_a_reboot_when_dnf_says_so_and_no_package_is_being_installed() {
    let node = Node::new("dnf-automatic", "");
    let lock = node.path("lock");
    node.program("rpm", &format!("echo {}", lock.display()));
    let required = "Core libraries or services have been updated since boot-up:\n  * kernel\n\n\
                    Reboot is required to fully utilize these updates.\n";
    for (code, text, expected) in [
        (1, required, 0),
        (0, "Reboot should not be necessary.\n", 1),
        (1, "No such command: needs-restarting.\n", 2),
        (1, "Error: Failed to download metadata\n", 2),
    ] {
        assert_eq!(node.needed("dnf", code, text), Some(expected), "{text}");
    }
    let file = fs::File::create(&lock).unwrap();
    assert_eq!(node.needed("dnf", 1, required), Some(0));
    fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    assert_eq!(node.needed("dnf", 1, required), Some(1));
}

#[test]
fn a_node_reboots_with_a_slot_after_an_update_and_only_then() {
    let server = Airlock::embedded("");
    let node = Node::new("flatcar", &server.url());
    node.update_engine("UPDATE_STATUS_IDLE");
    assert_eq!(
        node.run("airlock-reboot"),
        (Some(0), String::new(), String::new())
    );
    assert!(!server.log().contains("pre-reboot") && !server.log().contains("steady-state"));

    node.update_engine("UPDATE_STATUS_UPDATED_NEED_REBOOT");
    let (code, stdout, stderr) = node.run("airlock-reboot");
    assert_eq!((code, &*stderr), (Some(0), ""));
    assert!(stdout.ends_with(REBOOT) && is_held(&server), "{stdout}");

    // The unit after the reboot.
    let unit = fs::read_to_string(contrib("client/airlock-steady-state.service")).unwrap();
    let arguments = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart=/usr/bin/env airlock "));
    let mut command = node.command("airlock");
    let environment: Vec<_> = command
        .get_envs()
        .map(|(name, value)| (name.to_owned(), value.unwrap().to_owned()))
        .collect();
    command = Command::new(binary());
    command
        .args(arguments.unwrap().split(' '))
        .env_clear()
        .envs(environment);
    assert!(command.output().unwrap().status.success());
    assert!(!is_held(&server));
}

#[test]
fn a_slot_is_released_if_the_reboot_is_given_up() {
    let server = Airlock::embedded("");
    let node = Node::new("flatcar", &server.url());
    node.update_engine("UPDATE_STATUS_UPDATED_NEED_REBOOT");
    node.program("systemctl", "echo refused >&2; exit 1");
    let (code, _, stderr) = node.run("airlock-reboot");
    assert_eq!((code, &*stderr), (Some(1), "refused\n"));
    assert!(!is_held(&server));

    // A reboot that begins and does not happen: the next run of the timer notices it.
    node.program("systemctl", "echo \"systemctl $*\"");
    assert!(node.run("airlock-reboot").1.ends_with(REBOOT) && is_held(&server));
    assert!(node.run("airlock-reboot").1.ends_with(REBOOT) && is_held(&server));
    node.update_engine("UPDATE_STATUS_IDLE");
    assert_eq!(node.run("airlock-reboot").0, Some(0));
    assert!(!is_held(&server));
    let requests = server.log().matches("got steady-state report").count();
    assert_eq!(node.run("airlock-reboot").0, Some(0));
    assert_eq!(
        server.log().matches("got steady-state report").count(),
        requests
    );

    // The state cannot be determined any more.
    node.update_engine("UPDATE_STATUS_UPDATED_NEED_REBOOT");
    assert!(node.run("airlock-reboot").1.ends_with(REBOOT) && is_held(&server));
    node.update_engine("");
    assert_eq!(node.run("airlock-reboot").0, Some(2));
    assert!(!is_held(&server));
}

#[test]
fn a_node_that_has_waited_reboots_only_if_it_is_still_needed() {
    let server = Airlock::embedded("");
    let other = server.client();
    for (state, expected) in [
        ("UPDATE_STATUS_UPDATED_NEED_REBOOT", true),
        ("UPDATE_STATUS_IDLE", false),
    ] {
        let node = Node::new("flatcar", &server.url());
        node.update_engine("UPDATE_STATUS_UPDATED_NEED_REBOOT");
        assert!(other.lock("default", "m").granted());
        let mut process = Process::start(node.command("airlock-reboot"), &node.path("log"));
        eventually("the wait", || {
            process.log().contains("waiting").then_some(())
        });
        node.update_engine(state);
        assert!(other.unlock("default", "m").granted());
        assert_eq!(process.wait().code(), Some(0), "{}", process.log());
        assert_eq!(
            process.log().contains(REBOOT),
            expected,
            "{}",
            process.log()
        );
        assert_eq!(is_held(&server), expected);
        assert!(other.unlock("default", "n").granted());
    }
}

/// Returns the block of a section of docs/other-systems.md that begins with `start`.
fn documented(section: &str, start: &str) -> String {
    let text = fs::read_to_string(repository().join("docs/other-systems.md")).unwrap();
    let (_, text) = text.split_once(&format!("\n## {section}\n")).unwrap();
    let text = text.split("\n## ").next().unwrap();
    let lines = text.lines().map(|line| line.strip_prefix("    "));
    let block = lines
        .skip_while(|line| !line.is_some_and(|line| line.starts_with(start)))
        .map_while(|line| line);
    let block: Vec<&str> = block.collect();
    assert!(!block.is_empty(), "no {start} in {section}");
    block.join("\n")
}

#[test]
fn the_commands_of_the_document_install_what_the_units_call() {
    let server = Airlock::embedded("");
    for (section, bin) in [("Flatcar", "/opt/bin"), ("dnf", "/usr/local/bin")] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        for existing in ["usr/local/bin", "etc/systemd/system"] {
            fs::create_dir_all(root.join(existing)).unwrap();
        }
        symlink(binary(), folder.path().join("airlock")).unwrap();
        symlink(contrib(""), folder.path().join("contrib")).unwrap();
        let programs = root.join(&bin[1..]);
        let run = |commands: &str| {
            let commands = commands.replace(" /", &format!(" {}/", root.display()));
            Command::new("sh")
                .args(["-ec", &commands])
                .current_dir(&folder)
                .env("PATH", format!("{}:/usr/bin:/bin", programs.display()))
                .output()
                .unwrap()
        };
        let output = run(&documented(section, "install"));
        assert!(output.status.success(), "{output:?}");
        for program in ["airlock", "airlock-reboot", "airlock-reboot-needed"] {
            let mode = fs::metadata(programs.join(program)).unwrap().mode();
            assert_eq!(mode & 0o777, 0o755, "{program}");
        }
        for unit in documented(section, "systemctl")
            .split_whitespace()
            .filter(|word| word.starts_with("airlock"))
        {
            assert!(
                root.join("etc/systemd/system").join(unit).is_file(),
                "{unit}"
            );
        }
        let service = root.join("etc/systemd/system/airlock-reboot.service");
        assert!(
            fs::read_to_string(service)
                .unwrap()
                .contains(&format!("{bin}:"))
        );

        let environment = root.join("etc/airlock/client.env");
        let settings = fs::read_to_string(&environment).unwrap();
        let settings = settings.replace("https://airlock.example.org:3333/", &server.url());
        fs::write(&environment, settings).unwrap();
        assert_eq!(fs::metadata(&environment).unwrap().mode() & 0o777, 0o600);
        let output = run(&documented("Configure the node", "set -a"));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            text.contains("the slot is granted") && text.contains("holds no slot"),
            "{text}"
        );
    }
}

#[test]
fn the_containerfile_for_bootc_copies_files_that_exist_to_places_in_the_path_of_the_units() {
    let block = documented("bootc", "COPY");
    for line in block.lines().filter_map(|line| line.strip_prefix("COPY ")) {
        let (files, _) = line.rsplit_once(' ').unwrap();
        let files = files.trim_start_matches("airlock ");
        let mut list = Command::new("sh");
        list.args(["-c", &format!("ls -d {files}")])
            .current_dir(repository());
        assert!(list.output().unwrap().status.success(), "{files}");
    }
    assert!(block.contains(" /usr/local/bin/\n"));
}

#[test]
fn the_butane_file_of_flatcar_takes_everything_from_contrib() {
    let text = fs::read_to_string(contrib("flatcar/node.bu")).unwrap();
    let document = &YamlLoader::load_from_str(&text).unwrap()[0];
    assert_eq!(document["variant"].as_str(), Some("flatcar"));
    assert_eq!(document["version"].as_str(), Some("1.1.0"));
    for entry in document["storage"]["files"].as_vec().unwrap() {
        let place = entry["path"].as_str().unwrap();
        // butane reads YAML 1.1, in which 0755 is octal.
        let mode = entry["mode"].as_i64().unwrap().to_string();
        let mode = u32::from_str_radix(&mode, 8).unwrap();
        let local = entry["contents"]["local"].as_str().unwrap();
        // The operator copies the binary.
        if local != "flatcar/airlock" {
            let mode_here = fs::metadata(contrib(local)).unwrap().mode() & 0o111;
            assert_eq!(mode & 0o111, mode_here, "{place}");
        }
    }
    let units = document["systemd"]["units"].as_vec().unwrap();
    assert!(units.iter().any(|unit| {
        unit["name"].as_str() == Some("locksmithd.service") && unit["mask"].as_bool() == Some(true)
    }));
}
