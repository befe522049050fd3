//! Escaping of untrusted text for one line of a log, an error message, or a shell command.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Quotes `text` and escapes it almost as Go's `%q` does: the result contains no character that ends the line or
/// controls a terminal.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c => push_printable(&mut out, c),
        }
    }
    out.push('"');
    out
}

/// Escapes the characters of `text` that end the line or control a terminal, and leaves all others as they are. Text
/// for people: the result does not tell an escaped character from the same escape in `text`.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, is_printable, push_printable)
}

/// Escapes as [`printable`] does, but leaves the ends of lines.
pub(crate) fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c == '\n' || is_printable(c), push_printable)
}

/// Escapes the characters of a JSON document that are not printable. All of them are in its strings, so a parser
/// returns the same values.
pub(crate) fn escaped_json(document: &str) -> Cow<'_, str> {
    escaped(document, is_printable, |out, c| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{unit:04x}");
        }
    })
}

/// Returns at most `max` characters of `text`, escaped as by [`printable`], and an ellipsis if there are more.
pub(crate) fn shortened(text: &str, max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(max) {
        Some((end, _)) => printable(&text[..end]) + "…",
        None => printable(text),
    }
}

/// Quotes at most `max` characters of `text` as [`quoted`] does, and adds an ellipsis if there are more.
pub(crate) fn quoted_start(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => quoted(&text[..end]) + "…",
        None => quoted(text),
    }
}

/// Replaces the password in a URL, or in another text of the form `user:password@host`, by `***`.
pub(crate) fn redacted(text: &str) -> Cow<'_, str> {
    // A user or a password may contain `://`.
    let scheme = text.find("://");
    let scheme = scheme.filter(|end| !text[..*end].contains([':', '@']));
    let user = scheme.map_or(0, |end| end + "://".len());
    let colon = text[user..].find(':').map(|colon| user + colon);
    match (colon, text.rfind('@')) {
        (Some(colon), Some(at)) if colon < at => {
            format!("{}***{}", &text[..=colon], &text[at..]).into()
        }
        _ => text.into(),
    }
}

/// Replaces each character that is not `safe` by what `push` writes for it.
fn escaped(
    text: &str,
    safe: impl Fn(char) -> bool,
    push: impl Fn(&mut String, char),
) -> Cow<'_, str> {
    if text.chars().all(&safe) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if safe(c) {
            out.push(c);
        } else {
            push(&mut out, c);
        }
    }
    out.into()
}

/// Reports whether a character is visible and stands for itself. Rust escapes those of the categories Cc, Cf, Cn, Co,
/// Zl, Zp and Zs, but for the space, and those that combine with the character before them.
fn is_printable(c: char) -> bool {
    // Rust escapes these three as well.
    matches!(c, '"' | '\'' | '\\') || c.escape_debug().len() == 1
}

