//! What the documentation says about a table and its keys, and the macro that also makes their reader of it.

use std::{fmt, iter};

use crate::config::diagnostic::{Diagnostics, Located, join};
use crate::config::field::{Field, NumberRange};
use crate::config::toml::{PORT, Table};

/// A table of the file.
pub(crate) struct Section {
    /// Its purpose, in Markdown, as lines of a comment.
    pub(super) text: &'static str,
    /// Its keys, in the order of the documentation.
    pub(crate) keys: &'static [Key],
    /// The conditions on several of its keys.
    pub(crate) rules: &'static [Rule],
}

/// A table of the file with its name.
pub(crate) struct NamedSection {
    /// The full name without array indices; empty for the document itself.
    pub(crate) name: String,
    /// Whether there may be several such tables, written `[[name]]`.
    pub(crate) is_array: bool,
    /// What it contains.
    pub(crate) section: &'static Section,
}

/// A key of a table.
pub(crate) struct Key {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its meaning, in Markdown, as lines of a comment.
    text: &'static str,
    /// Its values.
    pub(crate) kind: Kind,
    /// What applies without it.
    pub(crate) default: DefaultValue,
    /// When a change applies.
    pub(crate) applies: Applies,
    /// A value, in TOML; empty for a table.
    pub(crate) example: &'static str,
    /// Whether coreos/airlock has the key, too.
    pub(crate) is_original: bool,
}

