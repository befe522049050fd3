//! The documentation of the keys agrees with what the server does with them: it is compared for two files that contain
//! every key.

use std::collections::BTreeSet;
use std::iter;
use std::path::Path;

use toml::{Table, Value};

use crate::config::diagnostic::{Diagnostic, Diagnostics};
use crate::config::schema::{self, DefaultValue, Key, Kind};
use crate::config::{Settings, draft};

const FILES: [&str; 2] = [
    include_str!("every_key/etcd.toml"),
    include_str!("every_key/embedded.toml"),
];

/// A file with a key, and what happens without it.
pub(crate) struct Comparison {
    /// The full name, without array indices.
    pub(crate) name: String,
    pub(crate) key: &'static Key,
    pub(crate) with: Settings,
    pub(crate) without: Settings,
    /// Whether the file without the key is invalid.
    is_required: bool,
    /// The settings with the value of the documentation, if it has one.
    with_default: Option<Settings>,
    /// The errors about the key with the examples of the documentation, and with each of the values that it names.
    errors_of_examples: Vec<Diagnostic>,
}

/// Compares the files with what they are without each of their keys.
pub(crate) fn comparisons() -> Vec<Comparison> {
    let mut comparisons = Vec::new();
    for file in FILES {
        let document: Table = toml::from_str(file).unwrap();
        for table in schema::tables() {
            for key in table
                .section
                .keys
                .iter()
                .filter(|key| key.table().is_none())
            {
                for index in 0.. {
                    let change = |value| change(&document, &table.name, key.name, index, value);
                    let Some(without) = change(None) else { break };
                    if without == document {
                        continue;
                    }
                    let default = match key.default {
                        DefaultValue::Value(value) => change(Some(parse(value))),
                        DefaultValue::Required | DefaultValue::Words(_) => None,
                    };
                    let (without, errors) = settings(&without);
                    comparisons.push(Comparison {
                        name: format!("{}.{}", table.name, key.name),
                        key,
                        with: settings(&document).0,
                        without,
                        is_required: !errors.is_empty(),
                        with_default: default.map(|document| settings(&document).0),
                        errors_of_examples: examples(key)
                            .filter_map(|example| change(Some(example)))
                            .flat_map(|document| settings(&document).1)
                            .filter(|error| {
                                error.key.starts_with(&table.name)
                                    && error.key.contains(&format!(".{}", key.name))
                            })
                            .collect(),
                    });
                }
            }
        }
    }
    comparisons
}

/// Returns the document without a key of a table, or with another value; `None` if there is no table with this index.
fn change(
    document: &Table,
    table: &str,
    key: &str,
    index: usize,
    value: Option<Value>,
) -> Option<Table> {
    let mut changed = document.clone();
    let mut tables = vec![&mut changed];
    for name in table.split('.') {
        tables = tables
            .into_iter()
            .filter_map(|table| table.get_mut(name))
            .flat_map(|value| match value {
                Value::Table(table) => vec![table],
                Value::Array(tables) => tables.iter_mut().filter_map(Value::as_table_mut).collect(),
                other => panic!("{other} is no table"),
            })
            .collect();
    }
    let table = tables.into_iter().nth(index)?;
    match value {
        Some(value) => table.insert(key.into(), value),
        None => table.remove(key),
    };
    Some(changed)
}

fn parse(value: &str) -> Value {
    let table: Table = toml::from_str(&format!("x = {value}")).unwrap();
    table["x"].clone()
}

/// Returns the example of the documentation, and each value that it names.
fn examples(key: &Key) -> impl Iterator<Item = Value> {
    let example = iter::once(parse(key.example));
    let named: Vec<Value> = match key.kind {
        Kind::Choice(values) => values.iter().map(|value| Value::from(*value)).collect(),
        Kind::Choices(values) => values
            .iter()
            .map(|value| Value::from(vec![*value]))
            .collect(),
        _ => Vec::new(),
    };
    example.chain(named)
}

/// Returns the settings, also of an invalid file, and its errors.
fn settings(document: &Table) -> (Settings, Vec<Diagnostic>) {
    let mut diagnostics = Diagnostics::new(Path::new("c.toml"));
    let settings = draft(&mut diagnostics, &document.to_string()).unwrap();
    let (_, errors, _) = diagnostics.finish();
    (settings, errors)
}

fn same(one: &Settings, other: &Settings) -> bool {
    format!("{one:?}") == format!("{other:?}")
}

#[test]
fn the_files_contain_every_key_with_an_effect() {
    for file in FILES {
        let (_, errors) = settings(&toml::from_str(file).unwrap());
        assert_eq!(errors, []);
    }
    let comparisons = comparisons();
    let effective = comparisons
        .iter()
        .filter(|comparison| !same(&comparison.with, &comparison.without))
        .map(|comparison| comparison.name.clone());
    let effective: BTreeSet<String> = effective.collect();
    let documented = schema::tables().into_iter().flat_map(|table| {
        let keys = table
            .section
            .keys
            .iter()
            .filter(|key| key.table().is_none());
        keys.map(move |key| format!("{}.{}", table.name, key.name))
    });
    assert_eq!(effective, documented.collect());
}

#[test]
fn the_documented_defaults_and_examples_are_right() {
    for comparison in comparisons() {
        let name = &comparison.name;
        if let Some(with_default) = &comparison.with_default {
            assert!(same(with_default, &comparison.without), "{name}");
        }
        if matches!(comparison.key.default, DefaultValue::Required) {
            assert!(comparison.is_required, "{name} is not required");
        }
        assert_eq!(comparison.errors_of_examples, [], "{name}");
    }
}
