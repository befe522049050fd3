//! The identity in the header and body of a request.
//!
//! The checks have the order of coreos/airlock, because the first one that fails determines the response: header, JSON,
//! group, id. The coordinator looks the group up.

use serde::Deserialize as _;
use serde_json::{Map, Value};

use crate::coordinator::Identity;
use crate::lock::InvalidNodeId;

/// The reason why a request has no identity. Where coreos/airlock has a text for it, the message is that one.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidIdentity {
    #[error("wrong 'fleet-lock-protocol' header")]
    Header,
    #[error(transparent)]
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

/// Checks the value of the header `fleet-lock-protocol`; `None` if the request has no such header.
///
/// Source: the FleetLock protocol, "Headers". coreos/airlock compares the trimmed value exactly.
pub(super) fn check_header(value: Option<&[u8]>) -> Result<(), InvalidIdentity> {
    match value {
        Some(value) if value.trim_ascii() == b"true" => Ok(()),
        _ => Err(InvalidIdentity::Header),
    }
}

/// Parses the body, whatever its content type is.
///
/// Two shapes are accepted: Zincati's, with `client_params`, and a flat object; `client_params` takes precedence. As in
/// Go's decoder, the case of field names does not matter, unknown fields and anything behind the object are ignored,
/// and `null` counts as a missing field. An id that is not a valid one is accepted here, because a node may hold a slot
/// under it.
pub(super) fn parse_body(body: &[u8]) -> Result<Identity, InvalidIdentity> {
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

/// Returns the field of that name, unless it is null. The exact name takes precedence over other spellings.
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

/// Returns the text of a field; empty if the field is missing.
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
    use crate::lock::{NodeId, RequestId};
    use crate::testing::mutated;
    use proptest::prelude::*;

    fn error(body: &str) -> String {
        parse_body(body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn the_header_is_exactly_true_after_trimming() {
        assert!(check_header(Some(b"true")).is_ok());
        assert!(check_header(Some(b" true\t")).is_ok());
        for wrong in [
            None,
            Some(&b"TRUE"[..]),
            Some(b""),
            Some(b"1"),
            Some(b"true, true"),
        ] {
            assert!(check_header(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn both_shapes_are_read_and_client_params_takes_precedence() {
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
            assert_eq!(parse_body(body.as_bytes()).unwrap(), expected, "{body}");
        }
    }

    #[test]
    fn a_missing_field_is_named_and_the_group_comes_first() {
        for body in [
            "{}",
            "null",
            r#"{"client_params":null}"#,
            r#"{"client_params":{}}"#,
            r#"{"client_params":{"group":null,"id":"n"}}"#,
            r#"{"client_params":{"group":"","id":""}}"#,
            // Flat fields do not replace missing fields of `client_params`.
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
    fn unexpected_json_is_an_error_of_the_parser() {
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
            let error = parse_body(body.as_bytes());
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
        assert!(parse_body(b"\xff\xfe").is_err());
        assert!(parse_body("[".repeat(10_000).as_bytes()).is_err());
    }

    const BODIES: &[&str] = &[
        include_str!("../../examples/request-body.json"),
        r#"{"id":"n","group":"g"}"#,
        r#"{"client_params":null,"id":"\u00e9","group":"g","x":[{}]}"#,
    ];

    proptest! {
        #[test]
        fn any_bytes_are_an_identity_or_an_error(body: Vec<u8>) {
            let _ = parse_body(&body);
        }

        #[test]
        fn an_accepted_body_has_a_group_and_an_id(body in mutated(BODIES)) {
            match parse_body(body.as_bytes()) {
                Ok(Identity { group, id }) => {
                    prop_assert!(!group.is_empty());
                    prop_assert!(!id.shared().is_empty());
                    if let RequestId::Valid(id) = id {
                        prop_assert!((1..=NodeId::MAX_BYTES).contains(&id.as_str().len()));
                        prop_assert!(!id.as_str().contains(char::is_control));
                    }
                }
                Err(error) => prop_assert!(!error.to_string().contains('\n'), "{}", error),
            }
        }

        #[test]
        fn every_group_and_id_is_accepted_in_both_shapes(
            group in ".+",
            id in "\\PC{1,60}".prop_filter("no id", |id| id.parse::<NodeId>().is_ok()),
        ) {
            let flat = serde_json::json!({ "id": id, "group": group });
            let nested = serde_json::json!({ "client_params": flat });
            let expected = Identity { group, id: id.parse().unwrap() };
            for body in [flat, nested] {
                let found = parse_body(body.to_string().as_bytes());
                prop_assert_eq!(found.unwrap(), expected.clone());
            }
        }

        #[test]
        fn any_header_but_true_is_wrong(value: Vec<u8>) {
            let is_true = value.trim_ascii() == b"true";
            prop_assert_eq!(check_header(Some(&value)).is_ok(), is_true);
        }
    }
}
