//! The content of a key of a table: nothing, an invalid value, or a valid one with its place.

use std::fmt;

use super::diagnostic::Located;

/// The content of a table under a key.
///
/// An invalid value is not absent: it was already reported, and nothing else must be reported because of it.
#[derive(Clone, Debug, Default)]
pub(super) enum Field<T> {
    /// The table does not contain the key.
    #[default]
    Absent,
    /// The value has the wrong type or is out of range, which was reported.
    Invalid,
    Present(Located<T>),
}

/// Two fields that are configured together or not at all.
pub(super) enum Pair<A, B> {
    Both(Located<A>, Located<B>),
    OnlyFirst(Located<A>),
    OnlySecond(Located<B>),
    Neither,
    /// At least one of them is invalid.
    Invalid,
}

/// The numbers that a key accepts.
pub(crate) struct NumberRange {
    /// The least one.
    pub(crate) min: u64,
    /// The greatest one; `u64::MAX`: there is none.
    pub(crate) max: u64,
    /// The remedy for zero, where zero has an obvious intention.
    pub(super) instead_of_zero: Option<&'static str>,
}

// === impl Field ===

impl<T> Field<T> {
    pub(super) fn present(self) -> Option<Located<T>> {
        match self {
            Field::Present(found) => Some(found),
            Field::Absent | Field::Invalid => None,
        }
    }

    pub(super) fn as_present(&self) -> Option<&Located<T>> {
        match self {
            Field::Present(found) => Some(found),
            Field::Absent | Field::Invalid => None,
        }
    }

    /// Returns the value, or the default one if there is no valid value.
    pub(super) fn value_or_default(self) -> T
    where
        T: Default,
    {
        self.present().map(|found| found.value).unwrap_or_default()
    }

    /// Returns the value, or `default` if there is no valid value.
    pub(super) fn value_or(self, default: T) -> T {
        self.present().map_or(default, |found| found.value)
    }

    /// Returns a table, or the default one without a line if it is absent, or `invalid` if it is invalid.
    pub(super) fn or_missing_table(self, name: &str, invalid: impl FnOnce() -> T) -> Located<T>
    where
        T: Default,
    {
        let value = match self {
            Field::Present(found) => return found,
            Field::Absent => T::default(),
            Field::Invalid => invalid(),
        };
        Located {
            value,
            line: None,
            key: name.to_owned(),
        }
    }

    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Field::Absent)
    }

    /// Converts a present value.
    pub(super) fn map<U>(self, convert: impl FnOnce(T) -> U) -> Field<U> {
        match self {
            Field::Absent => Field::Absent,
            Field::Invalid => Field::Invalid,
            Field::Present(Located { value, line, key }) => Field::Present(Located {
                value: convert(value),
                line,
                key,
            }),
        }
    }

    pub(super) fn with<U>(self, other: Field<U>) -> Pair<T, U> {
        match (self, other) {
            (Field::Present(first), Field::Present(second)) => Pair::Both(first, second),
            (Field::Present(first), Field::Absent) => Pair::OnlyFirst(first),
            (Field::Absent, Field::Present(second)) => Pair::OnlySecond(second),
            (Field::Absent, Field::Absent) => Pair::Neither,
            (Field::Invalid, _) | (_, Field::Invalid) => Pair::Invalid,
        }
    }
}

// === impl NumberRange ===

impl NumberRange {
    pub(super) const fn new(min: u64, max: u64) -> Self {
        NumberRange {
            min,
            max,
            instead_of_zero: None,
        }
    }

    /// Returns the range that also contains zero.
    pub(super) const fn or_zero(&self) -> Self {
        NumberRange::new(0, self.max)
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        (self.min..=self.max).contains(&number)
    }
}

impl fmt::Display for NumberRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max) {
            (0, u64::MAX) => write!(f, "a whole number"),
            (min, u64::MAX) => write!(f, "a whole number, {min} or more"),
            (min, max) => write!(f, "a whole number from {min} to {max}"),
        }
    }
}
