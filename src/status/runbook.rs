//! The runbook, docs/operations.md, as a page: an operator at night may have no access to the documentation.

use maud::{DOCTYPE, PreEscaped, html};
use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd, html::push_html};

use super::policy::{STYLE, icon};

/// The path of the page.
pub(super) const PATH: &str = "/runbook";

const MARKDOWN: &str = include_str!("../../docs/operations.md");

/// The color of the icon of the page.
const COLOR: &str = "#2a63cc";

/// The runbook in HTML.
struct Runbook {
    body: String,
    /// The text and the id of each heading of the second level.
    contents: Vec<(String, String)>,
}

/// Returns the address of a section.
pub(super) fn address(section: &str) -> String {
    format!("{PATH}#{}", anchor(section))
}

/// Returns the id of a heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || " -_".contains(*c);
    let words: String = heading.to_lowercase().chars().filter(kept).collect();
    words.replace(' ', "-")
}

/// Renders the page.
pub(super) fn render() -> String {
    let Runbook { body, contents } = Runbook::new(MARKDOWN);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Runbook - Airlock" }
                link rel="icon" href=(icon(COLOR));
                style { (PreEscaped(STYLE)) }
            }
            body.text {
                header {
                    a href="/" { "Status page" }
                    p.meta { "docs/operations.md of Airlock " (env!("CARGO_PKG_VERSION")) }
                }
                nav aria-label="Contents" {
                    details.more {
                        summary { "Contents" }
                        ul { @for (heading, id) in &contents { li { a href={ "#" (id) } { (heading) } } } }
                    }
                }
                main { (PreEscaped(body)) }
            }
        }
    };
    page.into_string()
}

// === impl Runbook ===

impl Runbook {
    fn new(markdown: &str) -> Self {
        let text_only = |event| match event {
            Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
            other => other,
        };
        let parser = Parser::new_ext(markdown, Options::ENABLE_TABLES).map(text_only);
        let mut events: Vec<Event<'_>> = parser.collect();
        let mut contents = Vec::new();
        for start in 0..events.len() {
            match &events[start] {
                Event::Start(Tag::Heading { level, .. }) => {
                    let level = *level;
                    let end = end(&events, start, TagEnd::Heading(level));
                    let heading = text(&events[start..end]);
                    let anchor = anchor(&heading);
                    if let Event::Start(Tag::Heading { id, .. }) = &mut events[start] {
                        *id = Some(anchor.clone().into());
                    }
                    if level == HeadingLevel::H2 {
                        contents.push((heading, anchor));
                    }
                }
                Event::Start(Tag::Link { dest_url, .. }) => {
                    let Some(file) = file(dest_url) else { continue };
                    let end = end(&events, start, TagEnd::Link);
                    let name = file.rsplit('/').next().unwrap_or_default();
                    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
                    let is_named = text(&events[start..end]).contains(stem);
                    let name = if is_named {
                        String::new()
                    } else {
                        format!(" ({file})")
                    };
                    events[start] = Event::Text("".into());
                    events[end] = Event::Text(name.into());
                }
                _ => {}
            }
        }
        let mut body = String::new();
        push_html(&mut body, events.into_iter());
        Runbook { body, contents }
    }
}

/// Returns the index of the end of a tag.
fn end(events: &[Event<'_>], start: usize, tag: TagEnd) -> usize {
    let end = events[start..]
        .iter()
        .position(|event| *event == Event::End(tag));
    end.map_or(start, |length| start + length)
}

fn text(events: &[Event<'_>]) -> String {
    let texts = events.iter().filter_map(|event| match event {
        Event::Text(text) | Event::Code(text) => Some(&**text),
        Event::SoftBreak => Some(" "),
        _ => None,
    });
    texts.collect()
}

/// Returns the path in the source tree of the file to which a link leads. The server does not serve it.
fn file(address: &str) -> Option<String> {
    let path = address.split('#').next().filter(|path| !path.is_empty())?;
    match path.strip_prefix("../") {
        _ if path.contains("://") => None,
        Some(path) => Some(path.to_owned()),
        None => Some(format!("docs/{path}")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn rendered(markdown: &str) -> String {
        Runbook::new(markdown).body
    }

    #[test]
    fn headings_have_the_ids_that_github_gives_them() {
        for (heading, id) in [
            ("Nothing is updating", "nothing-is-updating"),
            ("Walkthrough: a node dies", "walkthrough-a-node-dies"),
            ("The key `a_b`, or not", "the-key-a_b-or-not"),
        ] {
            let page = rendered(&format!("## {heading}\n"));
            assert!(page.starts_with(&format!("<h2 id=\"{id}\">")), "{page}");
        }
    }

    #[test]
    fn a_link_to_a_file_is_its_text_and_a_path_and_other_links_are_links() {
        for (markdown, html) in [
            (
                "[a *b*](reference.md#json) c",
                "a <em>b</em> (docs/reference.md) c",
            ),
            ("[security.md](security.md)", "security.md"),
            ("[The reference](reference.md#x)", "The reference"),
            (
                "[`55-a`](../contrib/zincati/55-a.toml)",
                "<code>55-a</code>",
            ),
            ("[x](#a)", "<a href=\"#a\">x</a>"),
            (
                "[x](https://a.example/b)",
                "<a href=\"https://a.example/b\">x</a>",
            ),
        ] {
            assert_eq!(rendered(markdown), format!("<p>{html}</p>\n"));
        }
    }

    #[test]
    fn html_in_the_text_is_shown_as_text() {
        let page = rendered("<script>a</script>\n\nb <img src=x> c\n");
        assert!(
            !page.contains("<script") && !page.contains("<img"),
            "{page}"
        );
        assert!(page.contains("&lt;script&gt;a&lt;/script&gt;"), "{page}");
    }

    #[test]
    fn every_link_of_the_page_leads_to_a_heading_or_to_another_site() {
        let page = render();
        let values = |attribute: &str| -> Vec<String> {
            let values = page.split(attribute).skip(1);
            values
                .map(|rest| rest.split('"').next().unwrap_or_default().to_owned())
                .collect()
        };
        let ids = values(" id=\"");
        let unique: BTreeSet<&String> = ids.iter().collect();
        assert_eq!(unique.len(), ids.len(), "two headings have the same id");
        let links = values("<a href=\"");
        assert!(links.len() > 40, "{links:?}");
        for link in links {
            let leads = match link.strip_prefix('#') {
                Some(id) => ids.iter().any(|other| other == id),
                None => link == "/" || link.starts_with("https://"),
            };
            assert!(leads, "{link}");
        }
    }
}
