//! The layers of the source: no import goes up a layer, and no two files import each other in a circle.
//!
//! src/lib.rs declares the modules in groups separated by blank lines. Each group is a layer, the lowest one first; a
//! module may import from lower layers only. Unit tests are exempt: they may use any helper.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A source file, without its unit tests and comments.
struct Source {
    /// The path of the module, such as `["store", "etcd"]`. Empty for `lib.rs`.
    module: Vec<String>,
    code: String,
}

/// A file and a file that it imports.
type Import = (String, String);

#[test]
fn no_module_imports_from_a_layer_above_or_beside_its_own() {
    let sources = read_sources(&repository().join("src"));
    assert_eq!(upward_imports(&sources), Vec::<Import>::new());
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let sources = read_sources(&repository().join("src"));
    assert_eq!(circles(&imports(&sources)), Vec::<Vec<String>>::new());
}

#[test]
fn an_upward_import_and_a_circle_are_found() {
    let source = |module: &str, code: &str| Source {
        module: split(module),
        code: code.into(),
    };
    let sources = [
        source("", "mod low;\n\nmod left;\nmod right;\n\nmod high;\n"),
        source(
            "low",
            "use crate::high::{self, Thing};\npub(in crate::left) fn f() {}",
        ),
        source(
            "left",
            "use crate::low::Thing;\nfn f() { crate::right::g() }",
        ),
        source(
            "right",
            "use crate::{low, low::Thing};\nuse super::high::Thing;",
        ),
        source("high", "mod part;\nuse part::Part;\npub struct Thing;"),
        source("high::part", "use super::Thing;\npub struct Part;"),
    ];
    let import = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    assert_eq!(
        upward_imports(&sources),
        [
            import("left", "right"),
            import("low", "high"),
            import("right", "high")
        ]
    );
    assert_eq!(circles(&imports(&sources)), [["high", "high::part"]]);
}

#[test]
fn the_configuration_imports_no_module_that_does_more_than_read_files() {
    let sources = read_sources(&repository().join("src"));
    let modules = by_path(&sources);
    let config = sources
        .iter()
        .filter(|source| source.module.first().is_some_and(|first| first == "config"));
    let imported: BTreeSet<String> = config
        .flat_map(|source| {
            let paths = paths(&source.code).into_iter();
            paths.filter_map(|path| absolute(&source.module, &path, &modules)?.first().cloned())
        })
        .collect();
    assert_eq!(
        imported,
        ["config", "file", "lock", "text"].map(str::to_owned).into()
    );
}

#[test]
fn only_comments_and_unit_tests_are_left_out() {
    let file = "use a::b; // c::d\n#[cfg(test)]\nmod tests;\nuse e::f;\n#[cfg(test)]\nuse g::h;\nfn i() {}\n\
                #[cfg(test)]\nmod tests {\n    use super::*;\n}\n";
    assert_eq!(code(file), "use a::b; \nuse e::f;\nfn i() {}");
}

/// Returns the imports of modules that are not in a lower layer.
fn upward_imports(sources: &[Source]) -> Vec<Import> {
    let root = sources.iter().find(|source| source.module.is_empty());
    let layers = layers(&root.expect("src/lib.rs").code);
    let layer = |module: &str| {
        let layer = layers.get(module);
        *layer.unwrap_or_else(|| panic!("src/lib.rs does not declare {module}"))
    };
    let modules = by_path(sources);
    let mut upward = BTreeSet::new();
    for source in sources.iter().filter(|source| !source.module.is_empty()) {
        let own = &source.module[0];
        for path in paths(&source.code) {
            if let Some(path) = absolute(&source.module, &path, &modules)
                && let Some(module) = path.first()
                && module != own
                && layer(module) >= layer(own)
            {
                upward.insert((source.module.join("::"), module.clone()));
            }
        }
    }
    upward.into_iter().collect()
}

