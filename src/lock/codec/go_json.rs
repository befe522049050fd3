//! JSON as Go writes it.

use std::io;

use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};

/// Serializes as Go 1.18's `encoding/json` does by default.
#[expect(
    clippy::expect_used,
    reason = "strings and numbers written into a Vec cannot fail"
)]
pub(super) fn write_go_json<T: Serialize + ?Sized>(bytes: &mut Vec<u8>, value: &T) {
    let mut serializer = serde_json::Serializer::with_formatter(bytes, GoFormatter);
    value.serialize(&mut serializer).expect("JSON in memory");
}

/// Formats JSON strings as Go does.
struct GoFormatter;

impl Formatter for GoFormatter {
    /// Go also escapes the characters that could end a `<script>` element or a line of JavaScript.
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        // The common case is a fragment without any of them. 0xe2 is the first byte of U+2028 and U+2029.
        let special = |byte| matches!(byte, b'<' | b'>' | b'&' | 0xe2);
        if !fragment.bytes().any(special) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut written = 0;
        for (at, found) in fragment.match_indices(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            writer.write_all(&fragment.as_bytes()[written..at])?;
            write!(
                writer,
                "\\u{:04x}",
                u32::from(found.chars().next().unwrap_or_default())
            )?;
            written = at + found.len();
        }
        writer.write_all(&fragment.as_bytes()[written..])
    }

    /// Go 1.18 writes no short form for backspace and form feed.
    fn write_char_escape<W>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        match escape {
            CharEscape::Backspace => writer.write_all(b"\\u0008"),
            CharEscape::FormFeed => writer.write_all(b"\\u000c"),
            other => CompactFormatter.write_char_escape(writer, other),
        }
    }
}
