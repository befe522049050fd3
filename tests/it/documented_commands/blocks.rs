//! The code of the documents.

use std::fs;
use std::path::Path;

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use airlock_test_support::repository;

/// A block of code in a document.
pub(super) struct Block {
    /// The path of the document in the source tree.
    pub(super) file: String,
    /// The heading above the block.
    pub(super) section: String,
    pub(super) code: String,
    /// The comment above the block with the script that runs it, and its name there: "tools/systemd-cases: install".
    pub(super) case: Option<String>,
    /// The language of a fenced block.
    language: String,
}

/// A command in a block, with the output that the document shows for it.
pub(super) struct Command {
    pub(super) line: String,
    pub(super) output: Option<Vec<String>>,
}

/// The code of one document.
#[derive(Default)]
struct Code {
    blocks: Vec<Block>,
    /// The spans of code in the text, with the heading above each.
    spans: Vec<String>,
}

/// Returns the blocks of all documents.
pub(super) fn blocks() -> Vec<Block> {
    let files = documents().into_iter();
    files.flat_map(|file| read(&file).blocks).collect()
}

/// Returns the spans of code in the text of all documents, each with its document.
pub(super) fn spans() -> Vec<(String, String)> {
    let files = documents().into_iter();
    let spans = files.flat_map(|file| {
        let spans = read(&file).spans.into_iter();
        spans.map(|span| (file.clone(), span)).collect::<Vec<_>>()
    });
    spans.collect()
}

/// Returns the paths of the documents with commands, relative to the root of the source tree.
fn documents() -> Vec<String> {
    let mut documents = vec!["CONTRIBUTING.md".to_owned(), "README.md".to_owned()];
    let folders = ["docs", "docs/decisions"].into_iter();
    let entries = folders.flat_map(|folder| {
        let entries = fs::read_dir(repository().join(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.map(move |name| format!("{folder}/{name}"))
    });
    for name in entries {
        if Path::new(&name)
            .extension()
            .is_some_and(|extension| extension == "md")
        {
            documents.push(name);
        }
    }
    documents.sort();
    documents
}

fn read(file: &str) -> Code {
    let text = fs::read_to_string(repository().join(file)).unwrap();
    let mut code = Code::default();
    let mut section = String::new();
    let (mut heading, mut block) = (None::<String>, None::<Block>);
    let mut case = None;
    for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Heading { level, .. }) => {
                heading = Some("#".repeat(depth(level)) + " ");
            }
            Event::End(TagEnd::Heading(_)) => section = heading.take().unwrap(),
            Event::Start(Tag::CodeBlock(kind)) => {
                block = Some(Block {
                    file: file.to_owned(),
                    section: section.clone(),
                    code: String::new(),
                    case: case.take(),
                    language: match kind {
                        CodeBlockKind::Fenced(language) => language.into_string(),
                        CodeBlockKind::Indented => String::new(),
                    },
                });
            }
            Event::End(TagEnd::CodeBlock) => code.blocks.extend(block.take()),
            Event::Text(text) | Event::Code(text) if heading.is_some() => {
                heading.as_mut().unwrap().push_str(&text);
            }
            Event::Text(text) => {
                if let Some(block) = &mut block {
                    block.code.push_str(&text);
                }
            }
            Event::Html(comment) => {
                let name = comment.trim().strip_prefix("<!-- ");
                let name = name.and_then(|name| name.strip_suffix(" -->"));
                let name = name.filter(|name| name.contains("-cases: "));
                case = name.map(str::to_owned);
            }
            Event::Code(text) => code.spans.push(text.into_string()),
            _ => {}
        }
    }
    code
}

fn depth(level: HeadingLevel) -> usize {
    level as usize
}

// === impl Block ===

impl Block {
    pub(super) fn first_line(&self) -> &str {
        self.code.lines().next().unwrap_or_default()
    }

    /// Returns whether the block is a part of a file, which other tests read, and not a command.
    pub(super) fn is_data(&self) -> bool {
        match self.language.as_str() {
            "toml" | "json" => true,
            _ => self.code.parse::<toml::Table>().is_ok(),
        }
    }

    /// Returns the commands. In a block with prompts, each prompt begins a command, and its output follows. A block
    /// without prompts is one script without output.
    pub(super) fn commands(&self) -> Vec<Command> {
        if !self.code.lines().any(|line| line.starts_with("$ ")) {
            return vec![Command {
                line: self.code.trim_end().to_owned(),
                output: None,
            }];
        }
        let mut commands: Vec<Command> = Vec::new();
        for line in self.code.lines() {
            let command = commands.last_mut();
            if let Some(line) = line.strip_prefix("$ ") {
                commands.push(Command {
                    line: line.to_owned(),
                    output: Some(Vec::new()),
                });
            } else if let Some(command) = command {
                let output = command.output.as_mut().unwrap();
                if command.line.ends_with('\\') && output.is_empty() {
                    command.line.push('\n');
                    command.line.push_str(line);
                } else {
                    output.push(line.to_owned());
                }
            }
        }
        commands
    }
}
