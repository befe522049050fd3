//! contrib/airlock.schema.json, as Taplo and so editors read it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use airlock_test_support::airlock::airlock;
use airlock_test_support::repository;

/// A configuration without problems.
const VALID: &str = "[service]\ntls = false\n[embedded]\npath = \"/var/lib/airlock/airlock.db\"\n";

/// Runs `taplo lint` in a folder.
fn taplo(folder: &Path, arguments: &[&str], files: &[impl AsRef<Path>]) -> Output {
    Command::new(repository().join("target/tools/python/bin/taplo"))
        .args(["lint", "--colors=never"])
        .args(arguments)
        .args(files.iter().map(AsRef::as_ref))
        .current_dir(folder)
        .output()
        .expect("taplo cannot be started; `make setup` installs what is missing")
}

fn with_schema(files: &[impl AsRef<Path>]) -> Output {
    let schema = repository().join("contrib/airlock.schema.json");
    taplo(
        &repository(),
        &[
            "--no-auto-config",
            &format!("--schema=file://{}", schema.display()),
        ],
        files,
    )
}

fn toml_files(folder: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(repository().join(folder)).unwrap();
    let files = files.map(|file| file.unwrap().path());
    let files: Vec<PathBuf> = files
        .filter(|file| {
            file.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    assert!(!files.is_empty(), "{folder}");
    files
}

#[test]
fn every_configuration_of_this_repository_is_valid() {
    let folders = ["examples", "contrib/butane", "src/config/tests/every_key"];
    let files: Vec<PathBuf> = folders.into_iter().flat_map(toml_files).collect();
    let output = with_schema(&files);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_editor_of_a_contributor_checks_the_examples() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("contrib")).unwrap();
    fs::create_dir(path("examples")).unwrap();
    for file in [
        ".taplo.toml",
        "contrib/airlock.schema.json",
        "examples/config.toml",
    ] {
        fs::copy(repository().join(file), path(file)).unwrap();
    }
    let lint = || taplo(folder.path(), &[], &[] as &[&Path]);
    assert!(lint().status.success(), "{:?}", lint());
    fs::write(path("examples/typo.toml"), format!("{VALID}[servise]\n")).unwrap();
    assert!(!lint().status.success());
}

/// What is wrong with a configuration that the server rejects, too: the part that replaces `tls = false` or follows
/// the end, and a part of the message.
const INVALID: &[(&str, &str)] = &[
    ("[servise]\n", "'servise' was unexpected"),
    (
        "[lock]\ndefault_slot = 1\n",
        "'default_slot' was unexpected",
    ),
    (
        "[lock]\ndefault_slots = \"1\"\n",
        "is not of type \"integer\"",
    ),
    ("[lock]\ndefault_slots = 0\n", "less than the minimum of 1"),
    (
        "[lock]\nsettle_minutes = 1441\n",
        "greater than the maximum of 1440",
    ),
    ("[lock]\non_slots_mismatch = \"updates\"\n", "is not one of"),
    (
        "[lock]\ndefault_users = \"node\"\n",
        "is not of type \"array\"",
    ),
    ("[status]\nenabled = 1\n", "is not of type \"boolean\""),
    (
        "[etcd3]\nendpoints = [\"http://127.0.0.1:2379\"]\n",
        "is valid under more than one",
    ),
    (
        "[[lock.groups]]\nslots = 1\n",
        "\"name\" is a required property",
    ),
    (
        "[[lock.windows]]\ndays = [\"Sam\"]\nstart_time = \"01:00\"\nlength_minutes = 60\n",
        "is not valid under any",
    ),
    (
        "[[lock.windows]]\ndays = [\"Sat\"]\nweeks = [0]\nstart_time = \"01:00\"\nlength_minutes = 60\n",
        "is not allowed for",
    ),
    (
        "[[lock.freezes]]\nfrom = 2026-12-20T18:00:00Z\nuntil = 2027-01-06\n",
        "does not match",
    ),
    (
        "[[lock.gates]]\nname = \"a\"\nprometheus = \"http://h:9090\"\n",
        "\"query\" is a required property",
    ),
    (
        "[[lock.gates]]\nname = \"a\"\nhttp = \"h/path\"\n",
        "does not match",
    ),
    (
        "[notify]\nurl = \"https://h/\"\nevents = [\"grant\"]\n",
        "is not one of",
    ),
];

#[test]
fn what_the_schema_rejects_the_server_rejects_too() {
    let folder = tempfile::tempdir().unwrap();
    let write = |text: &str| {
        let file = folder.path().join("config.toml");
        fs::write(&file, text).unwrap();
        file
    };
    assert!(with_schema(&[write(VALID)]).status.success());
    for (part, message) in INVALID {
        let file = write(&format!("{VALID}{part}"));
        let text = rejection(&with_schema(&[&file]), part);
        assert!(text.contains(message), "{part}{text}");
        assert_rejected_by_server(&file, part);
    }
    let with_tls = VALID.replace("tls = false\n", "");
    let file = write(&with_tls);
    let text = rejection(&with_schema(&[&file]), "TLS without a certificate");
    assert!(
        text.contains("\"tls_cert_path\" is a required property"),
        "{text}"
    );
    assert_rejected_by_server(&file, "TLS without a certificate");
}

fn rejection(output: &Output, case: &str) -> String {
    assert!(!output.status.success(), "{case}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn assert_rejected_by_server(file: &Path, case: &str) {
    let checked = airlock()
        .args(["check-config", "--strict", "-c"])
        .arg(file)
        .output()
        .unwrap();
    assert_eq!(checked.status.code(), Some(78), "{case}");
    assert!(
        !String::from_utf8_lossy(&checked.stdout).contains("cannot read"),
        "{checked:?}"
    );
}
