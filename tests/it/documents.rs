//! The documents: their links and anchors, and the summary of the site.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use airlock_test_support::repository;

/// A document of the source tree.
struct Document {
    /// The anchors that a forge and the site give to its headings.
    anchors: BTreeSet<String>,
    links: Vec<String>,
}

#[test]
fn every_link_in_the_documents_leads_to_a_file_and_a_section() {
    let documents = documents();
    let mut links = 0;
    let mut wrong = Vec::new();
    for (path, document) in &documents {
        for link in &document.links {
            links += 1;
            if let Some(problem) = problem(path, link, &documents) {
                wrong.push(format!("{}: {link}: {problem}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(links > 250, "{links}");
}

#[test]
fn the_summary_of_the_site_lists_each_document_once() {
    let documents = documents();
    let summary = &documents[Path::new("docs/SUMMARY.md")];
    let mut listed: Vec<PathBuf> = summary
        .links
        .iter()
        .map(|link| normalized(&Path::new("docs").join(link)))
        .collect();
    listed.sort();
    let is_listed = |path: &&PathBuf| {
        let is_at_root = path.parent() == Some(Path::new(""));
        (is_at_root || path.starts_with("docs")) && !path.ends_with("SUMMARY.md")
    };
    let mut expected: Vec<PathBuf> = documents.keys().filter(is_listed).cloned().collect();
    expected.sort();
    assert_eq!(listed, expected);
}

#[test]
fn a_link_to_no_file_to_no_section_and_out_of_the_tree_is_found() {
    let document = |text: &str| document(text);
    let documents = BTreeMap::from([
        (
            PathBuf::from("README.md"),
            document("# A `b_c`, d\n\n## X\n\n## X\n"),
        ),
        (PathBuf::from("docs/a.md"), document("# E: f\n")),
    ]);
    for (link, expected) in [
        ("../README.md#a-b_c-d", None),
        ("../README.md#x-1", None),
        ("#e-f", None),
        ("../examples/config.toml", None),
        ("../contrib/butane", None),
        ("https://host.example/#x", None),
        ("../README.md#x-2", Some("there is no such section")),
        ("#e", Some("there is no such section")),
        ("b.md", Some("there is no such file")),
        ("../../etc/passwd", Some("it leaves the source tree")),
        ("/README.md", Some("it leaves the source tree")),
    ] {
        assert_eq!(
            problem(Path::new("docs/a.md"), link, &documents),
            expected,
            "{link}"
        );
    }
}

/// Returns why a link leads nowhere.
fn problem(
    from: &Path,
    link: &str,
    documents: &BTreeMap<PathBuf, Document>,
) -> Option<&'static str> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = match path {
        "" => from.to_owned(),
        _ => normalized(&from.parent().unwrap().join(path)),
    };
    if target.is_absolute() || target.starts_with("..") {
        return Some("it leaves the source tree");
    }
    match documents.get(&target) {
        Some(document) => {
            let leads = anchor.is_empty() || document.anchors.contains(anchor);
            (!leads).then_some("there is no such section")
        }
        None => (!repository().join(target).exists()).then_some("there is no such file"),
    }
}

/// Returns a relative path without `.`, and without `..` behind a name.
fn normalized(path: &Path) -> PathBuf {
    let mut normalized = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if normalized.file_name().is_some() => {
                normalized.pop();
            }
            part => normalized.push(part),
        }
    }
    normalized
}

/// Returns all documents by their paths in the source tree.
fn documents() -> BTreeMap<PathBuf, Document> {
    let mut files = Vec::new();
    list(&repository(), &mut files);
    let documents = files.into_iter().map(|file| {
        let text = fs::read_to_string(&file).unwrap();
        let path = file.strip_prefix(repository()).unwrap();
        (path.to_owned(), document(&text))
    });
    documents.collect()
}

/// Appends the documents in a folder. At the root, only the folders that contain documents are searched.
fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    let is_root = folder == repository();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let searched = [".github", "contrib", "docs", "examples"];
        if path.is_dir() && (!is_root || searched.iter().any(|name| path.ends_with(name))) {
            list(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            files.push(path);
        }
    }
}

fn document(text: &str) -> Document {
    let mut document = Document {
        anchors: BTreeSet::new(),
        links: Vec::new(),
    };
    let mut heading: Option<String> = None;
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => {
                let anchor = anchor(&heading.take().unwrap());
                let mut numbered = (1..).map(|number| format!("{anchor}-{number}"));
                let free = match document.anchors.contains(&anchor) {
                    true => numbered.find(|anchor| !document.anchors.contains(anchor)),
                    false => Some(anchor),
                };
                document.anchors.extend(free);
            }
            Event::Text(text) | Event::Code(text) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&text);
                }
            }
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                document.links.push(dest_url.into_string());
            }
            _ => {}
        }
    }
    document
}

/// Returns the anchor that a forge gives to the first heading with this text.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let heading: String = heading.to_lowercase().chars().filter(kept).collect();
    heading.replace(' ', "-")
}
