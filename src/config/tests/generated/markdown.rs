//! docs/configuration.md.

use std::fmt::Write as _;

use crate::config::schema::section::listed;
use crate::config::schema::{self, DefaultValue, Kind, Section};

const START: &str = "\
<!-- Generated from src/config/schema/: `INSTA_UPDATE=always cargo test --lib generated` writes this file. -->

# Configuration

";

const MIDDLE: &str = "\
The tables below list the type of each key, its default, and when a change applies. `airlock man FOLDER` writes the same
as a manual page, airlock.toml(5). [examples](../examples) contains complete files.

## Help of an editor

[contrib/airlock.schema.json](../contrib/airlock.schema.json) is a JSON schema of the file. Editors with
[Taplo](https://taplo.tamasfe.dev/), such as VS Code with the extension Even Better TOML, complete the keys, show this
documentation, and mark keys and values that the server would not accept. Name the schema in the first line of the file,
with a path relative to it or a URL:

```toml
#:schema ./airlock.schema.json
```

`taplo lint --schema file:///PATH/airlock.schema.json config.toml` checks a file without an editor. The schema knows
neither other ways to write a key, such as `Port`, nor dates and times without seconds, unless they are strings. It
cannot know what `airlock check-config` also checks: whether files and addresses can be used, and whether names, URLs
and time zones are valid.

";

/// Returns the content of the file.
pub(super) fn reference() -> String {
    let mut text = START.to_owned();
    for (headers, section) in schema::documented() {
        if headers == [""] {
            paragraph(&mut text, section.about());
            paragraph(&mut text, schema::CHANGES);
            text.push_str(MIDDLE);
            text.push_str("## Tables\n\n");
            rules(&mut text, section);
            for key in section.keys {
                let _ = writeln!(text, "* [`[{}]`](#{}): {}", key.name, key.name, key.about());
            }
            continue;
        }
        let headers: Vec<String> = headers.iter().map(|header| format!("`{header}`")).collect();
        let _ = write!(text, "\n## {}\n\n", headers.join(" and "));
        paragraph(&mut text, section.about());
        rules(&mut text, section);
        originals(&mut text, section);
        text.push_str("| key | type | default | change | meaning |\n|---|---|---|---|---|\n");
        for key in section.keys {
            let (name, kind, about) = (key.name, &key.kind, key.about());
            let default = match &key.default {
                DefaultValue::Required => "*required*".into(),
                default => default.to_string(),
            };
            let change = match key.kind {
                Kind::Table(_) | Kind::Tables(_) => String::new(),
                _ => key.applies.to_string(),
            };
            let example = match key.example {
                "" => String::new(),
                example => format!(" Example: `{example}`"),
            };
            let row = format!("| `{name}` | {kind} | {default} | {change} | {about}{example} |");
            let _ = writeln!(
                text,
                "{}",
                row.replace("|  |", "| |").replace("|  |", "| |")
            );
        }
    }
    text
}

fn rules(text: &mut String, section: &Section) {
    let rules: Vec<String> = section.rules.iter().map(ToString::to_string).collect();
    if !rules.is_empty() {
        paragraph(text, &rules.join(" "));
    }
}

/// Lists the keys that coreos/airlock has, too.
fn originals(text: &mut String, section: &Section) {
    let originals = section.keys.iter().filter(|key| key.is_original);
    let names: Vec<String> = originals.map(|key| format!("`{}`", key.name)).collect();
    if let Some(names) = listed(&names, "and") {
        paragraph(text, &format!("coreos/airlock also has {names}."));
    }
}

/// Adds a paragraph in lines of at most 120 characters.
fn paragraph(text: &mut String, words: &str) {
    let mut length = 0;
    for word in words.split_whitespace() {
        let separator = match length {
            0 => "",
            length if length + 1 + word.len() > 120 => "\n",
            _ => " ",
        };
        length = if separator == "\n" {
            0
        } else {
            length + separator.len()
        } + word.len();
        let _ = write!(text, "{separator}{word}");
    }
    text.push_str("\n\n");
}
