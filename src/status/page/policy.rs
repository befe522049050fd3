//! The parts of the page that a browser executes or applies, and the policy that allows these and no others.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::headline::Severity;

pub(super) const SCRIPT: &str = include_str!("page.js");
pub(super) const STYLE: &str = include_str!("page.css");

/// Returns the policy for browsers: whatever a client managed to put into the page, nothing but its own script and style
/// is used, and data is loaded from this server only.
pub(super) fn content_policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        let [script, style] =
            [SCRIPT, STYLE].map(|text| STANDARD.encode(digest(&SHA256, text.as_bytes())));
        format!(
            "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
    });
    &POLICY
}

/// Returns the address of the icon, whose color tells the severity in a browser tab.
pub(super) fn icon(severity: Severity) -> String {
    let color = match severity {
        Severity::Good => "#1a7f4b",
        Severity::Warning => "#d18b00",
        Severity::Bad => "#c9302c",
    };
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
