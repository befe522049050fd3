//! Strings for property tests: valid inputs with a few random edits.
//!
//! proptest stores the inputs of failures in proptest-regressions/, which belongs in the repository.

use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Tokens that parsers are likely to handle wrongly.
const TOKENS: &[&str] = &[
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "=",
    "#",
    "\n",
    "\r\n",
    "\0",
    " ",
    "null",
    "true",
    "-1",
    "0",
    "1e999",
    "18446744073709551616",
    "\\u0000",
    "\\ud800",
    "é",
    "\u{feff}",
    "\u{202e}",
    "''",
    "[[",
    "$",
    "@",
    "http://",
    "\u{10ffff}",
];

#[derive(Clone, Debug)]
enum Edit {
    Insert(Index, &'static str),
    InsertAny(Index, String),
    Remove(Index, usize),
    Repeat(Index, usize),
}

/// Generates one of `seeds` with up to six edits.
pub(crate) fn mutated(seeds: &'static [&'static str]) -> impl Strategy<Value = String> {
    let edit = prop_oneof![
        (any::<Index>(), select(TOKENS)).prop_map(|(at, token)| Edit::Insert(at, token)),
        (any::<Index>(), ".{1,8}").prop_map(|(at, text)| Edit::InsertAny(at, text)),
        (any::<Index>(), 1..30_usize).prop_map(|(at, length)| Edit::Remove(at, length)),
        (any::<Index>(), 1..30_usize).prop_map(|(at, length)| Edit::Repeat(at, length)),
    ];
    (select(seeds), prop::collection::vec(edit, 0..6))
        .prop_map(|(seed, edits)| edits.iter().fold(seed.to_owned(), applied))
}

fn applied(text: String, edit: &Edit) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let place = |at: &Index| at.index(chars.len() + 1);
    match edit {
        Edit::Insert(at, token) => {
            let at = place(at);
            chars.splice(at..at, token.chars());
        }
        Edit::InsertAny(at, text) => {
            let at = place(at);
            chars.splice(at..at, text.chars());
        }
        Edit::Remove(at, length) => {
            let at = place(at);
            chars.drain(at..chars.len().min(at + length));
        }
        Edit::Repeat(at, length) => {
            let at = place(at);
            let again = chars[at..chars.len().min(at + length)].to_vec();
            chars.splice(at..at, again);
        }
    }
    chars.into_iter().collect()
}
