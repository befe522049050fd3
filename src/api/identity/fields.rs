//! The group and the id in a JSON body, read as Go's decoder reads them.
//!
//! The case of field names does not matter. A field that occurs again replaces the earlier one, `null` leaves it as it
//! is, and the objects of several `client_params` are merged. Unknown fields may contain whatever JSON looks like:
//! numbers of any size, deep nesting, and text that is not Unicode. Anything behind the object is ignored.

use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::error::InvalidIdentity;

/// Returns the group and the id; empty if they are missing.
pub(super) fn read(body: &[u8]) -> Result<(String, String), InvalidIdentity> {
    let mut params = ClientParams::default();
    read_object(body, Object::Body(&mut params))?;
    if let Some(other) = params.other {
        return Err(other.instead_of("client_params", "an object"));
    }
    let fields = match params.fields {
        Some(fields) => fields,
        // Only now: beside `client_params`, these fields are unknown ones.
        None => {
            let mut flat = Fields::default();
            read_object(body, Object::Fields(&mut flat))?;
            flat
        }
    };
    Ok((text(fields.group, "group")?, text(fields.id, "id")?))
}

/// Reads the whole body as an object.
fn read_object(body: &[u8], object: Object<'_>) -> Result<(), InvalidIdentity> {
    let mut body = serde_json::Deserializer::from_slice(body);
    match AnyValue(Some(object)).deserialize(&mut body)? {
        Found::Object | Found::Null => Ok(()),
        found => Err(found.instead_of("the body", "an object")),
    }
}

fn text(found: Found, name: &'static str) -> Result<String, InvalidIdentity> {
    match found {
        Found::Null => Ok(String::new()),
        Found::Text(text) => Ok(text),
        other => Err(other.instead_of(name, "a string")),
    }
}

/// The field `client_params`.
#[derive(Default)]
struct ClientParams {
    /// `None`: the field is missing, or null.
    fields: Option<Fields>,
    /// A value that is neither an object nor null.
    other: Option<Found>,
}

/// The fields that identify a node.
#[derive(Default)]
struct Fields {
    group: Found,
    id: Found,
}

/// A value as far as it matters.
#[derive(Default)]
enum Found {
    /// Also of a missing field.
    #[default]
    Null,
    Text(String),
    /// An object; its fields were read.
    Object,
    /// A value of another type.
    Other(&'static str),
}

/// The place for the fields of an object.
enum Object<'a> {
    /// The object contains `client_params`.
    Body(&'a mut ClientParams),
    /// The object identifies the node.
    Fields(&'a mut Fields),
}

// === impl Found ===

impl Found {
    /// Replaces the value of a field that occurs again. As in Go, a value of a wrong type stays an error.
    fn replace(&mut self, later: Found) {
        match (&self, &later) {
            (Found::Other(_), _) | (_, Found::Null) => {}
            _ => *self = later,
        }
    }

    fn instead_of(&self, what: &'static str, expected: &'static str) -> InvalidIdentity {
        let found = match self {
            Found::Null => "null",
            Found::Text(_) => "a string",
            Found::Object => "an object",
            Found::Other(found) => found,
        };
        InvalidIdentity::WrongType {
            what,
            found,
            expected,
        }
    }
}

// === impl Object ===

impl Object<'_> {
    fn read<'de, A: MapAccess<'de>>(&mut self, map: &mut A) -> Result<(), A::Error> {
        while let Some(Name(name)) = map.next_key()? {
            let field = match (&mut *self, &*name) {
                (Object::Body(params), "client_params") => {
                    read_client_params(params, map)?;
                    continue;
                }
                (Object::Fields(fields), "group") => &mut fields.group,
                (Object::Fields(fields), "id") => &mut fields.id,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            field.replace(map.next_value_seed(AnyValue(None))?);
        }
        Ok(())
    }
}

fn read_client_params<'de, A: MapAccess<'de>>(
    params: &mut ClientParams,
    map: &mut A,
) -> Result<(), A::Error> {
    let before = params.fields.take();
    let was_found = before.is_some();
    let mut fields = before.unwrap_or_default();
    match map.next_value_seed(AnyValue(Some(Object::Fields(&mut fields))))? {
        Found::Object => params.fields = Some(fields),
        Found::Null => params.fields = was_found.then_some(fields),
        other => params.other = Some(other),
    }
    Ok(())
}

/// The name of a field as Go compares it: in lower case, with the two letters beside `S` and `K` that Unicode folds to
/// them. A name that is not UTF-8 is none of ours.
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Name, E> {
                let name = String::from_utf8_lossy(bytes).to_ascii_lowercase();
                Ok(Name(name.replace('\u{17f}', "s").replace('\u{212a}', "k")))
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}

/// Reads any value. The fields of an object are kept if there is a place for them.
struct AnyValue<'a>(Option<Object<'a>>);

impl<'de> DeserializeSeed<'de> for AnyValue<'_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AnyValue<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Found, E> {
        Ok(Found::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Found, E> {
        Ok(Found::Other("a boolean"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Found, E> {
        Ok(Found::Other("a number"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Found, E> {
        Ok(Found::Other("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Found, E> {
        Ok(Found::Other("a number"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Found, E> {
        Ok(Found::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Found, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Found::Other("an array"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let Some(mut object) = self.0 else {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Found::Other("an object"));
        };
        object.read(&mut map)?;
        Ok(Found::Object)
    }
}
