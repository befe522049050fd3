//! Characters by their categories in Unicode.

use regex_syntax::hir::{Class, HirKind};

/// Returns all characters of the categories Cc, Cf, Zl and Zp, by another table of Unicode than those of Rust and of
/// this crate.
pub(crate) fn control_and_format_characters() -> Vec<char> {
    let class = regex_syntax::parse(r"[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]").unwrap();
    let HirKind::Class(Class::Unicode(class)) = class.kind() else {
        panic!("not a class: {class:?}");
    };
    let ranges = class.iter().map(|range| range.start()..=range.end());
    ranges.flatten().collect()
}
