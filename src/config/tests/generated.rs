//! docs/configuration.md and contrib/airlock.schema.json, which are generated from the documentation of the keys. To
//! write them: `INSTA_UPDATE=always cargo test --lib generated`.

mod json_schema;
mod markdown;

use std::path::Path;
use std::{env, fs};

#[test]
fn the_reference_of_the_configuration_is_up_to_date() {
    assert_generated("docs/configuration.md", &markdown::reference());
}

#[test]
fn the_json_schema_of_the_configuration_is_up_to_date() {
    assert_generated("contrib/airlock.schema.json", &json_schema::schema());
}

/// Asserts that a file has this content, or writes it as insta does its snapshots.
fn assert_generated(path: &str, content: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        fs::write(&file, content).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    let differs = found
        .lines()
        .zip(content.lines())
        .position(|(found, line)| found != line);
    assert!(
        found == content,
        "{path} differs from line {} on; `INSTA_UPDATE=always cargo test --lib generated` writes it",
        differs.map_or(found.lines().count(), |line| line + 1)
    );
}
