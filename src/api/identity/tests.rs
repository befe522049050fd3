use super::*;
use crate::fuzzing;
use crate::lock::NodeId;
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
fn a_body_is_read_as_go_reads_it() {
    for (body, group, id) in [
        (
            r#"{"id":"n","group":"default","GROUP":"patroni"}"#,
            "patroni",
            "n",
        ),
        (
            r#"{"Group":"a","group":"b","gRoUp":"c","id":"n"}"#,
            "c",
            "n",
        ),
        (
            r#"{"client_params":{"id":"n"},"client_params":{"group":"g"}}"#,
            "g",
            "n",
        ),
        (
            r#"{"client_params":{"id":"a","group":"g"},"CLIENT_PARAMS":{"id":"b"}}"#,
            "g",
            "b",
        ),
        (
            r#"{"client_params":{"id":"n","group":"g"},"client_params":null}"#,
            "g",
            "n",
        ),
        (r#"{"client_param\u017f":{"id":"n","group":"g"}}"#, "g", "n"),
        (r#"{"id":"n","id":null,"group":"g","Group":null}"#, "g", "n"),
        (
            r#"{"id":1e999,"group":"\ud800","client_params":{"id":"n","group":"g"}}"#,
            "g",
            "n",
        ),
        (
            r#"{"id":"n","group":"g","x":1e999,"y":-0.1E-9999}"#,
            "g",
            "n",
        ),
        (
            r#"{"id":"n","group":"g","x":"\ud800","\udc00":["\udc00\ud800"]}"#,
            "g",
            "n",
        ),
    ] {
        let expected = Identity {
            group: group.into(),
            id: id.parse().unwrap(),
        };
        assert_eq!(parse_body(body.as_bytes()).unwrap(), expected, "{body}");
    }
    let (deep, end) = ("[".repeat(8000), "]".repeat(8000));
    let deep = format!(r#"{{"x":{deep}{end},"id":"n","group":"g"}}"#);
    assert_eq!(parse_body(deep.as_bytes()).unwrap().group, "g");
    let invalid = b"{\"x\xff\":\"\xfe\",\"id\":\"n\",\"group\":\"g\"}";
    assert_eq!(parse_body(invalid).unwrap().group, "g");
}

#[test]
fn an_id_or_a_group_that_is_not_unicode_is_refused() {
    for body in [
        &b"{\"id\":\"n\xff\",\"group\":\"g\"}"[..],
        br#"{"id":"n","group":"\ud800"}"#,
    ] {
        assert!(matches!(parse_body(body), Err(InvalidIdentity::Json(_))));
    }
}

#[test]
fn a_long_group_is_not_part_of_the_error() {
    let body = |size: usize| format!(r#"{{"id":"n","group":"{}"}}"#, "g".repeat(size));
    assert!(parse_body(body(253).as_bytes()).is_ok());
    assert_eq!(
        error(&body(254)),
        "client group of 254 bytes; the maximum is 253"
    );
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
        // A value of a wrong type is an error even if a right one follows.
        r#"{"id":7,"id":"n","group":"g"}"#,
        r#"{"client_params":7,"client_params":{"id":"n","group":"g"}}"#,
        r#"{"id":1e999,"group":"g"}"#,
        r#"{"id":{"x":[]},"group":"g"}"#,
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
    include_str!("../../../examples/request-body.json"),
    r#"{"id":"n","group":"g"}"#,
    r#"{"client_params":null,"id":"\u00e9","group":"g","x":[{}]}"#,
];

proptest! {
    #[test]
    fn any_bytes_are_an_identity_or_an_error(body: Vec<u8>) {
        fuzzing::identity(&body);
    }

    #[test]
    fn an_accepted_body_has_a_group_and_an_id(body in mutated(BODIES)) {
        fuzzing::identity(body.as_bytes());
    }

    #[test]
    fn every_group_and_id_is_accepted_in_both_shapes(
        group in ".{1,60}",
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