fn push_printable(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if is_printable(c) => out.push(c),
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

/// Quotes `word` for a POSIX shell, if it needs quotes. If it contains characters that are not printable, they become
/// octal escapes of their bytes in `$'…'`, which POSIX defines since 2024, and bash, ksh and zsh understand.
pub(crate) fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@:+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    if word.chars().all(is_printable) {
        return format!("'{}'", word.replace('\'', r"'\''"));
    }
    let is_safe = |c| is_printable(c) && !matches!(c, '\'' | '\\');
    let escaped = escaped(word, is_safe, |out, c| {
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\{byte:03o}");
        }
    });
    format!("$'{escaped}'")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::control_and_format_characters;
    use proptest::prelude::*;

    #[test]
    fn quoted_text_contains_no_control_character_and_no_line_end() {
        assert_eq!(quoted("nope"), r#""nope""#);
        assert_eq!(quoted("it's é"), r#""it's é""#);
        assert_eq!(quoted("a\"b\\c\n\r\t"), r#""a\"b\\c\n\r\t""#);
        assert_eq!(quoted("\u{1b}[2J\u{7f}"), r#""\x1b[2J\x7f""#);
        assert_eq!(quoted("\u{85}\u{2028}\u{202e}"), r#""\u0085\u2028\u202e""#);
        assert_eq!(quoted("\u{e0001}"), r#""\U000e0001""#);
    }

    #[test]
    fn printable_text_stays_as_it_is_and_control_characters_are_escaped() {
        assert_eq!(printable(r#"it's "é" \n"#), r#"it's "é" \n"#);
        assert_eq!(printable("a\u{1b}[2J\nb\u{202e}"), r"a\x1b[2J\nb\u202e");
    }

    #[test]
    fn a_password_in_a_url_is_not_shown() {
        for (text, expected) in [
            (
                "https://root:secret@etcd:2379",
                "https://root:***@etcd:2379",
            ),
            ("https://root:s:/@ \"@etcd", "https://root:***@etcd"),
            ("root:secret@etcd:2379", "root:***@etcd:2379"),
            ("root:p://x@etcd:2379", "root:***@etcd:2379"),
            ("root@a://b:secret@etcd", "root@a:***@etcd"),
            ("https://root:p://x@etcd", "https://root:***@etcd"),
            ("https://:secret@[::1]:2379", "https://:***@[::1]:2379"),
            ("https://root@etcd:2379", "https://root@etcd:2379"),
            ("http://[::1]:2379", "http://[::1]:2379"),
            ("", ""),
        ] {
            assert_eq!(redacted(text), expected);
        }
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(printable_lines("a\u{9b}\n\tb"), "a\\u009b\n\\tb");
    }

    #[test]
    fn a_long_text_is_cut_by_characters_before_it_is_escaped() {
        assert_eq!(shortened("é\n", 2), "é\\n");
        assert_eq!(shortened("é\nx", 2), "é\\n…");
        assert_eq!(shortened("", 0), "");
        assert_eq!(quoted_start("é\n", 2), r#""é\n""#);
        assert_eq!(quoted_start("é\nx", 2), r#""é\n"…"#);
    }

    #[test]
    fn a_word_with_special_characters_is_quoted_for_the_shell() {
        assert_eq!(shell_word("node-1.example:22"), "node-1.example:22");
        assert_eq!(shell_word(""), "''");
        assert_eq!(shell_word("it's; rm"), r"'it'\''s; rm'");
        assert_eq!(shell_word("é ü"), "'é ü'");
        assert_eq!(
            shell_word("it's\\\n\u{1b}[2J\u{202e}7é"),
            r"$'it\047s\134\012\033[2J\342\200\2567é'"
        );
    }

    #[test]
    fn every_control_and_format_character_is_escaped_everywhere() {
        let found = control_and_format_characters();
        for named in "\0\n\u{7f}\u{9b}\u{ad}\u{61c}\u{180e}\u{200b}\u{200f}\u{2028}\u{202e}\u{2060}\u{2069}\u{feff}\u{e0001}"
            .chars()
        {
            assert!(found.contains(&named), "{named:?}");
        }
        for c in found {
            let text = format!("a{c}b");
            let document = serde_json::to_string(&text).unwrap();
            for escaped in [
                quoted(&text),
                printable(&text).into_owned(),
                shortened(&text, 3).into_owned(),
                shell_word(&text),
                escaped_json(&document).into_owned(),
            ] {
                let is_safe = |c: char| c.is_ascii_graphic();
                assert!(escaped.chars().all(is_safe), "{c:?}: {escaped:?}");
            }
            if c != '\n' {
                assert_eq!(printable_lines(&text), printable(&text));
            }
        }
    }

    #[test]
    fn bash_reads_a_word_back_as_it_was() {
        let mut words = vec!["it's\\ \n$(x)".to_owned(), "\u{1b}7".into(), "".into()];
        let characters = control_and_format_characters().into_iter();
        // An argument of a command cannot contain a NUL.
        words.push(characters.filter(|c| *c != '\0').collect());
        let quoted: Vec<String> = words.iter().map(|word| shell_word(word)).collect();
        let output = std::process::Command::new("bash")
            .args(["-c", &format!("printf '%s\\0' {}", quoted.join(" "))])
            .env("LC_ALL", "C")
            .output()
            .unwrap();
        let read = String::from_utf8(output.stdout).unwrap();
        let expected: String = words.iter().map(|word| format!("{word}\0")).collect();
        assert_eq!(read, expected);
    }

    proptest! {
        #[test]
        fn any_text_becomes_one_quoted_word_of_printable_characters(text: String) {
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
