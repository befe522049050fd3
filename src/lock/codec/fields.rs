//! The fields of a stored semaphore, as other programs write them.
//!
//! coreos/airlock reads with Go's `encoding/json`, which accepts much more than it writes. Each value is read as
//! coreos/airlock reads it, or refused: no holder that it sees is ever missing here.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::super::semaphore::Semaphore;
use super::JsonProblem;

const TOTAL_SLOTS: &str = "total_slots";
const HOLDERS: &str = "holders";

/// The fields as they occur in the JSON.
#[derive(Debug, Default)]
pub(super) struct Fields {
    total_slots: Option<u64>,
    holders: Option<Vec<Arc<str>>>,
    /// A field that occurs more than once.
    repeated: Option<&'static str>,
}

impl Fields {
    /// Returns the slots and the holders.
    ///
    /// # Errors
    /// If a field is missing or ambiguous.
    pub(super) fn check(self) -> Result<(u64, Vec<Arc<str>>), JsonProblem> {
        if let Some(field) = self.repeated {
            return Err(JsonProblem::RepeatedField(field));
        }
        let slots = self.total_slots.ok_or(JsonProblem::Missing(TOTAL_SLOTS))?;
        let holders = self.holders.ok_or(JsonProblem::Missing(HOLDERS))?;
        if slots > Semaphore::MAX_SLOTS {
            return Err(JsonProblem::TooManySlots);
        }
        let distinct: BTreeSet<&Arc<str>> = holders.iter().collect();
        if distinct.len() < holders.len() {
            return Err(JsonProblem::RepeatedHolder);
        }
        Ok((slots, holders))
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

/// Reads an object, and no array, which a derived implementation would accept too.
struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some(key) = map.next_key::<String>()? {
            if is_field(&key, TOTAL_SLOTS) {
                if fields.total_slots.replace(map.next_value()?).is_some() {
                    fields.repeated = Some(TOTAL_SLOTS);
                }
            } else if is_field(&key, HOLDERS) {
                if fields.holders.replace(map.next_value()?).is_some() {
                    fields.repeated = Some(HOLDERS);
                }
            } else {
                // Not `IgnoredAny`, which accepts strings that are not UTF-8, and deeper nesting than Go.
                map.next_value::<serde_json::Value>()?;
            }
        }
        Ok(fields)
    }
}

/// Reports whether Go stores the value of `key` in the field `name`: upper and lower case are equal, and so are `s` and
/// U+017F, the long s.
fn is_field(key: &str, name: &str) -> bool {
    let folded = key.chars().map(|c| match c {
        '\u{17f}' => 's',
        c => c.to_ascii_lowercase(),
    });
    folded.eq(name.chars())
}
