//! Who asks: the identity in a request's header and body.
//!
//! The order of the checks is Airlock's, since the first that fails is the one that is answered:
//! header, JSON, group, id. Whether the group exists is looked up by the caller.

use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::{InvalidNodeId, NodeId};

/// Which node asks, and in which group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// As the client sent it: not empty, not yet looked up.
    pub group: String,
    pub id: NodeId,
}

/// Why a request has no identity. Where Airlock has a text, it is that.
#[derive(Debug, thiserror::Error)]
pub enum InvalidIdentity {
    #[error("wrong 'fleet-lock-protocol' header")]
    Header,
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("{what} is {found} where {expected} is expected")]
    WrongType {
        what: &'static str,
        found: &'static str,
        expected: &'static str,
    },
    #[error("empty client group")]
    EmptyGroup,
    #[error(transparent)]
    Id(#[from] InvalidNodeId),
}

impl Identity {
    /// Checks the value of the header `fleet-lock-protocol`, `None` if there is none.
    ///
    /// Source: the FleetLock protocol, "Headers"; Airlock compares the trimmed value exactly.
    pub fn check_header(value: Option<&[u8]>) -> Result<(), InvalidIdentity> {
        match value {
            Some(value) if value.trim_ascii() == b"true" => Ok(()),
            _ => Err(InvalidIdentity::Header),
        }
    }

    /// Reads the body, whatever its content type says.
    ///
    /// Both shapes are accepted: Zincati's, with `client_params`, and the flat one that the how-to posts;
    /// `client_params` wins. As with Go's decoder the case of a field's name does not matter, unknown
    /// fields and what follows the value are ignored, and `null` is a missing field.
    pub fn from_body(body: &[u8]) -> Result<Self, InvalidIdentity> {
        let body = Value::deserialize(&mut serde_json::Deserializer::from_slice(body))?;
        let body = object(&body, "the body")?;
        let params = match body.and_then(|body| field(body, "client_params")) {
            Some(params) => object(params, "client_params")?,
            None => body,
        };
        let params = params.ok_or(InvalidIdentity::EmptyGroup)?;
        let group = text(params, "group")?;
        let id = text(params, "id")?;
        if group.is_empty() {
            return Err(InvalidIdentity::EmptyGroup);
        }
        Ok(Identity {
            group: group.to_owned(),
            id: id.parse()?,
        })
    }
}

/// The field of that name, unless it is null. The exact name goes before other spellings.
fn field<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object
        .get(name)
        .or_else(|| {
            let mut fields = object.iter();
            fields.find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
        })
        .filter(|value| !value.is_null())
}

fn object<'a>(
    value: &'a Value,
    what: &'static str,
) -> Result<Option<&'a Map<String, Value>>, InvalidIdentity> {
    match value {
        Value::Object(object) => Ok(Some(object)),
        Value::Null => Ok(None),
        other => Err(wrong_type(what, other, "an object")),
    }
}

/// The text of a field, empty if it is missing.
fn text<'a>(
    object: &'a Map<String, Value>,
    name: &'static str,
) -> Result<&'a str, InvalidIdentity> {
    match field(object, name) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(wrong_type(name, other, "a string")),
        None => Ok(""),
    }
}

