//! The TOML document with locations: values are taken out of tables by key and type.

mod duplicate;
mod syntax;

use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostics, Located, join, line, quote};
use super::field::{Field, NumberRange};

/// The ports that a listener can have.
pub(super) const PORT: NumberRange = NumberRange::new(0, u16::MAX as u64);

/// A table from which values are taken. The keys that are left at the end are unknown ones.
pub(super) struct Table<'t> {
    /// The full name; empty for the document itself.
    name: String,
    text: &'t str,
    values: DeTable<'t>,
}

/// A value of any type, with its place and its source text.
struct Raw<'t> {
    place: Located<()>,
    value: DeValue<'t>,
    text: &'t str,
    span: Range<usize>,
}

// === impl Table ===

impl<'t> Table<'t> {
    /// Parses a document. Returns `None` if it is invalid TOML, which is an error. A duplicate key is an error too, but
    /// the rest of the document is read nevertheless.
    pub(super) fn document(diagnostics: &mut Diagnostics, text: &'t str) -> Option<Self> {
        let (document, errors) = DeTable::parse_recoverable(text);
        let (duplicates, invalid): (Vec<_>, Vec<_>) = errors
            .iter()
            .partition(|error| error.message() == duplicate::MESSAGE);
        for error in duplicates {
            duplicate::report(diagnostics, text, &error.span().unwrap_or_default());
        }
        let readable = invalid.is_empty();
        syntax::report(diagnostics, text, invalid);
        readable.then(|| Table::new(String::new(), text, document.into_inner()))
    }

    pub(super) fn take_bool(
        &mut self,
        diagnostics: &mut Diagnostics,
        key: &'static str,
    ) -> Field<bool> {
        let raw = self.take(diagnostics, key);
        raw.map_or(Field::Absent, |raw| {
            raw.convert(diagnostics, "true or false", |value| value.as_bool())
        })
    }

    pub(super) fn take_string(
        &mut self,
        diagnostics: &mut Diagnostics,
        key: &'static str,
    ) -> Field<String> {
        let raw = self.take(diagnostics, key);
        raw.map_or(Field::Absent, |raw| raw.into_string(diagnostics))
    }

    /// Takes a string. An empty one, which templates leave behind, is absent, as in coreos/airlock.
    pub(super) fn take_unless_empty(
        &mut self,
        diagnostics: &mut Diagnostics,
        key: &'static str,
    ) -> Field<String> {
        match self.take_string(diagnostics, key) {
            Field::Present(found) if found.value.is_empty() => Field::Absent,
            field => field,
        }
    }

    pub(super) fn take_number(
        &mut self,
        diagnostics: &mut Diagnostics,
        key: &'static str,
        range: &NumberRange,
    ) -> Field<u64> {
        let raw = self.take(diagnostics, key);
        raw.map_or(Field::Absent, |raw| {
            if number(&raw.value) == Some(0)
                && !range.contains(0)
                && let Some(remedy) = range.instead_of_zero
            {
                diagnostics.error(&raw.place, format!("expected {range}, found 0; {remedy}"));
                return Field::Invalid;
            }
            raw.convert(diagnostics, &range.to_string(), |value| {
                number(value).filter(|number| range.contains(*number))
            })
        })
    }

    /// Takes the port of a listener. One that is too large is no error here: a listener that is disabled may have any.
    pub(super) fn take_port(
        &mut self,
        diagnostics: &mut Diagnostics,
        key: &'static str,
    ) -> Field<u64> {
        let raw = self.take(diagnostics, key);
        raw.map_or(Field::Absent, |raw| {
            raw.convert(diagnostics, &PORT.to_string(), number)
        })
    }

    /// Takes an array of strings, each with its own place.
    pub(super) fn take_strings(
        &mut self,
        diagnostics: &mut Diagnostics,
        key: &'static str,
    ) -> Field<Vec<Located<String>>> {
        let raw = self.take(diagnostics, key);
        raw.map_or(Field::Absent, |raw| {
            let expected = "an array of strings such as [\"a\", \"b\"]";
            raw.into_array(diagnostics, expected, Raw::into_string)
        })
    }

