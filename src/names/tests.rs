use super::*;
use std::fs;

use proptest::prelude::*;

use crate::fuzzing;
use crate::testing::mutated;
use crate::text::explain::explain;

fn parse(text: &str) -> Result<NodeNames, NodeNamesError> {
    NodeNames::parse("/p".into(), text)
}

#[track_caller]
fn assert_name(names: &NodeNames, id: &str, expected: Option<&str>) {
    assert_eq!(names.name(id).as_deref(), expected, "{id:?}");
}

#[test]
fn each_line_names_a_node_with_the_rest_of_the_line() {
    let names = parse(
        "\u{feff}# The nodes of rack 7.\n\n  583627a932274834a8ebd99f4ed41c0d\tdb 1 (rack 7)  \r\n\
         \u{feff}n2   # 2\n#n3 no\nn1 é\n",
    )
    .unwrap();
    let id = "583627a932274834a8ebd99f4ed41c0d";
    assert_name(&names, id, Some("db 1 (rack 7)"));
    assert_name(&names, "n2", Some("# 2"));
    assert_name(&names, "n1", Some("é"));
    for unknown in ["n", "n3", "#n3", "n11", "", &id[..31]] {
        assert_name(&names, unknown, None);
    }
}

#[test]
fn ids_and_names_up_to_their_maximum_are_found() {
    let (id, name) = ("i".repeat(253), "\u{10400}".repeat(64));
    let names = parse(&format!("a b\n{id} {name}\nz y\n")).unwrap();
    assert_name(&names, &id, Some(&name));
    assert_name(&names, "a", Some("b"));
    assert_name(&names, "z", Some("y"));
}

#[test]
fn without_a_file_and_with_an_empty_one_there_are_no_names() {
    assert_name(&NodeNames::default(), "a", None);
    assert!(NodeNames::default().paths().is_empty());
    assert_name(&parse("# nothing yet\n").unwrap(), "a", None);
}

#[test]
fn an_unusable_line_is_named_with_its_value_and_its_remedy() {
    let long = "x".repeat(254);
    let start = "x".repeat(64);
    for (line, expected) in [
        (
            "b",
            "the id \"b\" is not followed by a name; write a name behind it, or remove the line".to_owned(),
        ),
        (
            "a again",
            "the id \"a\" is the same as on line 1; remove one of the two lines".to_owned(),
        ),
        (
            &format!("{long} b"),
            format!(
                "\"{start}\"… cannot be the id of a node: client ID of 254 bytes; the maximum is 253; correct the \
                 id, or remove the line"
            ),
        ),
        (
            "b\u{200b} c",
            "\"b\\u200b\" cannot be the id of a node: client ID with the control or format character U+200B at \
             byte 1; correct the id, or remove the line"
                .to_owned(),
        ),
        (
            &format!("b {}", "é".repeat(65)),
            format!("the name \"{}\"… has 65 characters; shorten it to 64", "é".repeat(64)),
        ),
        (
            "b c\u{202e}d",
            "the name \"c\\u202ed\" contains the control or format character U+202E; remove the character"
                .to_owned(),
        ),
    ] {
        let error = parse(&format!("a a\n{line}\n")).err().unwrap();
        assert_eq!(explain(&error), format!("/p:2: {expected}"));
    }
}

#[test]
fn the_first_20_unusable_lines_are_named() {
    let error = parse(&"a\n".repeat(20)).err().unwrap();
    let text = explain(&error);
    assert_eq!(text.matches("/p:").count(), 20, "{text}");
    assert!(!text.contains("; and "), "{text}");
    let error = parse(&"a\n".repeat(22)).err().unwrap();
    let text = explain(&error);
    assert!(text.starts_with("/p:1: the id \"a\" is not "), "{text}");
    assert!(text.contains("; /p:20: the id \"a\" is the same as on line 19; "));
    assert!(text.ends_with("; and 2 more"), "{text}");
}

#[test]
fn a_reload_replaces_all_names_or_none() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let names = NodeNames::load(file.path().into()).unwrap();
    assert_eq!(names.paths(), [file.path()]);
    fs::write(file.path(), "a 1\nb 2\n").unwrap();
    assert_name(&names, "a", None);
    names.reload().unwrap();
    assert_name(&names, "a", Some("1"));
    for unusable in ["a 3\nb\n", "a 3\na 4\n"] {
        fs::write(file.path(), unusable).unwrap();
        assert!(names.reload().is_err());
        assert_name(&names, "a", Some("1"));
    }
    fs::write(file.path(), "b 3\n").unwrap();
    names.reload().unwrap();
    assert_name(&names, "a", None);
    assert_name(&names, "b", Some("3"));
}

#[test]
fn the_names_of_100_000_nodes_take_up_little_more_than_their_text() {
    let lines =
        (0..100_000_u32).map(|node| format!("{:032x} node{node}.example.org\n", node ^ 0x5555));
    let text: String = lines.collect();
    let names = parse(&text).unwrap();
    for node in [0, 1, 54_321, 99_999_u32] {
        let name = format!("node{node}.example.org");
        assert_name(&names, &format!("{:032x}", node ^ 0x5555), Some(&name));
    }
    let table = names.table.read();
    let bytes = table.text.len() + size_of_val(&*table.entries);
    assert!(bytes < text.len() + text.len() / 6, "{bytes}");
}

const FILES: &[&str] = &["# nodes\n\na 1\nb 2\n", "a\tb c\r\n", "\u{feff}a b\na c\n"];

proptest! {
    #[test]
    fn any_text_has_names_that_can_be_shown_or_an_error_of_one_line(text in mutated(FILES)) {
        fuzzing::node_names(text.as_bytes());
    }
}
