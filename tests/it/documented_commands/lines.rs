//! Commands that do not run: the programs that they call accept them, and what they name exists.

use std::process::Command;

use airlock_test_support::airlock::airlock;
use airlock_test_support::repository;

use super::blocks::{blocks, spans};

/// The paths of web servers that the documents name.
const PATHS: &[&str] = &[
    "/v1/pre-reboot",
    "/v1/steady-state",
    "/v1/status",
    "/healthz",
    "/readyz",
    "/metrics",
    "/runbook",
    "/health",
];

/// The programs that `cargo install` may install.
const CARGO_TOOLS: &[&str] = &["cargo-deny", "cargo-fuzz", "cargo-mutants"];

/// Values for the placeholders in usages.
const PLACEHOLDERS: &[(&str, &str)] = &[
    ("GROUP|NODE", "workers"),
    ("GROUP", "workers"),
    ("MACHINE-ID", "0123456789abcdef0123456789abcdef"),
    ("ID", "node1"),
    ("NODE", "node1"),
    ("TIME", "2h"),
    ("FORMAT", "json"),
    ("SHELL", "bash"),
    ("N", "3"),
    ("FILE", "file"),
];

#[test]
fn every_airlock_command_in_the_documents_is_accepted() {
    let mut wrong = Vec::new();
    let commands = commands("airlock");
    for (file, words) in &commands {
        let mut command = airlock();
        let output = command.args(words).arg("--help").output().unwrap();
        if !output.status.success() {
            wrong.push(format!("{file}: airlock {}", words.join(" ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(commands.len() > 80, "{}", commands.len());
}

#[test]
fn every_etcdctl_command_in_the_documents_is_accepted() {
    let mut count = 0;
    for (file, words) in commands("etcdctl") {
        let mut command = Command::new("etcdctl");
        let output = command.args(&words).arg("--help").output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        let is_known = output.status.success() && printed.contains("USAGE:\n\tetcdctl ");
        assert!(is_known, "{file}: etcdctl {}: {printed}", words.join(" "));
        count += 1;
    }
    assert!(count > 15, "{count}");
}

#[test]
fn every_curl_in_the_documents_is_for_a_known_path() {
    let mut count = 0;
    for (file, words) in commands("curl") {
        for word in words.iter().filter(|word| word.starts_with("http")) {
            let host = word.split_once("://").unwrap().1;
            let path = host.find('/').map_or("", |at| &host[at..]);
            assert!(PATHS.contains(&path), "{file}: {word}");
            count += 1;
        }
    }
    assert!(count > 5, "{count}");
}

#[test]
fn every_make_target_and_cargo_tool_in_the_documents_exists() {
    let makefile = std::fs::read_to_string(repository().join("Makefile")).unwrap();
    for (file, words) in commands("make") {
        let target = words.first().map_or("help", |target| target);
        assert!(
            makefile.contains(&format!("\n{target}:")),
            "{file}: make {target}"
        );
    }
    for (file, words) in commands("cargo") {
        if words.first().is_some_and(|word| word == "install") {
            assert!(
                CARGO_TOOLS.contains(&&*words[1]),
                "{file}: cargo {}",
                words.join(" ")
            );
        }
    }
}

#[test]
fn every_file_of_the_source_tree_that_the_code_in_the_documents_names_exists() {
    let folders = [
        "examples/",
        "contrib/",
        "docs/",
        "tests/it/",
        "tools/",
        "src/",
        "fuzz/",
    ];
    let mut count = 0;
    let mut wrong = Vec::new();
    let code = blocks().into_iter().map(|block| (block.file, block.code));
    for (file, code) in code.chain(spans()) {
        let is_end = |c: char| c.is_whitespace() || "\"'()=;,:@`".contains(c);
        for word in code.split(is_end) {
            let is_pattern = word.contains(['*', '$', '#', '<', '…']);
            let is_made = word.starts_with("contrib/butane/site");
            if folders.iter().any(|folder| word.starts_with(folder)) && !is_pattern && !is_made {
                count += 1;
                if !repository()
                    .join(word.trim_end_matches(['.', '/']))
                    .exists()
                {
                    wrong.push(format!("{file}: {word}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 50, "{count}");
}

/// Returns the arguments of every call of `program` in the blocks and the spans, each with the document.
fn commands(program: &str) -> Vec<(String, Vec<String>)> {
    let blocks = blocks().into_iter().filter(|block| !block.is_data());
    let lines = blocks.flat_map(|block| {
        let commands = block.commands().into_iter();
        let lines: Vec<String> = commands
            .map(|command| command.line.replace("\\\n", " "))
            .collect();
        let lines = lines.iter().flat_map(|line| line.lines());
        lines
            .map(|line| (block.file.clone(), line.to_owned()))
            .collect::<Vec<_>>()
    });
    let mut found = Vec::new();
    for (file, line) in lines.chain(spans()) {
        for words in calls(&line) {
            let mut words = words
                .into_iter()
                .skip_while(|word| word.contains('=') || word == "exec");
            let name = words.next();
            let name = name
                .as_deref()
                .map(|name| name.trim_start_matches("target/debug/"));
            if name == Some(program) {
                found.push((file.clone(), words.collect()));
            }
        }
    }
    found
}

/// Splits a line into commands, and these into words. Quotes are removed, and placeholders get values.
fn calls(line: &str) -> Vec<Vec<String>> {
    let mut calls = vec![Vec::new()];
    let mut words = split(line).into_iter();
    while let Some((word, is_quoted)) = words.next() {
        if is_quoted {
            calls.last_mut().unwrap().push(word);
            continue;
        }
        match word.as_str() {
            "|" | "&&" | ";" | "||" => calls.push(Vec::new()),
            "#" => break,
            ">" | "<" => drop(words.next()),
            _ => {
                // `[--json]` is an option that a usage leaves open, and so is `[GROUP]`.
                let bare = word
                    .trim_start_matches('[')
                    .trim_end_matches("...")
                    .trim_end_matches(']');
                let bare = bare.split_once(['|', '`']).map_or(bare, |(first, _)| first);
                let bare = bare.trim_end_matches(']');
                let value = PLACEHOLDERS.iter().find(|(name, _)| *name == bare);
                let value = value.map_or(bare, |(_, value)| value);
                calls.last_mut().unwrap().push(value.to_owned());
            }
        }
    }
    calls
}

/// Splits a line into words at spaces outside of quotes. Returns whether each was quoted.
fn split(line: &str) -> Vec<(String, bool)> {
    let mut words = Vec::new();
    let (mut word, mut quote, mut was_quoted) = (String::new(), None, false);
    for c in line.chars().chain([' ']) {
        match (quote, c) {
            (None, '\'' | '"') => (quote, was_quoted) = (Some(c), true),
            (Some(open), c) if c == open => quote = None,
            (None, c) if c.is_whitespace() => {
                if !word.is_empty() || was_quoted {
                    words.push((std::mem::take(&mut word), was_quoted));
                }
                was_quoted = false;
            }
            _ => word.push(c),
        }
    }
    words
}