    /// Takes an array of whole numbers from `-max` to `max` without zero, each with its own place.
    pub(super) fn take_nonzero_numbers(
        &mut self,
        diagnostics: &mut Diagnostics,
        key: &'static str,
        max: i8,
    ) -> Field<Vec<Located<i8>>> {
        let raw = self.take(diagnostics, key);
        raw.map_or(Field::Absent, |raw| {
            let expected = "an array of numbers such as [1, -1]";
            raw.into_array(diagnostics, expected, |raw, diagnostics| {
                let expected = format!(
                    "a whole number from 1 (the first) to {max} or from -{max} to -1 (the last)"
                );
                raw.convert(diagnostics, &expected, |value| {
                    let integer = value.as_integer()?;
                    let number = i8::from_str_radix(integer.as_str(), integer.radix()).ok()?;
                    (number != 0 && (-max..=max).contains(&number)).then_some(number)
                })
            })
        })
    }

    /// Takes a string, or a date or time of TOML, which becomes a string of the same form.
    pub(super) fn take_date_time(
        &mut self,
        diagnostics: &mut Diagnostics,
        key: &'static str,
    ) -> Field<String> {
        let raw = self.take(diagnostics, key);
        raw.map_or(Field::Absent, |raw| {
            let expected =
                "a date such as 2026-12-20, or a local date and time such as 2026-12-20T18:00";
            raw.convert(diagnostics, expected, |value| {
                let date_time = value.as_datetime().map(ToString::to_string);
                date_time.or_else(|| value.as_str().map(str::to_owned))
            })
        })
    }

    pub(super) fn take_table(
        &mut self,
        diagnostics: &mut Diagnostics,
        key: &'static str,
    ) -> Field<Table<'t>> {
        let raw = self.take(diagnostics, key);
        raw.map_or(Field::Absent, |raw| {
            let header = format!("[{}]", without_indices(&raw.place.key));
            raw.into_table(diagnostics, &header)
        })
    }

    /// Takes an array of tables.
    pub(super) fn take_tables(
        &mut self,
        diagnostics: &mut Diagnostics,
        key: &'static str,
    ) -> Field<Vec<Located<Table<'t>>>> {
        let raw = self.take(diagnostics, key);
        raw.map_or(Field::Absent, |raw| {
            let header = format!("[[{}]]", without_indices(&raw.place.key));
            let expected = format!("tables, each written as {header}");
            raw.into_array(diagnostics, &expected, |raw, diagnostics| {
                raw.into_table(diagnostics, &header)
            })
        })
    }

    /// Adds the keys that were not taken to the unknown ones.
    pub(super) fn finish(self, diagnostics: &mut Diagnostics) {
        let table = without_indices(&self.name);
        for key in self.values.keys() {
            let unknown = Located {
                value: key.get_ref().clone().into_owned(),
                line: Some(line(self.text, key.span().start)),
                key: join(&self.name, key.get_ref()),
            };
            diagnostics.unknown(&table, unknown);
        }
    }

    fn new(name: String, text: &'t str, values: DeTable<'t>) -> Self {
        Table { name, text, values }
    }

    /// Takes a value of any type.
    fn take(&mut self, diagnostics: &mut Diagnostics, key: &'static str) -> Option<Raw<'t>> {
        let (name, value) = match self.values.remove_entry(key) {
            Some(exactly) => exactly,
            // As in coreos/airlock, case is ignored unless one key matches exactly.
            None => {
                let mut names = self.values.keys().map(|name| name.get_ref());
                let name = names.find(|name| name.eq_ignore_ascii_case(key))?.clone();
                self.values.remove_entry(name.as_ref())?
            }
        };
        let place = Located {
            value: (),
            line: Some(line(self.text, name.span().start)),
            key: join(&self.name, key),
        };
        diagnostics.found(&place);
        Some(Raw::new(place, value, self.text))
    }
}