/// The values that a key accepts.
pub(crate) enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer(NumberRange),
    /// The port of a listener.
    Port,
    /// A string.
    Text,
    /// A string, of which an empty one counts as absent.
    TextUnlessEmpty,
    /// The path of a file that the server reads.
    File,
    /// The path of a file that the server reads, of which an empty one counts as absent.
    FileUnlessEmpty,
    /// The path of a file that the server writes.
    Path,
    /// A URL with `http` or `https`.
    Url,
    /// One of these strings.
    Choice(&'static [&'static str]),
    /// A time of day.
    Time,
    /// A date, or a local date and time: a string, or a value of that type.
    DateTime,
    /// An array of strings.
    Texts,
    /// An array of these strings.
    Choices(&'static [&'static str]),
    /// An array of days of the week.
    Weekdays,
    /// An array of numbers from `-max` to `max` without zero.
    NonzeroIntegers(i8),
    /// A table.
    Table(&'static Section),
    /// An array of tables.
    Tables(&'static Section),
}

/// What applies without a key.
pub(crate) enum DefaultValue {
    /// The key is required.
    Required,
    /// This value, in TOML.
    Value(&'static str),
    /// What these words say, in Markdown.
    Words(&'static str),
}

/// When a change of a key applies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applies {
    /// On a reload of the configuration.
    Reload,
    /// On a restart of the server.
    Restart,
}

/// A condition on several keys of a table.
pub(crate) enum Rule {
    /// Exactly one of the keys is present.
    ExactlyOne([&'static str; 2]),
    /// At least one of the keys is present.
    AtLeastOne([&'static str; 2]),
    /// At most one of the keys is present.
    AtMostOne([&'static str; 2]),
    /// Either both keys are present, or none of them.
    Together([&'static str; 2]),
    /// The keys are required unless the boolean key is `false`.
    RequiredUnlessFalse(&'static str, [&'static str; 2]),
}

/// Returns a key that the file has to contain.
pub(super) const fn required() -> Key {
    Key::new(DefaultValue::Required)
}

/// Returns a key with a default, a value in TOML.
pub(super) const fn defaults_to(value: &'static str) -> Key {
    Key::new(DefaultValue::Value(value))
}

/// Returns a key that may be absent, which is nothing special.
pub(super) const fn optional() -> Key {
    Key::new(DefaultValue::Words(""))
}

/// Returns a key with a default that is not a value.
pub(super) const fn without_it(words: &'static str) -> Key {
    Key::new(DefaultValue::Words(words))
}

// === impl Section ===

impl Section {
    /// Returns the purpose, in Markdown.
    pub(crate) fn about(&self) -> &'static str {
        self.text.trim_start()
    }

    /// Returns this table and all tables in it, in the order of the documentation. This one has the name `name`.
    pub(crate) fn tables(&'static self, name: &str, is_array: bool) -> Vec<NamedSection> {
        let own = NamedSection {
            name: name.to_owned(),
            is_array,
            section: self,
        };
        let inner = self.keys.iter().filter_map(|key| {
            let is_array = matches!(key.kind, Kind::Tables(_));
            Some(key.table()?.tables(&join(name, key.name), is_array))
        });
        iter::once(own).chain(inner.flatten()).collect()
    }
}

// === impl NamedSection ===

impl NamedSection {
    /// Returns the line that starts the table; empty for the document itself.
    pub(crate) fn header(&self) -> String {
        match (&*self.name, self.is_array) {
            ("", _) => String::new(),
            (name, true) => format!("[[{name}]]"),
            (name, false) => format!("[{name}]"),
        }
    }
}

// === impl Key ===

impl Key {
    const fn new(default: DefaultValue) -> Self {
        Key {
            name: "",
            text: "",
            kind: Kind::Boolean,
            default,
            applies: Applies::Reload,
            example: "",
            is_original: false,
        }
    }

    /// Sets the example, a value in TOML.
    pub(super) const fn example(mut self, value: &'static str) -> Self {
        self.example = value;
        self
    }

    /// Marks a key that coreos/airlock has, too.
    pub(super) const fn original(mut self) -> Self {
        self.is_original = true;
        self
    }

    /// Marks a key of which a change needs a restart, although one of its table does not.
    pub(super) const fn on_restart(mut self) -> Self {
        self.applies = Applies::Restart;
        self
    }

    /// Completes a key of a table of which changes apply then.
    pub(super) const fn of_table(
        mut self,
        name: &'static str,
        text: &'static str,
        kind: Kind,
        applies: Applies,
    ) -> Self {
        self.name = name;
        self.text = text;
        self.kind = kind;
        if matches!(applies, Applies::Restart) {
            self.applies = Applies::Restart;
        }
        self
    }

    /// Returns the meaning, in Markdown.
    pub(crate) fn about(&self) -> &'static str {
        self.text.trim_start()
    }

    /// Returns the table, or the tables of the array, that the key contains.
    pub(crate) fn table(&self) -> Option<&'static Section> {
        match self.kind {
            Kind::Table(table) | Kind::Tables(table) => Some(table),
            _ => None,
        }
    }
}

// === impl Kind ===

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Boolean => f.write_str("`true` or `false`"),
            Kind::Integer(range) => write!(f, "{}", range.to_string().trim_start_matches("a ")),
            Kind::Port => write!(f, "{}", PORT.to_string().trim_start_matches("a ")),
            Kind::Text | Kind::TextUnlessEmpty => f.write_str("string"),
            Kind::File | Kind::FileUnlessEmpty | Kind::Path => f.write_str("path of a file"),
            Kind::Url => f.write_str("URL"),
            Kind::Choice(values) => f.write_str(&quoted(values, "or")),
            Kind::Time => f.write_str("time of day"),
            Kind::DateTime => f.write_str("date, or date and time"),
            Kind::Texts => f.write_str("array of strings"),
            Kind::Choices(values) => write!(f, "array of {}", quoted(values, "and")),
            Kind::Weekdays => f.write_str("array of days"),
            Kind::NonzeroIntegers(max) => {
                write!(
                    f,
                    "array of whole numbers from 1 to {max} or from -{max} to -1"
                )
            }
            Kind::Table(_) => f.write_str("table"),
            Kind::Tables(_) => f.write_str("array of tables"),
        }
    }
}

/// Lists strings as values in Markdown: `"a"`, `"b"`, and `"c"`.
fn quoted(values: &[&str], word: &str) -> String {
    let values: Vec<String> = values
        .iter()
        .map(|value| format!("`\"{value}\"`"))
        .collect();
    listed(&values, word).unwrap_or_default()
}

/// Lists words in a sentence: `a, b, and c`. Returns `None` without any.
pub(crate) fn listed(words: &[String], word: &str) -> Option<String> {
    match words {
        [] => None,
        [only] => Some(only.clone()),
        [first, second] => Some(format!("{first} {word} {second}")),
        [others @ .., last] => Some(format!("{}, {word} {last}", others.join(", "))),
    }
}

// === impl DefaultValue ===

impl fmt::Display for DefaultValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DefaultValue::Required => f.write_str("required"),
            DefaultValue::Value(value) => write!(f, "`{value}`"),
            DefaultValue::Words(words) => f.write_str(words),
        }
    }
}

// === impl Applies ===

impl fmt::Display for Applies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Applies::Reload => "reload",
            Applies::Restart => "restart",
        })
    }
}

// === impl Rule ===

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::ExactlyOne([one, other]) => {
                write!(f, "Exactly one of `{one}` and `{other}` is present.")
            }
            Rule::AtLeastOne([one, other]) => {
                write!(f, "At least one of `{one}` and `{other}` is present.")
            }
            Rule::AtMostOne([one, other]) => {
                write!(f, "At most one of `{one}` and `{other}` is present.")
            }
            Rule::Together([one, other]) => {
                write!(f, "`{one}` and `{other}` are set together, or not at all.")
            }
            Rule::RequiredUnlessFalse(key, [one, other]) => write!(
                f,
                "`{one}` and `{other}` are required unless `{key}` is `false`."
            ),
        }
    }
}

