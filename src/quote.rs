//! Text from strangers, made safe for one line of a log or an error.

use std::fmt::Write as _;

/// `text` in double quotes, escaped nearly as Go's `%q` does it: nothing that a terminal or a log reader
/// could take for the end of the line or for a command is left.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\'' => out.push(c),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // What Rust would escape is not printable.
            c if c.escape_debug().len() == 1 => out.push(c),
            c => {
                let code = u32::from(c);
                // Writing to a String cannot fail.
                let _ = match code {
                    0..0x80 => write!(out, "\\x{code:02x}"),
                    0x80..0x1_0000 => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_can_end_the_line_or_steer_the_terminal() {
        assert_eq!(quoted("nope"), r#""nope""#);
        assert_eq!(quoted("it's é"), r#""it's é""#);
        assert_eq!(quoted("a\"b\\c\n\r\t"), r#""a\"b\\c\n\r\t""#);
        assert_eq!(quoted("\u{1b}[2J\u{7f}"), r#""\x1b[2J\x7f""#);
        assert_eq!(quoted("\u{85}\u{2028}\u{202e}"), r#""\u0085\u2028\u202e""#);
        assert_eq!(quoted("\u{e0001}"), r#""\U000e0001""#);
    }

    proptest! {
        #[test]
        fn any_text_is_one_word_of_printable_characters(text: String) {
            let quoted = quoted(&text);
            let steers = |c: char| c.is_control() || "\u{2028}\u{202e}".contains(c);
            prop_assert_eq!(quoted.find(steers), None);
            // The only bare quotes are the first and the last.
            let inner = quoted[1..quoted.len() - 1].replace("\\\\", "").replace("\\\"", "");
            prop_assert!(!inner.contains('"'), "{}", quoted);
            prop_assert!(!inner.ends_with('\\'), "{}", quoted);
        }
    }
}
