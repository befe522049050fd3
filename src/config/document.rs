//! TOML with places: takes values out of tables by key and type, and notes what is wrong or unknown.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Diagnostic;

/// What there is to say about a file, collected while it is read.
pub struct Notes<'t> {
    path: PathBuf,
    text: &'t str,
    pub errors: Vec<Diagnostic>,
    pub warnings: Vec<Diagnostic>,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct At<T> {
    pub value: T,
    pub line: usize,
    /// The full name of its key.
    pub key: String,
}

/// A table that is being emptied. What nobody took when it is finished is unknown.
pub struct Table<'t> {
    /// Its full name, empty for the file itself.
    name: String,
    values: DeTable<'t>,
    known: Vec<&'static str>,
}

/// A type that a value may have.
pub trait FromToml: Sized {
    /// With its article, for "must be …".
    const NAME: &'static str;
    fn from_toml(value: &DeValue<'_>) -> Option<Self>;
}

// === impl Notes ===

impl<'t> Notes<'t> {
    pub fn new(path: &Path, text: &'t str) -> Self {
        Notes {
            path: path.to_owned(),
            text,
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The whole file; `None` (and errors) if it is no TOML.
    pub fn document(&mut self) -> Option<Table<'t>> {
        let (document, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let line = error.span().map(|span| self.line(&span));
            let text = format!("not valid TOML: {}", error.message());
            let diagnostic = self.diagnostic(line, "", text);
            self.errors.push(diagnostic);
        }
        errors.is_empty().then(|| Table {
            name: String::new(),
            values: document.into_inner(),
            known: Vec::new(),
        })
    }

    /// Something that keeps the server from starting.
    pub fn error<T>(&mut self, at: &At<T>, text: impl Into<String>) {
        let diagnostic = self.diagnostic(Some(at.line), &at.key, text.into());
        self.errors.push(diagnostic);
    }

    /// The same about a key that is not in the file.
    pub fn missing(&mut self, key: &str, text: impl Into<String>) {
        let diagnostic = self.diagnostic(None, key, text.into());
        self.errors.push(diagnostic);
    }

    /// Something odd.
    pub fn warning<T>(&mut self, at: &At<T>, text: impl Into<String>) {
        let diagnostic = self.diagnostic(Some(at.line), &at.key, text.into());
        self.warnings.push(diagnostic);
    }

    fn diagnostic(&self, line: Option<usize>, key: &str, text: String) -> Diagnostic {
        Diagnostic {
            file: self.path.clone(),
            line,
            key: key.to_owned(),
            text,
        }
    }

    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        1 + before.matches('\n').count()
    }
}

// === impl Table ===

impl<'t> Table<'t> {
    /// Takes a value of type `T`; another type is an error.
    pub fn take<T: FromToml>(&mut self, notes: &mut Notes<'_>, key: &'static str) -> Option<At<T>> {
        let (found, span) = self.take_value(notes, key)?;
        match T::from_toml(&found.value) {
            Some(value) => Some(At {
                value,
                line: found.line,
                key: found.key,
            }),
            None => {
                let written = notes.text.get(span).unwrap_or_default();
                notes.error(&found, format!("must be {}, not {written}", T::NAME));
                None
            }
        }
    }

    /// Takes a string; an empty one, as templates leave it behind, is none. As with Airlock.
    pub fn take_unless_empty(
        &mut self,
        notes: &mut Notes<'_>,
        key: &'static str,
    ) -> Option<At<String>> {
        self.take(notes, key)
            .filter(|found: &At<String>| !found.value.is_empty())
    }

    /// Takes a table, empty if there is none.
    pub fn take_table(
        &mut self,
        notes: &mut Notes<'_>,
        key: &'static str,
    ) -> Option<At<Table<'t>>> {
        let (found, _) = self.take_value(notes, key)?;
        table(notes, found)
    }

    /// Takes an array of tables, empty if there is none.
    pub fn take_tables(
        &mut self,
        notes: &mut Notes<'_>,
        key: &'static str,
    ) -> Option<At<Vec<At<Table<'t>>>>> {
        let (found, _) = self.take_value(notes, key)?;
        let DeValue::Array(array) = found.value else {
            notes.error(&found, format!("must be tables, written [[{}]]", found.key));
            return None;
        };
        let tables = array
            .into_iter()
            .filter_map(|element| {
                let line = notes.line(&element.span());
                let key = found.key.clone();
                let value = element.into_inner();
                table(notes, At { value, line, key })
            })
            .collect();
        Some(At {
            value: tables,
            line: found.line,
            key: found.key,
        })
    }

    /// Warns of every key that nobody asked for, since it is most likely misspelt.
    pub fn finish(self, notes: &mut Notes<'_>) {
        for key in self.values.keys() {
            let unknown = At {
                value: (),
                line: notes.line(&key.span()),
                key: join(&self.name, key.get_ref()),
            };
            let near = self
                .known
                .iter()
                .map(|known| (strsim::damerau_levenshtein(known, key.get_ref()), known))
                .min()
                .filter(|(distance, known)| *distance <= known.len().div_ceil(2));
            let hint = match near {
                Some((_, known)) => format!("; did you mean {}?", join(&self.name, known)),
                None => String::new(),
            };
            notes.warning(&unknown, format!("unknown key, ignored{hint}"));
        }
    }

    /// The value of a key, and where in the text it stands.
    fn take_value(
        &mut self,
        notes: &Notes<'_>,
        key: &'static str,
    ) -> Option<(At<DeValue<'t>>, Range<usize>)> {
        self.known.push(key);
        let (name, value) = match self.values.remove_entry(key) {
            Some(exactly) => exactly,
            // As with Airlock, upper and lower case are the same where nothing fits better.
            None => {
                let mut names = self.values.keys().map(|name| name.get_ref());
                let name = names.find(|name| name.eq_ignore_ascii_case(key))?.clone();
                self.values.remove_entry(name.as_ref())?
            }
        };
        let span = value.span();
        let found = At {
            line: notes.line(&name.span()),
            key: join(&self.name, key),
            value: value.into_inner(),
        };
        Some((found, span))
    }
}

fn table<'t>(notes: &mut Notes<'_>, found: At<DeValue<'t>>) -> Option<At<Table<'t>>> {
    let At { value, line, key } = found;
    match value {
        DeValue::Table(values) => Some(At {
            value: Table {
                name: key.clone(),
                values,
                known: Vec::new(),
            },
            line,
            key,
        }),
        other => {
            let kind = other.type_str();
            let text = format!("must be a table, written [{key}], not of type {kind}");
            notes.error(
                &At {
                    value: (),
                    line,
                    key,
                },
                text,
            );
            None
        }
    }
}

fn join(table: &str, key: &str) -> String {
    if table.is_empty() {
        key.to_owned()
    } else {
        format!("{table}.{key}")
    }
}

// === impl FromToml ===

impl FromToml for bool {
    const NAME: &'static str = "true or false";

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        value.as_bool()
    }
}

impl FromToml for String {
    const NAME: &'static str = "a string";

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }
}

impl FromToml for u64 {
    const NAME: &'static str = "a whole number, 0 or more";

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        let integer = value.as_integer()?;
        u64::from_str_radix(integer.as_str(), integer.radix()).ok()
    }
}

impl<T: FromToml> FromToml for Vec<T> {
    const NAME: &'static str = "an array of strings";

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        let elements = value.as_array()?.iter().map(Spanned::get_ref);
        elements.map(T::from_toml).collect()
    }
}
