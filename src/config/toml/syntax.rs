//! Errors of the TOML parser.

use toml::de::Error;

use crate::config::diagnostic::{Diagnostics, line, quote};
use crate::text::escape::{printable, redacted};

/// Reports the errors of the parser: one for each line, and none that is only a consequence of an unclosed quote.
pub(super) fn report(diagnostics: &mut Diagnostics, text: &str, mut errors: Vec<&Error>) {
    let start = |error: &Error| error.span().unwrap_or_default().start;
    errors.sort_by_key(|error| start(error));
    let mut last = 0;
    for error in errors {
        let line = line(text, start(error));
        if line == last {
            continue;
        }
        last = line;
        let content = text.lines().nth(line - 1).unwrap_or_default();
        let problem = problem(text, content, start(error), error.message());
        diagnostics.error_at(Some(line), "", problem);
        let code = content.split(" #").next().unwrap_or_default();
        if code.matches('"').count() % 2 == 1 {
            return;
        }
    }
}

fn problem(text: &str, content: &str, start: usize, message: &str) -> String {
    let before = text.get(..start).unwrap_or(text);
    let column = before.len() - before.rfind('\n').map_or(0, |newline| newline + 1);
    let value = content
        .split_once('=')
        .filter(|(key, _)| column > key.len())
        .and_then(|(_, value)| value.split(" #").next());
    if let Some(explained) = value.and_then(|value| unquoted_word(value.trim())) {
        return explained;
    }
    let message = message.trim_end_matches(", expected nothing");
    let shown: String = redacted(content.trim()).chars().take(100).collect();
    format!(
        "invalid TOML: {message}, in the line `{}`",
        printable(&shown)
    )
}

/// Explains a value that is most likely a string without quotes, or a boolean of another language.
fn unquoted_word(value: &str) -> Option<String> {
    // A number has at most one dot.
    let is_text = value.starts_with(char::is_alphabetic) || value.matches('.').count() > 1;
    let is_word = |c: char| c.is_alphanumeric() || "_-./:".contains(c);
    if !is_text || !value.chars().all(is_word) {
        return None;
    }
    let remedy = match &*value.to_lowercase() {
        "true" | "yes" | "on" => "write true",
        "false" | "no" | "off" => "write false",
        _ => "put it in quotes if it is a string",
    };
    Some(format!("{} is not a TOML value; {remedy}", quote(value)))
}
