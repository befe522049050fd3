//! `airlock id`: the ids that Zincati derives from machine ids, compared with those of systemd.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use airlock_test_support::airlock::airlock;
use airlock_test_support::repository;

use crate::check_config::{Config, EMBEDDED};

/// A machine id, and the id that systemd derives from it for Zincati.
const MACHINE: &str = "0123456789abcdef0123456789abcdef";
const NODE: &str = "583627a932274834a8ebd99f4ed41c0d";

const MACHINE_2: &str = "00000000000000000000000000000001";
const NODE_2: &str = "a2a5385f64d54b22b0eca8f3deb0cd10";

/// Prints what systemd derives from the machine id in /etc/machine-id.
const SYSTEMD: [&str; 4] = [
    "systemd-id128",
    "machine-id",
    "-a",
    "de35106b6ec24688b63afddaa156679b",
];

/// Runs `airlock id`, and expects that it succeeds without a message. Returns its output.
#[track_caller]
fn id(arguments: &[&str]) -> String {
    let output = airlock().arg("id").args(arguments).output().unwrap();
    printed(output)
}

#[track_caller]
fn printed(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs `airlock id -` with this standard input, and returns its exit code, its output, and its messages.
fn id_of_lines(input: &[u8]) -> (Option<i32>, String, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, input).unwrap();
    let mut command = airlock();
    command.args(["id", "-"]).stdin(file.reopen().unwrap());
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn systemd() -> Command {
    let [program, arguments @ ..] = SYSTEMD;
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Runs a command in a mount namespace in which /etc/machine-id is the file at `path`.
pub(crate) fn with_machine_id(path: &Path, command: &Command) -> Output {
    let script = "mount --bind \"$0\" /etc/machine-id || exit 99; exec \"$@\"";
    let variables = command.get_envs();
    let variables = variables.filter_map(|(name, value)| Some((name, value?)));
    Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", script])
        .arg(path)
        .arg(command.get_program())
        .args(command.get_args())
        .envs(variables)
        .output()
        .unwrap()
}

#[test]
fn the_id_of_this_machine_is_the_one_that_systemd_derives() {
    let expected = systemd().output();
    let expected = expected.expect("systemd-id128 cannot be started; `make setup` installs it");
    assert_eq!(id(&[]), printed(expected));
}

#[test]
fn the_id_of_any_machine_is_the_one_that_systemd_derives() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("machine-id");
    for number in 0..8_u8 {
        let id_of = |byte: u8| format!("{byte:02x}").repeat(16);
        let machine = match number {
            0 => MACHINE.to_owned(),
            1 => MACHINE_2.to_owned(),
            2 => MACHINE.to_uppercase(),
            number => id_of(number.wrapping_mul(51)),
        };
        fs::write(&file, format!("{machine}\n")).unwrap();
        let expected = printed(with_machine_id(&file, &systemd()));
        let mut own = airlock();
        own.arg("id");
        assert_eq!(printed(with_machine_id(&file, &own)), expected);
        assert_eq!(id(&[&machine]), expected);
    }
}

#[test]
fn an_argument_may_be_a_uuid_in_either_case_and_has_a_line_each() {
    let uuid = "01234567-89AB-cdef-0123-456789abcdef";
    let config = ["-c", "/nowhere/config.toml"];
    let output = id(&[&[uuid, MACHINE_2, MACHINE][..], &config].concat());
    assert_eq!(output, format!("{NODE}\n{NODE_2}\n{NODE}\n"));
}

#[test]
fn an_argument_that_is_no_machine_id_is_named_and_the_others_are_printed() {
    let zero = "0".repeat(32);
    let output = airlock().args(["id", "db1", MACHINE, &zero]).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("{NODE}\n")
    );
    let remedy = "copy the content of /etc/machine-id of the machine\n";
    let expected = format!(
        "error: \"db1\" is not a machine id: it is neither 32 hexadecimal digits nor a UUID; {remedy}\
         error: \"{zero}\" is not a machine id: it is zero, which is the id of no machine; {remedy}"
    );
    assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
}

#[test]
fn lines_become_the_lines_of_a_file_of_names() {
    let input = format!("# fleet\n\n{MACHINE}\tdb 1 (é)  \r\n  {MACHINE_2}\n");
    let (code, lines, messages) = id_of_lines(input.as_bytes());
    assert_eq!((code, &*messages), (Some(0), ""));
    assert_eq!(lines, format!("{NODE} db 1 (é)\n{NODE_2}\n"));
    assert_eq!(id_of_lines(b""), (Some(0), String::new(), String::new()));

    let many: String = (1..10_000_u32)
        .map(|n| format!("{n:032x} node{n}\n"))
        .collect();
    let (code, lines, messages) = id_of_lines(many.as_bytes());
    assert_eq!((code, &*messages), (Some(0), ""));
    assert_eq!(lines.lines().count(), 9_999);
    assert!(
        lines.starts_with(&format!("{NODE_2} node1\n")),
        "{lines:.100}"
    );
    let config = Config::new(&format!(
        "[service]\ntls = false\nnode_names_path = \"{{folder}}/names\"\n{EMBEDDED}"
    ));
    fs::write(config.folder.path().join("names"), lines).unwrap();
    config.check(0, &["--strict"]);
}

