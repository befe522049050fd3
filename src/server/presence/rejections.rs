//! The limit for the rejected clients in the documents that a server publishes.

use std::time::Duration;

use tokio::time::Instant;

use crate::fleet::{RejectedClient, ServerDocument};

/// The time for two changes. Anyone can be rejected, and etcd keeps each version of a document.
const TWO_CHANGES: Duration = Duration::from_secs(120);

/// The rejected clients that were published last.
#[derive(Default)]
pub(super) struct Rejections {
    clients: Vec<RejectedClient>,
    more: bool,
    /// The last two changes, the earlier one first: that a client is rejected, and that it is rejected again, are both
    /// published soon.
    changed: [Option<Instant>; 2],
}

// === impl Rejections ===

impl Rejections {
    /// Keeps the rejected clients in `document` as they were, unless they may change again.
    pub(super) fn limit(&mut self, document: &mut ServerDocument) {
        if document.rejected == self.clients && document.more_rejected == self.more {
            return;
        }
        let [earlier, later] = self.changed;
        if earlier.is_some_and(|earlier| earlier.elapsed() < TWO_CHANGES) {
            document.rejected.clone_from(&self.clients);
            document.more_rejected = self.more;
        } else {
            self.clients.clone_from(&document.rejected);
            self.more = document.more_rejected;
            self.changed = [later, Some(Instant::now())];
        }
    }
}
