//! The tables of facts about stores and attacks in docs/: the tests that they name exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use airlock_test_support::repository;

use crate::architecture::list;

/// The documents and the sections with the tables. The last column names tests.
const TABLES: [(&str, &str); 2] = [
    ("docs/architecture.md", "\n## What stores really do\n"),
    ("docs/security.md", "\n### What an attack costs\n"),
];

#[test]
fn every_row_of_the_tables_of_facts_names_tests_that_exist() {
    let existing = &tests_in("src") | &tests_in("tests/it");
    for (document, heading) in TABLES {
        let text = fs::read_to_string(repository().join(document)).unwrap();
        let (_, section) = text.split_once(heading).expect("the section of the facts");
        let section = section.split("\n## ").next().unwrap();
        let rows: Vec<&str> = section
            .lines()
            .filter(|line| line.starts_with("| "))
            .skip(1)
            .collect();
        assert!(!rows.is_empty());
        for row in rows {
            let row = row.trim_end_matches(" |");
            let (fact, tests) = row.rsplit_once(" | ").expect("two columns");
            let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
            assert!(!names.is_empty(), "no test: {fact}");
            for name in names {
                assert!(existing.contains(name), "no test {name}: {fact}");
            }
        }
    }
}

#[test]
fn a_test_is_found_in_its_module_and_other_functions_are_not() {
    let text = "fn helper() {}\n#[test]\n#[expect(x)]\nfn one() {\n}\n\
                mod inner {\n    #[tokio::test(start_paused = true)]\n    async fn two() {\n    }\n}\n\
                /// After the module.\n#[test]\nfn three() {}\nfn helper_of_three() {}\n";
    let names = ["a::b::one", "a::b::inner::two", "a::b::three"];
    assert_eq!(tests_of(Path::new("a/b.rs"), text), names);
    assert_eq!(tests_of(Path::new("a/b/mod.rs"), text), names);
}

/// Returns the tests in all files below a folder, with the names that `cargo test` prints.
fn tests_in(folder: &str) -> BTreeSet<String> {
    let folder = repository().join(folder);
    let mut files = Vec::new();
    list(&folder, &mut files);
    let tests = files.iter().flat_map(|file| {
        let text = fs::read_to_string(file).unwrap();
        tests_of(file.strip_prefix(&folder).unwrap(), &text)
    });
    tests.collect()
}

/// Returns the tests in the text of a file, of which the path is relative to the root of the crate.
fn tests_of(file: &Path, text: &str) -> Vec<String> {
    let path = file.with_extension("");
    let modules = path.iter().map(|part| part.to_str().unwrap());
    let modules: Vec<&str> = modules.filter(|part| *part != "mod").collect();
    let mut inner = None;
    let mut is_test = false;
    let mut tests = Vec::new();
    for line in text.lines() {
        let code = line.trim_start();
        let code = code.strip_prefix("async ").unwrap_or(code);
        if let Some(module) = line.strip_prefix("mod ") {
            inner = module.strip_suffix(" {");
        } else if line == "}" {
            inner = None;
        } else if code == "#[test]" || code.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some(function) = code.strip_prefix("fn ")
            && std::mem::take(&mut is_test)
        {
            let name = function.split('(').next();
            let path = modules.iter().copied().chain(inner).chain(name);
            tests.push(path.collect::<Vec<_>>().join("::"));
        }
    }
    tests
}
