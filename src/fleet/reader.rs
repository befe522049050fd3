//! Reads the documents of the servers, and decodes those that have changed.

use std::collections::HashMap;
use std::sync::Arc;

use super::{FleetServer, ServerDocument};
use crate::store::{Store, StoreError};

/// A reader of the documents, which knows those that it has read last.
#[derive(Default)]
pub(crate) struct FleetReader {
    known: HashMap<String, Decoded>,
}

/// A document as it was published, and decoded.
struct Decoded {
    json: Arc<str>,
    /// `None` if it cannot be decoded.
    document: Option<Arc<ServerDocument>>,
}

// === impl FleetReader ===

impl FleetReader {
    /// Reads the documents of all servers. One that cannot be decoded, perhaps of a later version, is left out.
    ///
    /// # Errors
    /// If the store does not reply.
    pub(crate) async fn read(&mut self, store: &dyn Store) -> Result<Vec<FleetServer>, StoreError> {
        let mut servers = Vec::new();
        let mut known = HashMap::new();
        for published in store.published().await? {
            let name = published.server;
            let decoded = self.known.remove(&name);
            let decoded = match decoded.filter(|decoded| decoded.json == published.document) {
                Some(decoded) => decoded,
                None => {
                    // Many large documents do not block the thread for long.
                    tokio::task::yield_now().await;
                    Decoded::new(&name, published.document)
                }
            };
            servers.extend(decoded.document.clone().map(|document| FleetServer {
                name: name.clone(),
                document,
                liveness: published.liveness,
            }));
            known.insert(name, decoded);
        }
        self.known = known;
        Ok(servers)
    }
}

// === impl Decoded ===

impl Decoded {
    fn new(server: &str, json: Arc<str>) -> Self {
        let document = serde_json::from_str(&json).map(Arc::new);
        if let Err(reason) = &document {
            tracing::warn!(
                server,
                %reason,
                "the document of a server cannot be read, perhaps because it has a later version; it is not listed"
            );
        }
        Decoded {
            json,
            document: document.ok(),
        }
    }
}