/// Returns the number of the layer of each top-level module.
fn layers(lib: &str) -> BTreeMap<String, usize> {
    let mut layers = BTreeMap::new();
    for (layer, group) in lib.split("\n\n").enumerate() {
        for line in group.lines() {
            let declaration = line
                .trim_start_matches("pub ")
                .trim_start_matches("pub(crate) ");
            if let Some(module) = declaration.strip_prefix("mod ") {
                layers.insert(module.trim_end_matches(';').to_owned(), layer);
            }
        }
    }
    layers
}

/// Returns for each file the files that it imports. A re-export counts as an import by the files that use it, not by
/// the file that contains it.
fn imports(sources: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    let modules = by_path(sources);
    let mut imports = BTreeMap::new();
    for source in sources {
        let own = source.module.join("::");
        let targets = paths(&without_reexports(&source.code))
            .into_iter()
            .filter_map(|path| absolute(&source.module, &path, &modules))
            .map(|path| defining_module(&path, &modules, 0))
            .filter(|target| *target != own && !target.is_empty());
        imports.insert(own.clone(), targets.collect());
    }
    imports
}

fn by_path(sources: &[Source]) -> BTreeMap<String, &Source> {
    let sources = sources.iter();
    sources
        .map(|source| (source.module.join("::"), source))
        .collect()
}

/// Returns the path from the root of the crate; `None` if it leads to another crate.
fn absolute(
    module: &[String],
    path: &[String],
    modules: &BTreeMap<String, &Source>,
) -> Option<Vec<String>> {
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "super" => {
            let levels = path.iter().take_while(|part| *part == "super").count();
            let base = module.get(..module.len().checked_sub(levels)?)?;
            Some([base, &path[levels..]].concat())
        }
        child => {
            let is_child = modules.contains_key(&[module, &[child.to_owned()]].concat().join("::"));
            is_child.then(|| [module, path].concat())
        }
    }
}

/// Returns the module in which the item at `path` is defined, behind `use` declarations.
fn defining_module(path: &[String], modules: &BTreeMap<String, &Source>, depth: usize) -> String {
    let length = (0..=path.len())
        .rev()
        .find(|length| modules.contains_key(&path[..*length].join("::")))
        .unwrap_or(0);
    let module = path[..length].join("::");
    let (Some(item), Some(source)) = (path.get(length), modules.get(&module)) else {
        return module;
    };
    let used = use_paths(&source.code)
        .into_iter()
        .filter(|used| used.last() == Some(item))
        .find_map(|used| absolute(&source.module, &used, modules));
    match used {
        Some(used) if depth < 8 => defining_module(&used, modules, depth + 1),
        _ => module,
    }
}

/// Returns the groups of files that import each other, directly or through others.
fn circles(imports: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    let reachable = |from: &String| {
        let mut found = BTreeSet::new();
        let mut pending: Vec<&String> = imports.get(from).into_iter().flatten().collect();
        while let Some(next) = pending.pop() {
            if found.insert(next.clone()) {
                pending.extend(imports.get(next).into_iter().flatten());
            }
        }
        found
    };
    let reached: BTreeMap<&String, BTreeSet<String>> =
        imports.keys().map(|file| (file, reachable(file))).collect();
    let circles: BTreeSet<Vec<String>> = imports
        .keys()
        .filter(|file| reached[file].contains(*file))
        .map(|file| {
            let members = reached[file].iter();
            let in_circle =
                members.filter(|other| reached.get(other).is_some_and(|r| r.contains(file)));
            in_circle.cloned().collect()
        })
        .collect();
    circles.into_iter().collect()
}

/// Returns the paths of all `use` declarations, and all other paths that start with a module of this crate.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut paths = use_paths(code);
    // The path of a visibility, `pub(in crate::a)`, is no import.
    let mut parts = code.split("pub(in ");
    let first = parts.next().unwrap_or_default();
    let rest = parts.filter_map(|part| Some(part.split_once(')')?.1));
    let code: String = std::iter::once(first).chain(rest).collect();
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    for word in code.split(|c: char| !is_path(c)) {
        if word.contains("::") && !word.ends_with("::") {
            paths.push(split(word));
        }
    }
    paths
}