// === impl Raw ===

impl<'t> Raw<'t> {
    fn new(place: Located<()>, value: Spanned<DeValue<'t>>, text: &'t str) -> Self {
        Raw {
            place,
            span: value.span(),
            value: value.into_inner(),
            text,
        }
    }

    /// Converts the value; another type than the expected one is an error.
    fn convert<T>(
        self,
        diagnostics: &mut Diagnostics,
        expected: &str,
        convert: impl Fn(&DeValue<'_>) -> Option<T>,
    ) -> Field<T> {
        if let Some(value) = convert(&self.value) {
            return Field::Present(self.place.with(value));
        }
        let unquoted = self.value.as_str().map(DeValue::parse);
        let remedy = match unquoted {
            Some(Ok(value)) if convert(value.get_ref()).is_some() => "; remove the quotes",
            _ => "",
        };
        self.invalid(diagnostics, expected, remedy)
    }

    fn into_string(self, diagnostics: &mut Diagnostics) -> Field<String> {
        self.convert(diagnostics, "a string in quotes", |value| {
            value.as_str().map(str::to_owned)
        })
    }

    fn into_table(self, diagnostics: &mut Diagnostics, header: &str) -> Field<Table<'t>> {
        match self.value {
            DeValue::Table(values) => {
                let table = Table::new(self.place.key.clone(), self.text, values);
                Field::Present(self.place.with(table))
            }
            value => {
                let expected = format!("a table, written as {header}");
                Raw { value, ..self }.invalid(diagnostics, &expected, "")
            }
        }
    }

    /// Converts all elements of an array. Invalid ones, which are reported, are left out; without a valid one, the array
    /// is invalid.
    fn into_array<T>(
        self,
        diagnostics: &mut Diagnostics,
        expected: &str,
        convert: impl Fn(Self, &mut Diagnostics) -> Field<T>,
    ) -> Field<Vec<Located<T>>> {
        let array = match self.value {
            DeValue::Array(array) => array,
            value => return Raw { value, ..self }.invalid(diagnostics, expected, ""),
        };
        let count = array.len();
        let elements = array.into_iter().enumerate().filter_map(|(index, value)| {
            let place = Located {
                value: (),
                line: Some(line(self.text, value.span().start)),
                key: format!("{}[{index}]", self.place.key),
            };
            convert(Raw::new(place, value, self.text), diagnostics).present()
        });
        let elements: Vec<_> = elements.collect();
        if elements.is_empty() && count > 0 {
            Field::Invalid
        } else {
            Field::Present(self.place.with(elements))
        }
    }

    fn invalid<T>(&self, diagnostics: &mut Diagnostics, expected: &str, remedy: &str) -> Field<T> {
        let text = format!("expected {expected}, found {self}{remedy}");
        diagnostics.error(&self.place, text);
        Field::Invalid
    }
}

impl fmt::Display for Raw<'_> {
    /// Describes the value: scalars as they are written, others by their type.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            DeValue::String(value) => f.write_str(&quote(value)),
            DeValue::Array(array) if array.is_empty() => f.write_str("an empty array"),
            DeValue::Array(_) => f.write_str("an array"),
            DeValue::Table(_) => f.write_str("a table"),
            _ => {
                let written = self.text.get(self.span.clone()).unwrap_or_default();
                match written.char_indices().nth(40) {
                    Some((end, _)) => write!(f, "{}…", &written[..end]),
                    None => f.write_str(written),
                }
            }
        }
    }
}

fn number(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn without_indices(name: &str) -> String {
    let mut within = false;
    name.chars()
        .filter(|c| {
            within = (within || *c == '[') && *c != ']';
            !within && *c != ']'
        })
        .collect()
}
