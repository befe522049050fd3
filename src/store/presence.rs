//! The documents that servers publish beside the locks, so that each of them can show the whole fleet.
//!
//! They are information for people: no lock depends on them. A store keeps the document of a server for a day after the
//! server was last seen.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

/// The interval at which a server publishes its document.
pub const INTERVAL: Duration = Duration::from_secs(10);

/// The time without a publication after which a server counts as gone.
pub(super) const MAX_SILENCE: Duration = Duration::from_secs(45);

/// The time for which the document of a server that is gone is kept.
pub(super) const KEPT: Duration = Duration::from_secs(86_400);

/// The maximum size of a document, in bytes. A store does not return larger ones.
pub const MAX_DOCUMENT: usize = 64 << 10;

/// A published document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The name under which it is published.
    pub server: String,
    /// The document, which the store does not interpret.
    pub document: Arc<str>,
    /// Whether its server still runs.
    pub liveness: Liveness,
}

/// Whether a server still runs, as far as its store knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// The server has published lately.
    Alive,
    /// The server has not published for a while, and did not withdraw its document.
    Gone {
        /// Roughly when it was last seen, to a few minutes; `None` if that is unknown.
        last_seen: Option<Timestamp>,
    },
}
