//! The answer about a gate, and what gives it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time;

use crate::reloadable::ReloadError;
use crate::text::escape::printable;

/// The maximum length of a reason in bytes. It is shown to nodes, in their journals.
const MAX_REASON: usize = 400;

/// An answer about a gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nodes may reboot.
    Open,
    /// Nodes must not reboot, for this reason.
    Closed(Arc<str>),
    /// It is not known whether nodes may reboot, for this reason. The gate counts as closed.
    Failed(Arc<str>),
}

/// Something that knows whether nodes may reboot.
#[async_trait]
pub(crate) trait Source: Send + Sync {
    /// Asks once. The caller may drop the future.
    async fn ask(&self) -> Answer;

    /// Returns the files that it uses.
    fn paths(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Reads the files again. Blocks the thread.
    ///
    /// # Errors
    /// If a file cannot be used; the previous content stays in use.
    fn reload(&self) -> Result<(), ReloadError> {
        Ok(())
    }
}

/// Asks once, for at most `timeout`.
pub(super) async fn ask(source: &dyn Source, timeout: Duration) -> Answer {
    let answer = time::timeout(timeout, source.ask()).await;
    answer.unwrap_or_else(|_| {
        Answer::failed(&format!(
            "no answer within {} ms; check that the gate and the network are not overloaded, or raise its timeout_ms",
            timeout.as_millis()
        ))
    })
}

// === impl Answer ===

impl Answer {
    /// Returns the answer of a closed gate. The reason may be untrusted text of any length.
    pub(crate) fn closed(reason: &str) -> Self {
        Answer::Closed(bounded(reason))
    }

    /// Returns the answer of a gate that cannot be asked. The reason may be untrusted text of any length.
    pub(crate) fn failed(reason: &str) -> Self {
        Answer::Failed(bounded(reason))
    }

    /// Returns why the gate is not open.
    pub(crate) fn reason(&self) -> Option<&Arc<str>> {
        match self {
            Answer::Open => None,
            Answer::Closed(reason) | Answer::Failed(reason) => Some(reason),
        }
    }
}

/// Returns the start of a text as one line of printable characters.
fn bounded(text: &str) -> Arc<str> {
    let start = &text[..text.floor_char_boundary(MAX_REASON)];
    let escaped = printable(start);
    let end = escaped.floor_char_boundary(MAX_REASON);
    if start.len() < text.len() || end < escaped.len() {
        format!("{}…", &escaped[..end]).into()
    } else {
        escaped.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line_of_bounded_length() {
        let reason = |text: &str| Answer::closed(text).reason().unwrap().to_string();
        assert_eq!(reason("a\nb\u{1b}[0m\u{202e}"), r"a\nb\x1b[0m\u202e");
        assert_eq!(reason(&"é".repeat(200)), "é".repeat(200));
        assert_eq!(reason(&"é".repeat(201)), "é".repeat(200) + "…");
        assert_eq!(reason(&"\n".repeat(201)), "\\n".repeat(200) + "…");
        assert_eq!(Answer::Open.reason(), None);
    }
}