fn wrong_type(what: &'static str, found: &Value, expected: &'static str) -> InvalidIdentity {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    InvalidIdentity::WrongType {
        what,
        found,
        expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutation::mutated;
    use proptest::prelude::*;

    fn error(body: &str) -> String {
        Identity::from_body(body.as_bytes())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn the_header_is_exactly_true_after_trimming() {
        assert!(Identity::check_header(Some(b"true")).is_ok());
        assert!(Identity::check_header(Some(b" true\t")).is_ok());
        for wrong in [
            None,
            Some(&b"TRUE"[..]),
            Some(b""),
            Some(b"1"),
            Some(b"true, true"),
        ] {
            assert!(Identity::check_header(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn both_shapes_are_read_and_client_params_wins() {
        let expected = Identity {
            group: "g".into(),
            id: "n".parse().unwrap(),
        };
        for body in [
            r#"{"client_params":{"id":"n","group":"g"}}"#,
            r#"{"id":"n","group":"g"}"#,
            r#"{"id":"x","group":"y","client_params":{"id":"n","group":"g","extra":[]},"z":1}"#,
            r#"{"client_params":null,"id":"n","group":"g"}"#,
            r#"{"id":7,"group":[],"client_params":{"id":"n","group":"g"}}"#,
            r#"{"Client_Params":{"ID":"n","Group":"g"}} trailing"#,
        ] {
            assert_eq!(
                Identity::from_body(body.as_bytes()).unwrap(),
                expected,
                "{body}"
            );
        }
    }

    #[test]
    fn what_is_missing_is_named_group_first() {
        for body in [
            "{}",
            "null",
            r#"{"client_params":null}"#,
            r#"{"client_params":{}}"#,
            r#"{"client_params":{"group":null,"id":"n"}}"#,
            r#"{"client_params":{"group":"","id":""}}"#,
            // The flat fields do not fill holes of `client_params`.
            r#"{"client_params":{"id":"n"},"group":"g"}"#,
        ] {
            assert_eq!(error(body), "empty client group", "{body}");
        }
        for body in [
            r#"{"client_params":{"group":"g"}}"#,
            r#"{"client_params":{"group":"g","id":null}}"#,
            r#"{"group":"g","id":""}"#,
        ] {
            assert_eq!(error(body), "empty client ID", "{body}");
        }
    }

    #[test]
    fn what_is_not_the_json_expected_is_the_parsers_error() {
        for body in [
            "",
            "{",
            "[]",
            r#""x""#,
            "7",
            r#"{"client_params":[]}"#,
            r#"{"client_params":"x"}"#,
            r#"{"client_params":{"id":7,"group":"g"}}"#,
            r#"{"id":7,"group":"g"}"#,
            r#"{"client_params":["g","n"]}"#,
            "{\"id\":\"\u{0}\"}",
        ] {
            let error = Identity::from_body(body.as_bytes());
            assert!(
                matches!(
                    error,
                    Err(InvalidIdentity::Json(_) | InvalidIdentity::WrongType { .. })
                ),
                "{body}: {error:?}"
            );
        }
        assert_eq!(
            error(r#"{"id":7,"group":"g"}"#),
            "id is a number where a string is expected"
        );
        assert!(Identity::from_body(b"\xff\xfe").is_err());
        assert!(Identity::from_body("[".repeat(10_000).as_bytes()).is_err());
    }

    const BODIES: &[&str] = &[
        include_str!("../../examples/request-body.json"),
        r#"{"id":"n","group":"g"}"#,
        r#"{"client_params":null,"id":"\u00e9","group":"g","x":[{}]}"#,
    ];

    proptest! {
        #[test]
        fn any_bytes_are_an_identity_or_an_error(body: Vec<u8>) {
            let _ = Identity::from_body(&body);
        }

        #[test]
        fn whoever_comes_through_has_a_group_and_a_proper_id(body in mutated(BODIES)) {
            match Identity::from_body(body.as_bytes()) {
                Ok(Identity { group, id }) => {
                    prop_assert!(!group.is_empty());
                    prop_assert!((1..=NodeId::MAX_BYTES).contains(&id.as_str().len()));
                    prop_assert!(!id.as_str().contains(char::is_control));
                }
                Err(error) => prop_assert!(!error.to_string().contains('\n'), "{}", error),
            }
        }

        #[test]
        fn every_group_and_id_come_through_in_both_shapes(
            group in ".+",
            id in "\\PC{1,60}".prop_filter("no id", |id| id.parse::<NodeId>().is_ok()),
        ) {
            let flat = serde_json::json!({ "id": id, "group": group });
            let nested = serde_json::json!({ "client_params": flat });
            let expected = Identity { group, id: id.parse().unwrap() };
            for body in [flat, nested] {
                let found = Identity::from_body(body.to_string().as_bytes());
                prop_assert_eq!(found.unwrap(), expected.clone());
            }
        }

        #[test]
        fn any_header_but_true_is_wrong(value: Vec<u8>) {
            let is_true = value.trim_ascii() == b"true";
            prop_assert_eq!(Identity::check_header(Some(&value)).is_ok(), is_true);
        }
    }
}
