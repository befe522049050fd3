//! Values that other programs wrote, or an administrator by hand: what coreos/airlock sees in them, and what we do.
//!
//! The column of coreos/airlock was obtained by decoding the same bytes into its type, `TotalSlots uint64` and `Holders
//! []string` with the tags `total_slots` and `holders`, with the `encoding/json` of Go 1.19.8. (coreos/airlock is built
//! with Go 1.18 or newer.) An empty value is refused by coreos/airlock itself.

use super::super::*;
use crate::lock::holders::Holders;

/// A value as coreos/airlock sees it.
#[derive(Clone, Copy)]
enum Theirs {
    /// These slots and holders.
    Sees(u64, &'static [&'static str]),
    /// An error: it refuses every request for the group.
    Refuses,
}

/// Our decision about a value.
#[derive(Clone, Copy)]
enum Ours {
    /// We see the same as coreos/airlock.
    Same,
    /// The value is damaged: refused, and never overwritten.
    Damaged(JsonProblem),
    /// The value is damaged, by a mistake at a position that does not matter here.
    Syntax,
    /// The value is empty.
    Empty,
}

use JsonProblem::{CutOff, Form, Missing, RepeatedField, RepeatedHolder, TooManySlots};
use Ours::{Damaged, Same, Syntax};
use Theirs::{Refuses, Sees};

type Row = (&'static str, &'static [u8], Theirs, Ours);

