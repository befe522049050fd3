//! Duplicate keys: the parser reports the second occurrence; this module finds the first one.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::config::diagnostic::{Diagnostics, join, line, quote};

/// The parser's message for a duplicate key.
pub(super) const MESSAGE: &str = "duplicate key";

/// The first occurrence of a key.
struct First {
    name: String,
    /// The full name.
    key: String,
    line: usize,
    /// Both occurrences are tables.
    is_table: bool,
}

/// Reports the duplicate key at `span` with the line of its first occurrence.
pub(super) fn report(diagnostics: &mut Diagnostics, text: &str, span: &Range<usize>) {
    let second = Some(line(text, span.start));
    match first_occurrence(text, span) {
        Some(First {
            key,
            line,
            is_table: true,
            ..
        }) => {
            let message =
                format!("table [{key}] is defined twice, first on line {line}; merge the two");
            diagnostics.error_at(second, &key, message);
        }
        Some(First {
            name, key, line, ..
        }) => {
            let name = quote(&name);
            let message =
                format!("duplicate key {name}, first on line {line}; remove one of the two");
            diagnostics.error_at(second, &key, message);
        }
        None => {
            let written = quote(text.get(span.clone()).unwrap_or_default());
            let message = format!("duplicate key {written}; remove one of the two");
            diagnostics.error_at(second, "", message);
        }
    }
}

/// Finds the first occurrence: with the second one replaced by an unused name, the two are in the same table.
fn first_occurrence(text: &str, span: &Range<usize>) -> Option<First> {
    let name = DeTable::parse(&format!("{} = 0", text.get(span.clone())?))
        .ok()?
        .into_inner()
        .keys()
        .next()?
        .to_string();
    let unused = (0..)
        .map(|number| format!("unused-{number}"))
        .find(|name| !text.contains(name.as_str()))?;
    let mut changed = text.to_owned();
    changed.replace_range(span.clone(), &unused);
    let (document, _) = DeTable::parse_recoverable(&changed);
    let (table, path) = table_with(document.get_ref(), &unused, "")?;
    let (key, value) = table.get_key_value(name.as_str())?;
    let second = table.get(unused.as_str())?;
    Some(First {
        key: join(&path, &name),
        line: line(text, key.span().start),
        is_table: value.get_ref().is_table() && second.get_ref().is_table(),
        name,
    })
}

/// Returns the table that contains `key`, and its full name.
fn table_with<'a, 'i>(
    table: &'a DeTable<'i>,
    key: &str,
    path: &str,
) -> Option<(&'a DeTable<'i>, String)> {
    if table.contains_key(key) {
        return Some((table, path.to_owned()));
    }
    table
        .iter()
        .find_map(|(name, value)| within(value.get_ref(), key, &join(path, name.get_ref())))
}

fn within<'a, 'i>(
    value: &'a DeValue<'i>,
    key: &str,
    path: &str,
) -> Option<(&'a DeTable<'i>, String)> {
    match value {
        DeValue::Table(table) => table_with(table, key, path),
        DeValue::Array(array) => array.iter().enumerate().find_map(|(index, element)| {
            within(element.get_ref(), key, &format!("{path}[{index}]"))
        }),
        _ => None,
    }
}
