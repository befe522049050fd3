//! airlock.toml(5), the manual page of the configuration.

use clap_mangen::roff::{Inline, Roff, bold, roman};
use pulldown_cmark::{Event, Parser};

use crate::config::DEFAULT_PATH;
use crate::config::schema::{self, DefaultValue, Key, Section};

/// The name of the page.
pub(super) const NAME: &str = "airlock.toml";

/// The name of its file.
pub(super) const FILE_NAME: &str = "airlock.toml.5";

const EXAMPLE: &str = include_str!("../../../examples/fleet.toml");

/// Returns the page, with its date and program as arguments in roff.
pub(super) fn page(date: &str, source: &str) -> Roff {
    let mut page = Roff::new();
    page.control("TH", [&NAME.to_uppercase(), "5", date, source]);
    page.control("SH", ["NAME"]);
    page.text([roman(format!(
        "{NAME} - the configuration of the FleetLock server airlock"
    ))]);
    for (headers, section) in schema::documented() {
        if headers == [""] {
            page.control("SH", ["DESCRIPTION"]);
            describe(&mut page, section);
            page.control("PP", []);
            page.text(inlines(schema::CHANGES));
            continue;
        }
        page.control("SH", [headers.join(" and ").as_str()]);
        describe(&mut page, section);
        for key in section.keys {
            key_entry(&mut page, key);
        }
    }
    page.control("SH", ["FILES"]);
    page.text([bold(DEFAULT_PATH)]);
    page.control("SH", ["EXAMPLES"]).control("nf", []);
    for line in EXAMPLE.lines() {
        page.text([roman(line)]);
    }
    page.control("fi", []);
    page.control("SH", ["SEE ALSO"]);
    page.text([
        bold("airlock"),
        roman("(1), "),
        bold("airlock-check-config"),
        roman("(1)"),
    ]);
    page
}

fn describe(page: &mut Roff, section: &Section) {
    page.text(inlines(section.about()));
    for rule in section.rules {
        page.control("PP", []);
        page.text(inlines(&rule.to_string()));
    }
}

fn key_entry(page: &mut Roff, key: &Key) {
    page.control("TP", []);
    page.text([bold(key.name)]);
    page.text(inlines(key.about()));
    page.control("br", []);
    let mut facts = format!("Type: {}.", key.kind);
    match &key.default {
        DefaultValue::Required => facts.push_str(" Required."),
        DefaultValue::Words("") => {}
        default => facts.push_str(&format!(" Default: {default}.")),
    }
    if key.table().is_none() {
        let (applies, name, example) = (key.applies, key.name, key.example);
        facts.push_str(&format!(
            " Changes apply on a {applies}. Example: `{name} = {example}`"
        ));
    }
    page.text(inlines(&facts));
}

/// Converts a paragraph of Markdown. Links are shown without their targets.
fn inlines(markdown: &str) -> Vec<Inline> {
    Parser::new(markdown)
        .filter_map(|event| match event {
            Event::Text(text) => Some(roman(text.as_ref())),
            Event::Code(code) => Some(bold(code.as_ref())),
            Event::SoftBreak => Some(roman(" ")),
            _ => None,
        })
        .collect()
}
