//! Errors of the TOML parser.

use std::ops::RangeInclusive;

use crate::config::diagnostic::{Diagnostics, line, quote};
use crate::text::escape::printable;

/// Reports an error of the parser, at a byte of the text. Returns the lines on which more errors are a consequence of
/// this one.
pub(super) fn report(
    diagnostics: &mut Diagnostics,
    text: &str,
    start: usize,
    message: &str,
) -> RangeInclusive<usize> {
    let line = line(text, start);
    let content = text.lines().nth(line - 1).unwrap_or_default();
    let before = text.get(..start).unwrap_or(text);
    let column = before.len() - before.rfind('\n').map_or(0, |newline| newline + 1);
    let value = content
        .split_once('=')
        .filter(|(key, _)| column > key.len());
    let problem = match value.and_then(|(_, value)| unquoted_word(value.trim())) {
        Some(word) => word,
        None => {
            let message = message.trim_end_matches(", expected nothing");
            let shown: String = content.trim().chars().take(100).collect();
            let shown = printable(&shown);
            format!("invalid TOML: {message}, in the line `{shown}`")
        }
    };
    diagnostics.error_at(Some(line), "", problem);
    // An unclosed quote also confuses the parser about the next line.
    let has_open_quote = content.matches('"').count() % 2 == 1;
    line..=line + usize::from(has_open_quote)
}

/// Explains a value that is most likely a string without quotes, or a boolean in capital letters.
fn unquoted_word(value: &str) -> Option<String> {
    // A number has at most one dot.
    let is_text = value.starts_with(char::is_alphabetic) || value.matches('.').count() > 1;
    let is_word = |c: char| c.is_alphanumeric() || "_-./:".contains(c);
    if !is_text || !value.chars().all(is_word) {
        return None;
    }
    let quoted = quote(value);
    let lower = value.to_lowercase();
    Some(match &*lower {
        "true" | "false" => format!("{quoted} is not a TOML value; write {lower}"),
        _ => format!("{quoted} is not a TOML value; put it in quotes if it is a string"),
    })
}