#[rustfmt::skip] // One row in a line.
const ROWS: &[Row] = &[
    // Written by a program.
    ("as written by both", br#"{"total_slots":2,"holders":["a","b"]}"#, Sees(2, &["a", "b"]), Same),
    ("no holders", br#"{"total_slots":2,"holders":[]}"#, Sees(2, &[]), Same),
    ("a paused group", br#"{"total_slots":0,"holders":["a"]}"#, Sees(0, &["a"]), Same),
    ("more holders than slots", br#"{"total_slots":1,"holders":["a","b"]}"#, Sees(1, &["a", "b"]), Same),
    ("the most slots", br#"{"total_slots":9223372036854775807,"holders":[]}"#, Sees(9_223_372_036_854_775_807, &[]), Same),
    ("escapes", br#"{"total_slots":1,"holders":["\u003c\u00e9\n"]}"#, Sees(1, &["<\u{e9}\n"]), Same),
    ("an empty id", br#"{"total_slots":2,"holders":[""]}"#, Sees(2, &[""]), Same),
    // Written by hand, with one meaning.
    ("spaces", b" {\n\t\"total_slots\" : 2 , \"holders\" : [ \"a\" ]\r\n} \n", Sees(2, &["a"]), Same),
    ("unsorted", br#"{"holders":["b","a"],"total_slots":2}"#, Sees(2, &["b", "a"]), Same),
    ("unknown fields", br#"{"total_slots":2,"holders":["a"],"note":{"x":[1e9,null]},"":0}"#, Sees(2, &["a"]), Same),
    ("keys in capitals", br#"{"Total_Slots":2,"HOLDERS":["a"]}"#, Sees(2, &["a"]), Same),
    ("keys with a long s", "{\"total_\u{17f}lot\u{17f}\":2,\"holder\u{17f}\":[\"a\"]}".as_bytes(), Sees(2, &["a"]), Same),
    ("keys with escapes", br#"{"total\u005fslots":2,"\u0068olders":["a"]}"#, Sees(2, &["a"]), Same),
    // Fields that are missing or null: coreos/airlock sees no holders, or no slots.
    ("nothing but braces", b"{}", Sees(0, &[]), Damaged(Missing("total_slots"))),
    ("no slots", br#"{"holders":["a"]}"#, Sees(0, &["a"]), Damaged(Missing("total_slots"))),
    ("no list of holders", br#"{"total_slots":2}"#, Sees(2, &[]), Damaged(Missing("holders"))),
    ("a misspelled list of holders", br#"{"total_slots":2,"holder":["a"]}"#, Sees(2, &[]), Damaged(Missing("holders"))),
    ("a space in a key", br#"{"total_slots":2,"holders ":["a"]}"#, Sees(2, &[]), Damaged(Missing("holders"))),
    ("a hyphen in a key", br#"{"total-slots":2,"holders":["a"]}"#, Sees(0, &["a"]), Damaged(Missing("total_slots"))),
    ("a letter of another alphabet in a key", "{\"total_slots\":2,\"holde\u{211b}s\":[\"a\"]}".as_bytes(), Sees(2, &[]), Damaged(Missing("holders"))),
    ("null as holders, as coreos/airlock writes a missing list", br#"{"total_slots":2,"holders":null}"#, Sees(2, &[]), Damaged(Form)),
    ("null as slots", br#"{"total_slots":null,"holders":["a"]}"#, Sees(0, &["a"]), Damaged(Form)),
    ("null", b"null", Sees(0, &[]), Damaged(Form)),
    ("null in the list", br#"{"total_slots":2,"holders":["a",null]}"#, Sees(2, &["a", ""]), Damaged(Form)),
    // Repetitions: the last field counts for coreos/airlock, and each entry of a list.
    ("a holder twice", br#"{"total_slots":2,"holders":["a","a"]}"#, Sees(2, &["a", "a"]), Damaged(RepeatedHolder)),
    ("a holder twice, written differently", br#"{"total_slots":3,"holders":["a","b","\u0061"]}"#, Sees(3, &["a", "b", "a"]), Damaged(RepeatedHolder)),
    ("slots twice", br#"{"total_slots":1,"holders":[],"total_slots":2}"#, Sees(2, &[]), Damaged(RepeatedField("total_slots"))),
    ("slots twice, equal", br#"{"total_slots":1,"holders":[],"total_slots":1}"#, Sees(1, &[]), Damaged(RepeatedField("total_slots"))),
    ("holders twice", br#"{"total_slots":2,"holders":["a"],"holders":["b"]}"#, Sees(2, &["b"]), Damaged(RepeatedField("holders"))),
    ("holders twice, in two cases", br#"{"total_slots":2,"holders":["a"],"Holders":[]}"#, Sees(2, &[]), Damaged(RepeatedField("holders"))),
    ("holders twice, the exact name first", br#"{"total_slots":2,"Holders":["a"],"holders":[]}"#, Sees(2, &[]), Damaged(RepeatedField("holders"))),
    ("holders, then null", br#"{"total_slots":2,"holders":["a"],"holders":null}"#, Sees(2, &[]), Damaged(Form)),
    ("a null that keeps an earlier holder", br#"{"total_slots":2,"holders":["a","b"],"holders":[null]}"#, Sees(2, &["a"]), Damaged(Form)),
    // Numbers of slots.
    ("one slot above the most", br#"{"total_slots":9223372036854775808,"holders":[]}"#, Sees(9_223_372_036_854_775_808, &[]), Damaged(TooManySlots)),
    ("the most unsigned slots", br#"{"total_slots":18446744073709551615,"holders":["a"]}"#, Sees(18_446_744_073_709_551_615, &["a"]), Damaged(TooManySlots)),
    ("more than any number has", br#"{"total_slots":18446744073709551616,"holders":[]}"#, Refuses, Damaged(Form)),
    ("negative slots", br#"{"total_slots":-1,"holders":[]}"#, Refuses, Damaged(Form)),
    ("negative zero", br#"{"total_slots":-0,"holders":[]}"#, Refuses, Damaged(Form)),
    ("an exponent", br#"{"total_slots":1e3,"holders":[]}"#, Refuses, Damaged(Form)),
    ("a fraction", br#"{"total_slots":2.0,"holders":[]}"#, Refuses, Damaged(Form)),
    ("a leading zero", br#"{"total_slots":02,"holders":[]}"#, Refuses, Syntax),
    ("a number as a string", br#"{"total_slots":"2","holders":[]}"#, Refuses, Damaged(Form)),
    // Other types.
    ("a string as holders", br#"{"total_slots":2,"holders":"a"}"#, Refuses, Damaged(Form)),
    ("an object as holders", br#"{"total_slots":2,"holders":{"a":null}}"#, Refuses, Damaged(Form)),
    ("a number as a holder", br#"{"total_slots":2,"holders":["a",7]}"#, Refuses, Damaged(Form)),
    ("a list as a holder", br#"{"total_slots":2,"holders":[["a"]]}"#, Refuses, Damaged(Form)),
    ("a list instead of the object", br#"[2,["a"]]"#, Refuses, Damaged(Form)),
    ("a number instead of the object", b"2", Refuses, Damaged(Form)),
    // Text that is not JSON, or not UTF-8.
    ("an id that is not UTF-8", b"{\"total_slots\":2,\"holders\":[\"a\xff\"]}", Sees(2, &["a\u{fffd}"]), Syntax),
    ("half of a surrogate pair", br#"{"total_slots":2,"holders":["\ud800"]}"#, Sees(2, &["\u{fffd}"]), Syntax),
    ("an unknown field that is not UTF-8", b"{\"total_slots\":2,\"holders\":[],\"x\":\"\xff\"}", Sees(2, &[]), Syntax),
    ("a byte order mark", b"\xef\xbb\xbf{\"total_slots\":2,\"holders\":[]}", Refuses, Syntax),
    ("text behind the object", br#"{"total_slots":2,"holders":[]} x"#, Refuses, Syntax),
    ("a second object", br#"{"total_slots":2,"holders":[]}{}"#, Refuses, Syntax),
    ("a zero byte behind the object", b"{\"total_slots\":2,\"holders\":[]}\0", Refuses, Syntax),
    ("a comma behind the last holder", br#"{"total_slots":2,"holders":["a",]}"#, Refuses, Syntax),
    ("single quotes", b"{'total_slots':2,'holders':[]}", Refuses, Syntax),
    ("a line break in an id", b"{\"total_slots\":2,\"holders\":[\"a\nb\"]}", Refuses, Syntax),
    ("cut off", br#"{"total_slots":2,"holders":["a""#, Refuses, Damaged(CutOff)),
    ("cut off behind the list", br#"{"total_slots":2,"holders":["a"]"#, Refuses, Damaged(CutOff)),
    ("spaces only", b"  ", Refuses, Damaged(CutOff)),
    ("nothing", b"", Refuses, Ours::Empty),
];

/// Returns a value with an unknown field that is nested `depth` times. Go reads up to 10,000 levels, including the
/// outermost one.
fn nested(depth: usize) -> Vec<u8> {
    let (open, close) = ("[".repeat(depth), "]".repeat(depth));
    format!(r#"{{"total_slots":2,"holders":["a"],"x":{open}{close}}}"#).into_bytes()
}

#[test]
fn another_programs_value_is_read_as_coreos_airlock_reads_it_or_is_damaged() {
    let deep = [
        (100, Sees(2, &["a"]), Same),
        (9_999, Sees(2, &["a"]), Syntax),
        (10_000, Refuses, Syntax),
    ];
    let deep = deep.map(|(depth, theirs, ours)| ("nested", nested(depth), theirs, ours));
    let rows = ROWS
        .iter()
        .map(|(name, bytes, theirs, ours)| (*name, bytes.to_vec(), *theirs, *ours));
    for (name, bytes, theirs, ours) in rows.chain(deep) {
        let value = Value {
            semaphore: bytes,
            lock_times: LockTimes::Absent,
        };
        let read = decode(&value).map(|decoded| decoded.semaphore);
        match (ours, theirs, read) {
            (Same, Sees(slots, holders), Ok(read)) => {
                let ids = holders.iter().map(|id| ((*id).into(), Hold::default()));
                let holders: Holders = ids.collect();
                assert_eq!(
                    read,
                    Semaphore {
                        holders,
                        ..Semaphore::new(slots)
                    },
                    "{name}"
                );
            }
            (Damaged(expected), _, Err(DecodeError::Malformed { problem, .. })) => {
                assert_eq!(problem, expected, "{name}");
            }
            (Syntax, _, Err(DecodeError::Malformed { problem, .. })) => {
                let is_syntax = matches!(problem, JsonProblem::Syntax { .. });
                assert!(is_syntax, "{name}: {problem}");
            }
            (Ours::Empty, _, Err(DecodeError::Empty)) => {}
            (_, _, read) => panic!("{name}: {read:?}"),
        }
    }
}
