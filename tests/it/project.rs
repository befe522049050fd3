//! The files of the project itself: what several of them repeat.

use std::fs;

use toml::Table;

use airlock_test_support::repository;

#[test]
fn the_oldest_supported_rust_is_the_same_everywhere() {
    let read = |path: &str| fs::read_to_string(repository().join(path)).unwrap();
    let manifest: Table = read("Cargo.toml").parse().unwrap();
    let version = manifest["workspace"]["package"]["rust-version"]
        .as_str()
        .unwrap();
    for (path, expected) in [
        ("README.md", format!("Rust {version} or newer")),
        ("CONTRIBUTING.md", format!("Rust {version} or newer")),
        (
            "Containerfile",
            format!("/rust:{version}-bookworm AS build"),
        ),
        (
            ".github/workflows/release.yml",
            format!("/rust:{version}-bookworm "),
        ),
    ] {
        assert!(read(path).contains(&expected), "{path}: no {expected}");
    }
}
