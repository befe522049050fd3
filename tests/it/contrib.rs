//! The files of contrib/ are well-formed and consistent. units.rs checks the units.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use toml::Table;
use yaml_rust2::{Yaml, YamlLoader};

use airlock_test_support::airlock::airlock;
use airlock_test_support::prometheus::contrib;
use airlock_test_support::repository;

pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn toml(path: &str) -> Table {
    read(&contrib(path)).parse().unwrap()
}

/// Returns the files in a folder of contrib/ with this ending.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(contrib(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(ending))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no {ending} in {folder}");
    files
}

pub(crate) fn assert_good(output: &Output) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&text)
    );
}

/// The keys of Butane's `fcos` 1.5.0 in the parts of a file that ours use. A misspelt key is an error of `butane --strict`.
const BUTANE_KEYS: [(&str, &[&str]); 6] = [
    (
        "",
        &[
            "variant",
            "version",
            "boot_device",
            "grub",
            "ignition",
            "kernel_arguments",
            "passwd",
            "storage",
            "systemd",
        ],
    ),
    (
        "storage",
        &[
            "directories",
            "disks",
            "files",
            "filesystems",
            "links",
            "luks",
            "raid",
            "trees",
        ],
    ),
    (
        "storage.files",
        &[
            "append",
            "contents",
            "group",
            "mode",
            "overwrite",
            "path",
            "user",
        ],
    ),
    (
        "storage.files.contents",
        &[
            "compression",
            "http_headers",
            "inline",
            "local",
            "source",
            "verification",
        ],
    ),
    ("systemd", &["units"]),
    (
        "systemd.units",
        &[
            "contents",
            "contents_local",
            "dropins",
            "enabled",
            "mask",
            "name",
        ],
    ),
];

/// Checks the keys of a part of a Butane file.
fn assert_keys_of_butane(part: &str, value: &Yaml) {
    for item in value.as_vec().into_iter().flatten() {
        assert_keys_of_butane(part, item);
    }
    for (key, value) in value.as_hash().into_iter().flatten() {
        let key = key.as_str().unwrap();
        let known = BUTANE_KEYS.iter().find(|(known, _)| *known == part);
        let (_, keys) = known.unwrap_or_else(|| panic!("no keys of {part}"));
        assert!(keys.contains(&key), "{part}: {key}");
        assert_keys_of_butane(format!("{part}.{key}").trim_start_matches('.'), value);
    }
}

/// The folders with the examples of the files that the operator edits, as docs/installing.md copies them.
const EXAMPLES: [&str; 3] = ["butane", "systemd", "zincati"];

#[test]
fn butane_files_take_everything_from_contrib() {
    for file in files("butane", ".bu") {
        let document = &YamlLoader::load_from_str(&read(&file)).unwrap()[0];
        assert_keys_of_butane("", document);
        assert_eq!(document["variant"].as_str(), Some("fcos"));
        assert_eq!(document["version"].as_str(), Some("1.5.0"));
        let entries = document["storage"]["files"].as_vec().unwrap();
        assert!(!entries.is_empty());
        for entry in entries {
            let place = entry["path"].as_str().unwrap();
            assert!(place.starts_with("/etc/"), "{place}");
            if place.ends_with(".container") {
                // podman translates the quadlets in this folder.
                assert_eq!(place, "/etc/containers/systemd/airlock.container");
            }
            assert!(entry["mode"].as_i64().is_some(), "{place} has no mode");
            let contents = entry["contents"].as_hash().unwrap();
            let local = entry["contents"]["local"].as_str().unwrap();
            assert_eq!(contents.len(), 1, "{place}: one source, not a copy");
            let Some(name) = local.strip_prefix("butane/site/") else {
                assert!(contrib(local).is_file(), "{}: no {local}", file.display());
                continue;
            };
            assert!(
                read(&file).split("variant:").next().unwrap().contains(name),
                "the comment of {} does not ask for {name}",
                file.display()
            );
            let made = ["ca.pem", "cert.pem", "key.pem", "htpasswd"].contains(&name);
            let example = |folder: &&str| contrib(folder).join(name).is_file();
            assert!(made || EXAMPLES.iter().any(example), "no example of {name}");
        }
    }
}

#[test]
fn only_one_etcd_node_reboots_at_a_time() {
    for role in ["airlock-beside-etcd", "airlock-shared"] {
        let lock = &toml(&format!("butane/{role}.toml"))["lock"];
        assert_eq!(lock["default_slots"].as_integer(), Some(1));
        // Without a configured group Zincati uses the default one.
        assert_eq!(lock["default_group_name"].as_str(), Some("default"));
        let nodes = read(&contrib(&format!("butane/{role}.bu")));
        assert!(!nodes.contains("custom-identity"), "{nodes}");
    }
}