#[test]
fn a_line_that_cannot_be_used_is_named_and_the_others_are_printed() {
    let input = format!(
        "{MACHINE} db1\nuninitialized new\n{} db2\n{MACHINE} db3\n{MACHINE_2} {}\n{} db4\n",
        "f".repeat(31),
        "x".repeat(65),
        "f".repeat(32),
    );
    let (code, lines, messages) = id_of_lines(input.as_bytes());
    assert_eq!(code, Some(1), "{messages}");
    assert_eq!(
        lines,
        format!("{NODE} db1\n01e17ff8056e4c079b0bac70864eb9b5 db4\n")
    );
    let messages: Vec<&str> = messages.lines().collect();
    let expected = [
        "error: line 2 of standard input: \"uninitialized\" is not a machine id: the first boot of the machine has not \
         ended; read its machine id again after the first boot",
        &format!(
            "error: line 3 of standard input: \"{}\" is not a machine id: it is neither 32 hexadecimal digits nor a \
             UUID; copy the content of /etc/machine-id of the machine",
            "f".repeat(31)
        ),
        &format!(
            "error: line 4 of standard input: the machine id \"{MACHINE}\" is the same as on line 1; remove one of the \
             two lines, or if they are of two machines, which count as one node, give one of them a new machine id"
        ),
        &format!(
            "error: line 5 of standard input: the name \"{}\"… has 65 characters; shorten it to 64",
            "x".repeat(64)
        ),
    ];
    assert_eq!(messages, expected);
}

#[test]
fn a_line_that_is_not_text_is_an_error() {
    let (code, lines, messages) = id_of_lines(&[MACHINE.as_bytes(), b" a\n\xff\n"].concat());
    assert_eq!((code, lines), (Some(1), format!("{NODE} a\n")));
    let expected = "error: line 2 of standard input cannot be read\n  caused by: stream did not contain valid UTF-8\n\
                    hint: write the line as UTF-8 text\n";
    assert_eq!(messages, expected);
}

#[test]
fn a_machine_without_a_machine_id_is_an_error_with_its_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("machine-id");
    let set_up = "create it with `systemd-machine-id-setup`, or in a container, name the machine id of the host: \
                  airlock id MACHINE-ID";
    for (content, error, hint) in [
        ("", "/etc/machine-id is empty", set_up),
        (
            "uninitialized\n",
            "/etc/machine-id contains \"uninitialized\", which is not a machine id\n  \
             caused by: the first boot of the machine has not ended",
            "run the command again after the first boot",
        ),
        (
            "0123\n4567\n",
            "/etc/machine-id contains \"0123\\n4567\", which is not a machine id\n  \
             caused by: it is neither 32 hexadecimal digits nor a UUID",
            set_up,
        ),
    ] {
        fs::write(&file, content).unwrap();
        let mut own = airlock();
        own.arg("id");
        let output = with_machine_id(&file, &own);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(message, format!("error: {error}\nhint: {hint}\n"));
    }
    // Without the file: in a namespace with an empty /etc.
    fs::remove_file(&file).unwrap();
    let script = "mount --bind \"$0\" /etc || exit 99; exec \"$@\"";
    let output = Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", script])
        .arg(folder.path())
        .arg(airlock().get_program())
        .arg("id")
        .output()
        .unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    let expected = format!(
        "error: /etc/machine-id: cannot be read\n  caused by: No such file or directory (os error 2)\nhint: {set_up}\n"
    );
    assert_eq!((output.status.code(), message), (Some(1), expected));
}

/// An ssh that reaches the first two machines.
const SSH: &str = r#"
name=${1#core@}
shift
case $name in
    node1) machine=$machine1 ;;
    node2) machine=$machine2 ;;
    *) echo "$name: no route to host" >&2; exit 255 ;;
esac
cat() { echo "$machine"; }
hostname() { echo "$name.example"; }
eval "$*"
"#;

#[test]
fn the_loop_of_the_runbook_makes_a_file_of_names() {
    let text = fs::read_to_string(repository().join("docs/operations.md")).unwrap();
    let block = text.split("\n\n").find(|block| {
        let is_code = block.lines().all(|line| line.starts_with("    "));
        is_code && block.contains("airlock id -")
    });
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let loop_ = block.expect("the loop").replace(
        "/etc/airlock/",
        &format!("{}/etc/", folder.path().display()),
    );
    let ssh = format!("machine1={MACHINE}\nmachine2={MACHINE_2}\n{SSH}");
    for (name, script) in [
        ("ssh", ssh),
        (
            "airlock",
            format!("exec {:?} \"$@\"\n", airlock().get_program()),
        ),
    ] {
        fs::write(path(name), format!("#!/bin/sh\n{script}")).unwrap();
        fs::set_permissions(path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::create_dir(path("etc")).unwrap();
    let search_path = format!(
        "{}:{}",
        folder.path().display(),
        std::env::var("PATH").unwrap()
    );
    let output = Command::new("sh")
        .args(["-c", &loop_])
        .env("PATH", search_path)
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let messages = String::from_utf8(output.stderr).unwrap();
    assert_eq!(messages, "node3: no route to host\n");
    let names = fs::read_to_string(path("etc/node-names.txt")).unwrap();
    assert_eq!(
        names,
        format!("{NODE} node1.example\n{NODE_2} node2.example\n")
    );
}
