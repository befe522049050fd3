//! The parts of the pages that a browser executes or applies, and the policies that allow these and no others.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub(super) const SCRIPT: &str = include_str!("page/page.js");
pub(super) const STYLE: &str = include_str!("page/page.css");

/// The policy for browsers that show the status page: whatever a client managed to put into it, nothing but its own
/// script and style is used, and data is loaded from this server only.
pub(super) static STATUS_PAGE: LazyLock<String> = LazyLock::new(|| {
    let script = format!("script-src {}; connect-src 'self'; ", hash(SCRIPT));
    policy(&script)
});

/// The policy for browsers that show a page without a script.
pub(super) static TEXT: LazyLock<String> = LazyLock::new(|| policy(""));

/// Returns the policy that permits the style, the icon, and `more`.
fn policy(more: &str) -> String {
    let style = hash(STYLE);
    format!(
        "default-src 'none'; {more}style-src {style}; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    )
}

fn hash(text: &str) -> String {
    let hash = STANDARD.encode(digest(&SHA256, text.as_bytes()));
    format!("'sha256-{hash}'")
}

/// Returns the address of the icon in a color.
pub(super) fn icon(color: &str) -> String {
    let svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><rect width='16' height='16' rx='4' fill='{color}'/>\
         <path d='M5 13V6a3 3 0 0 1 6 0v7M3 13h10' fill='none' stroke='#fff' stroke-width='1.6'/></svg>"
    );
    format!("data:image/svg+xml;base64,{}", STANDARD.encode(svg))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::escape::printable_lines;

    #[test]
    fn the_script_and_the_style_are_on_the_page_as_they_are_in_the_policy() {
        for text in [SCRIPT, STYLE] {
            assert_eq!(printable_lines(text), text);
            assert!(!text.contains("</"), "it would end the element");
        }
    }
}