/// Reads each table of an array.
pub(super) fn read_each<'t, T>(
    diagnostics: &mut Diagnostics,
    field: Field<Vec<Located<Table<'t>>>>,
    read: impl Fn(&mut Diagnostics, Table<'t>) -> T,
) -> Field<Vec<Located<T>>> {
    field.map(|tables| {
        let read = tables.into_iter().map(|table| {
            let Located { value, line, key } = table;
            let value = read(diagnostics, value);
            Located { value, line, key }
        });
        read.collect()
    })
}

/// Defines a table of the file: `TABLE, WHEN CHANGES APPLY, RULES => { KEY: KIND = PROPERTIES, … }`. `TABLE::SECTION`
/// describes it, and `TABLE::read` reads it into a struct, so that both have the same keys, types, and ranges. The
/// comments of the table and of its keys are what users read.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $table:ident, $applies:ident $(, $rule:expr)* => {
            $( $(#[doc = $text:literal])+ $key:ident: $kind:ident $(($($of:tt)+))? = $properties:expr, )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Default)]
        pub(in crate::config) struct $table {
            $(
                $(#[doc = $text])+
                pub(in crate::config) $key: Field<section!(@type $kind $(($($of)+))?)>,
            )+
        }

        impl $table {
            /// The description of the table.
            pub(in crate::config) const SECTION: &'static Section = &Section {
                text: concat!($($about),+),
                keys: &[$(
                    $properties.of_table(
                        stringify!($key),
                        concat!($($text),+),
                        section!(@kind $kind $(($($of)+))?),
                        Applies::$applies,
                    ),
                )+],
                rules: &[$($rule),*],
            };

            /// Takes the keys out of a table, and reports those that are left.
            pub(in crate::config) fn read(diagnostics: &mut Diagnostics, mut table: Table<'_>) -> Self {
                let read = $table {
                    $( $key: section!(@take diagnostics, table, stringify!($key), $kind $(($($of)+))?), )+
                };
                table.finish(diagnostics);
                read
            }
        }
    };

    (@type Boolean) => { bool };
    (@type Integer ($range:expr)) => { u64 };
    (@type Port) => { u64 };
    (@type Texts) => { Vec<Located<String>> };
    (@type Choices ($values:expr)) => { Vec<Located<String>> };
    (@type Weekdays) => { Vec<Located<String>> };
    (@type NonzeroIntegers ($max:expr)) => { Vec<Located<i8>> };
    (@type Table ($table:ident)) => { $table };
    (@type Tables ($table:ident)) => { Vec<Located<$table>> };
    (@type $kind:ident $(($of:expr))?) => { String };

    (@kind Table ($table:ident)) => { Kind::Table($table::SECTION) };
    (@kind Tables ($table:ident)) => { Kind::Tables($table::SECTION) };
    (@kind $kind:ident $(($of:expr))?) => { Kind::$kind $(($of))? };

    (@take $diagnostics:ident, $from:ident, $key:expr, Boolean) => {
        $from.take_bool($diagnostics, $key)
    };
    (@take $diagnostics:ident, $from:ident, $key:expr, Integer ($range:expr)) => {
        $from.take_number($diagnostics, $key, &$range)
    };
    (@take $diagnostics:ident, $from:ident, $key:expr, Port) => {
        $from.take_port($diagnostics, $key)
    };
    (@take $diagnostics:ident, $from:ident, $key:expr, TextUnlessEmpty) => {
        $from.take_unless_empty($diagnostics, $key)
    };
    (@take $diagnostics:ident, $from:ident, $key:expr, FileUnlessEmpty) => {
        $from.take_unless_empty($diagnostics, $key)
    };
    (@take $diagnostics:ident, $from:ident, $key:expr, DateTime) => {
        $from.take_date_time($diagnostics, $key)
    };
    (@take $diagnostics:ident, $from:ident, $key:expr, Texts) => {
        $from.take_strings($diagnostics, $key)
    };
    (@take $diagnostics:ident, $from:ident, $key:expr, Choices ($values:expr)) => {
        $from.take_strings($diagnostics, $key)
    };
    (@take $diagnostics:ident, $from:ident, $key:expr, Weekdays) => {
        $from.take_strings($diagnostics, $key)
    };
    (@take $diagnostics:ident, $from:ident, $key:expr, NonzeroIntegers ($max:expr)) => {
        $from.take_nonzero_numbers($diagnostics, $key, $max)
    };
    (@take $diagnostics:ident, $from:ident, $key:expr, Table ($table:ident)) => {
        $from.take_table($diagnostics, $key).map(|table| $table::read($diagnostics, table))
    };
    (@take $diagnostics:ident, $from:ident, $key:expr, Tables ($table:ident)) => {{
        let tables = $from.take_tables($diagnostics, $key);
        read_each($diagnostics, tables, $table::read)
    }};
    (@take $diagnostics:ident, $from:ident, $key:expr, $kind:ident $(($of:expr))?) => {
        $from.take_string($diagnostics, $key)
    };
}

pub(super) use section;