/// Returns the names in a source file between `before` and a quotation mark.
fn names(source: &str, before: &str) -> BTreeSet<String> {
    let is_name = |name: &&str| {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        name.chars().all(allowed)
    };
    let text = read(&contrib("..").join(source));
    let names = text.split(before).skip(1);
    let names = names.filter_map(|rest| rest.split('"').next());
    names.filter(is_name).map(str::to_owned).collect()
}

#[test]
fn the_reference_lists_exactly_the_metrics_and_kinds_of_the_source() {
    let mut expected = names("src/api/error.rs", "=> \"");
    let mut folders = vec![contrib("../src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let metrics = names(path.to_str().unwrap(), "\"airlock_");
            expected.extend(metrics.iter().map(|name| format!("airlock_{name}")));
        }
    }
    let reference = read(&contrib("../docs/reference.md"));
    let names = reference.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let cell = cells.find(|cell| cell.starts_with('`'))?;
        Some(cell.trim_matches('`').to_owned())
    });
    assert_eq!(names.collect::<BTreeSet<_>>(), expected);
}

#[test]
fn configurations_that_name_files_are_valid_once_the_files_exist() {
    let secrets = tempfile::tempdir().unwrap();
    let pair = rcgen::generate_simple_self_signed(vec!["airlock.example.org".into()]).unwrap();
    fs::write(secrets.path().join("cert.pem"), pair.cert.pem()).unwrap();
    fs::write(
        secrets.path().join("key.pem"),
        pair.signing_key.serialize_pem(),
    )
    .unwrap();
    fs::write(secrets.path().join("etcd-ca.pem"), pair.cert.pem()).unwrap();
    fs::write(secrets.path().join("etcd-password"), "secret").unwrap();
    let hash = bcrypt::hash("secret", 4).unwrap();
    let users = format!("node:{hash}\netcd-node:{hash}\n");
    fs::write(secrets.path().join("htpasswd"), users).unwrap();
    for secret in ["key.pem", "etcd-password", "htpasswd"] {
        let path = secrets.path().join(secret);
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let here = format!("{}/", secrets.path().display());
    let others = ["../examples/fleet.toml", "../packages/config.toml"].map(contrib);
    for file in files("butane", ".toml").into_iter().chain(others) {
        let config = secrets.path().join("config.toml");
        let text = ["/etc/airlock/", "/var/lib/airlock/"]
            .iter()
            .fold(read(&file), |text, folder| text.replace(folder, &here));
        fs::write(&config, text).unwrap();
        let output = airlock()
            .arg("check-config")
            .arg("-c")
            .arg(&config)
            .output()
            .unwrap();
        assert_good(&output);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(!text.contains("warning"), "{}: {text}", file.display());
    }
}

#[test]
fn node_configurations_match_the_addresses_and_groups_of_the_servers() {
    let group = &toml("zincati/90-custom-identity.toml")["identity"]["group"];
    for (server, node, scheme) in [
        ("airlock-beside-etcd", "55-updates-strategy", "http://"),
        ("airlock-embedded", "55-updates-strategy-tls", "https://"),
        ("airlock-shared", "55-updates-strategy-tls", "https://"),
    ] {
        let server = toml(&format!("butane/{server}.toml"));
        let groups = server["lock"]["groups"].as_array().unwrap();
        assert!(
            groups.iter().any(|known| known["name"] == *group),
            "{group}"
        );

        let node = toml(&format!("zincati/{node}.toml"));
        assert_eq!(node["updates"]["strategy"].as_str(), Some("fleet_lock"));
        let url = node["updates"]["fleet_lock"]["base_url"].as_str().unwrap();
        let port = server["service"]["port"].as_integer().unwrap();
        assert!(url.starts_with(scheme), "{url}");
        assert!(url.ends_with(&format!(":{port}/")), "{url}");
        let tls = server["service"]
            .get("tls")
            .is_none_or(|tls| tls.as_bool() == Some(true));
        assert_eq!(tls, scheme == "https://");
    }
}

#[test]
fn the_examples_are_valid_and_cause_no_warning() {
    for example in ["config.toml", "gates.toml", "standalone.toml"] {
        let path = repository().join("examples").join(example);
        let output = airlock()
            .arg("check-config")
            .arg("-c")
            .arg(path)
            .output()
            .unwrap();
        assert_good(&output);
        assert!(!String::from_utf8_lossy(&output.stdout).contains("warning"));
    }
}

#[test]
fn the_image_is_labelled_with_the_version_of_the_program() {
    let text = read(&contrib("../Containerfile"));
    let label = concat!(
        "org.opencontainers.image.version=\"",
        env!("CARGO_PKG_VERSION"),
        "\""
    );
    assert!(text.contains(label), "no {label}");
}
