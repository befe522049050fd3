//! contrib/airlock.schema.json, a JSON schema of draft 7, which Taplo reads.

use pulldown_cmark::{Event, Parser};
use serde_json::{Map, Value, json};

use crate::config::schema::{self, DefaultValue, Key, Kind, Rule, Section};
use crate::lock::window::weekday_names;

/// Returns the content of the file.
pub(super) fn schema() -> String {
    let documented = schema::documented();
    let (_, document) = &documented[0];
    let mut schema = table("", document);
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    schema["$comment"] =
        "Generated from src/config/schema/ with `INSTA_UPDATE=always cargo test --lib generated`"
            .into();
    schema["title"] = "Configuration of the FleetLock server Airlock".into();
    // Without it, TLS would be on, and have no certificate.
    schema["required"] = json!(["service"]);
    let arrays = documented
        .iter()
        .filter(|(headers, _)| headers[0].starts_with("[["));
    schema["definitions"] = arrays
        .map(|(headers, section)| {
            let name = headers[0].trim_matches(['[', ']']);
            (definition(section), table(name, section))
        })
        .collect::<Map<String, Value>>()
        .into();
    let mut text = serde_json::to_string_pretty(&schema).unwrap();
    text.push('\n');
    text
}

/// Returns the name of the definition of the tables of an array: the last part of their name.
fn definition(section: &Section) -> String {
    let mut tables = schema::tables().into_iter();
    let named = tables.find(|table| table.section.about() == section.about());
    let name = named.map(|table| table.name).unwrap_or_default();
    name.rsplit('.').next().unwrap_or_default().to_owned()
}

fn table(name: &str, section: &Section) -> Value {
    let properties = section.keys.iter().map(|key| {
        let title = format!("{name}.{}", key.name);
        (
            key.name.to_owned(),
            property(title.trim_start_matches('.'), key),
        )
    });
    let required = section
        .keys
        .iter()
        .filter(|key| matches!(key.default, DefaultValue::Required));
    let required: Vec<&str> = required.map(|key| key.name).collect();
    let mut table = json!({
        "type": "object",
        "description": plain(section.about()),
        "properties": properties.collect::<Map<String, Value>>(),
        "additionalProperties": false,
    });
    if !required.is_empty() {
        table["required"] = json!(required);
    }
    if !section.rules.is_empty() {
        table["allOf"] = section.rules.iter().map(rule).collect();
    }
    table
}

fn property(title: &str, key: &Key) -> Value {
    let mut property = match &key.kind {
        Kind::Table(section) => table(title, section),
        kind => values(kind),
    };
    property["title"] = title.into();
    let mut description = plain(key.about());
    match &key.default {
        DefaultValue::Required | DefaultValue::Words("") => {}
        DefaultValue::Value(value) => property["default"] = parse(value),
        DefaultValue::Words(words) => {
            description.push_str(&format!(" Default: {}.", plain(words)));
        }
    }
    if key.table().is_none() {
        description.push_str(&format!(" Changes apply on a {}.", key.applies));
        property["examples"] = json!([parse(key.example)]);
    }
    property["description"] = description.into();
    property
}

fn values(kind: &Kind) -> Value {
    match kind {
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Integer(range) if range.max == u64::MAX => {
            json!({ "type": "integer", "minimum": range.min })
        }
        Kind::Integer(range) => {
            json!({ "type": "integer", "minimum": range.min, "maximum": range.max })
        }
        Kind::Port => json!({ "type": "integer", "minimum": 0, "maximum": u16::MAX }),
        Kind::Text | Kind::TextUnlessEmpty | Kind::FileUnlessEmpty => json!({ "type": "string" }),
        Kind::File | Kind::Path => json!({ "type": "string", "minLength": 1 }),
        Kind::Url => json!({ "type": "string", "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://" }),
        Kind::Choice(values) => json!({ "type": "string", "enum": values }),
        Kind::Time => json!({ "type": "string", "pattern": "^[0-9]{1,2}:[0-9]{1,2}$" }),
        Kind::DateTime => {
            let time = "[T ][0-9]{1,2}:[0-9]{1,2}(:[0-9]{1,2})?";
            json!({ "type": "string", "pattern": format!("^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}({time})?$") })
        }
        Kind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Choices(values) => {
            json!({ "type": "array", "minItems": 1, "items": { "type": "string", "enum": values } })
        }
        Kind::Weekdays => {
            let names: Vec<&str> = weekday_names().collect();
            let any_case: Vec<String> = names.iter().map(|name| any_case(name)).collect();
            let pattern = format!("^({})$", any_case.join("|"));
            let items =
                json!({ "anyOf": [{ "enum": names }, { "type": "string", "pattern": pattern }] });
            json!({ "type": "array", "minItems": 1, "items": items })
        }
        Kind::NonzeroIntegers(max) => {
            let items = json!({ "type": "integer", "minimum": -max, "maximum": max, "not": { "const": 0 } });
            json!({ "type": "array", "minItems": 1, "items": items })
        }
        Kind::Table(section) => table("", section),
        Kind::Tables(section) => {
            let definition = format!("#/definitions/{}", definition(section));
            json!({ "type": "array", "items": { "$ref": definition } })
        }
    }
}

fn rule(rule: &Rule) -> Value {
    match rule {
        Rule::ExactlyOne([one, other]) => {
            json!({ "oneOf": [{ "required": [one] }, { "required": [other] }] })
        }
        Rule::AtLeastOne([one, other]) => {
            json!({ "anyOf": [{ "required": [one] }, { "required": [other] }] })
        }
        Rule::AtMostOne(keys) => json!({ "not": { "required": keys } }),
        Rule::Together([one, other]) => json!({ "dependencies": { *one: [other], *other: [one] } }),
        Rule::RequiredUnlessFalse(key, keys) => json!({
            "if": { "required": [key], "properties": { *key: { "const": false } } },
            "then": true,
            "else": { "required": keys },
        }),
    }
}

/// Returns a pattern of a name in lower or upper case.
fn any_case(name: &str) -> String {
    name.chars()
        .map(|c| format!("[{}{}]", c.to_ascii_uppercase(), c.to_ascii_lowercase()))
        .collect()
}

/// Returns a paragraph of Markdown without its links.
fn plain(markdown: &str) -> String {
    Parser::new(markdown)
        .filter_map(|event| match event {
            Event::Text(text) => Some(text.into_string()),
            Event::Code(code) => Some(format!("`{code}`")),
            Event::SoftBreak => Some(" ".into()),
            _ => None,
        })
        .collect()
}

/// Converts a value of TOML.
fn parse(value: &str) -> Value {
    fn convert(value: &toml::Value) -> Value {
        match value {
            toml::Value::String(text) => json!(text),
            toml::Value::Integer(number) => json!(number),
            toml::Value::Float(number) => json!(number),
            toml::Value::Boolean(boolean) => json!(boolean),
            toml::Value::Datetime(moment) => json!(moment.to_string()),
            toml::Value::Array(values) => values.iter().map(convert).collect(),
            toml::Value::Table(_) => panic!("{value} is a table"),
        }
    }
    let table: toml::Table = toml::from_str(&format!("x = {value}")).unwrap();
    convert(&table["x"])
}