/// Returns the paths of all `use` declarations, one for each imported name.
fn use_paths(code: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for declaration in use_declarations(code) {
        expand(&[], declaration, &mut paths);
    }
    paths
}

fn use_declarations(code: &str) -> impl Iterator<Item = &str> {
    code.split(';').filter_map(|statement| {
        let at = statement.find("use ")?;
        let before = statement[..at].trim_end();
        let starts_statement = before.is_empty() || before.ends_with([')', '}', ']', 'b']);
        starts_statement.then(|| statement[at + 4..].trim())
    })
}

/// Expands `a::{b, c::d}` to `a::b` and `a::c::d`.
fn expand(prefix: &[String], tree: &str, paths: &mut Vec<Vec<String>>) {
    let tree = tree.trim();
    match tree.split_once('{') {
        None => {
            let name = tree.split(" as ").next().unwrap_or_default();
            let mut path = [prefix, &split(name)].concat();
            if path.last().is_some_and(|last| last == "self") {
                path.pop();
            }
            paths.push(path);
        }
        Some((head, rest)) => {
            let prefix = [prefix, &split(head.trim_end_matches("::"))].concat();
            let inner = rest.trim_end().strip_suffix('}').unwrap_or(rest);
            let mut depth = 0;
            for part in inner.split(|c: char| {
                depth += i32::from(c == '{') - i32::from(c == '}');
                c == ',' && depth == 0
            }) {
                if !part.trim().is_empty() {
                    expand(&prefix, part, paths);
                }
            }
        }
    }
}

fn without_reexports(code: &str) -> String {
    let is_reexport = |statement: &&str| {
        let statement = statement.trim_start();
        statement.starts_with("pub") && statement.contains("use ") && !statement.contains("fn ")
    };
    let kept = code.split(';').filter(|statement| !is_reexport(statement));
    kept.collect::<Vec<_>>().join(";")
}

fn split(path: &str) -> Vec<String> {
    let parts = path.trim().split("::");
    parts
        .map(|part| part.trim().to_owned())
        .filter(|part| !part.is_empty())
        .collect()
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Reads all files below `folder`, but for unit tests and test helpers.
fn read_sources(folder: &Path) -> Vec<Source> {
    let mut files = Vec::new();
    list(folder, &mut files);
    let sources = files.into_iter().filter_map(|file| {
        let relative = file.strip_prefix(folder).ok()?.with_extension("");
        let mut module: Vec<String> = relative
            .iter()
            .map(|part| part.to_string_lossy().into_owned())
            .collect();
        if ["mod", "lib"].contains(&module.last()?.as_str()) {
            module.pop();
        }
        let is_test = module
            .iter()
            .any(|part| part == "tests" || part == "testing");
        let is_binary = module == ["main"];
        (!is_test && !is_binary).then(|| Source {
            code: code(&fs::read_to_string(&file).expect("a readable source file")),
            module,
        })
    });
    sources.collect()
}

/// Appends all source files below `folder`.
pub(crate) fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the source") {
        let path = entry.expect("an entry of the source").path();
        if path.is_dir() {
            list(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Returns the code of a file without comments and without what is compiled for unit tests only.
fn code(text: &str) -> String {
    // Not at `mod tests;`, which may stand above imports.
    let text = text.split("\n#[cfg(test)]\nmod tests {").next();
    let text = text.unwrap_or_default();
    let mut lines = Vec::new();
    let mut skip_next = false;
    for line in text.lines() {
        if line.trim_start().starts_with("#[cfg(test)]") {
            skip_next = true;
        } else if !std::mem::take(&mut skip_next) {
            lines.push(line.split("//").next().unwrap_or_default());
        }
    }
    lines.join("\n")
}
