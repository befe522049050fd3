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
    let mut body_fields = BodyFields::default();
    let object = Object::Body(&mut body_fields);
    match AnyValue(Some(object)).deserialize(&mut serde_json::Deserializer::from_slice(body))? {
        Found::Object | Found::Null => {}
        found => return Err(found.instead_of("the body", "an object")),
    }
    let BodyFields {
        flat,
        client_params,
        other_params,
    } = body_fields;
    if let Some(other) = other_params {
        return Err(other.instead_of("client_params", "an object"));
    }
    let fields = client_params.unwrap_or(flat);
    Ok((text(fields.group, "group")?, text(fields.id, "id")?))
}

fn text(found: Found, name: &'static str) -> Result<String, InvalidIdentity> {
    match found {
        Found::Null => Ok(String::new()),
        Found::Text(text) => Ok(text),
        other => Err(other.instead_of(name, "a string")),
    }
}

/// The known fields of a body.
#[derive(Default)]
struct BodyFields {
    flat: Fields,
    client_params: Option<Fields>,
    /// A value of `client_params` that is neither an object nor null.
    other_params: Option<Found>,
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
    /// An object whose fields were read.
    Object,
    /// A value of another type.
    Other(&'static str),
}

/// The place for the fields of an object.
enum Object<'a> {
    Body(&'a mut BodyFields),
    ClientParams(&'a mut Fields),
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
            let fields = match self {
                Object::Body(body) if name == "client_params" => {
                    read_client_params(body, map)?;
                    continue;
                }
                Object::Body(body) => &mut body.flat,
                Object::ClientParams(fields) => fields,
            };
            let field = match &*name {
                "group" => &mut fields.group,
                "id" => &mut fields.id,
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
    body: &mut BodyFields,
    map: &mut A,
) -> Result<(), A::Error> {
    let before = body.client_params.take();
    let was_found = before.is_some();
    let mut fields = before.unwrap_or_default();
    match map.next_value_seed(AnyValue(Some(Object::ClientParams(&mut fields))))? {
        Found::Object => body.client_params = Some(fields),
        Found::Null => body.client_params = was_found.then_some(fields),
        other => body.other_params = Some(other),
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
