//! A rendered document, which all connections share: a client that asks often, or does not read, costs no copy.

use std::io::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::response::{IntoResponse as _, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, StatusCode, header};
use tokio::sync::Mutex;
use tokio::task;

/// The latest version of a document.
pub(super) struct Document {
    content_type: &'static str,
    /// The time for which a version is sent to all clients. A version that is still being sent to a client is sent to
    /// the others for [`MAX_AGE`] in any case.
    max_age: Duration,
    /// Locked while the document is rendered and compressed, which happens on a thread for blocking calls.
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// The latest version, and when its rendering began.
    latest: Option<(Instant, Arc<Version>)>,
    /// Earlier versions that were still being sent to a client when the latest one was rendered.
    older: Vec<Arc<Version>>,
}

/// The maximum number of earlier versions. If clients that do not read hold as many, the latest one is sent until one of
/// them is released (invariant 8).
const MAX_OLDER: usize = 4;

/// The time after which a document is rendered again.
pub(super) const MAX_AGE: Duration = Duration::from_secs(1);

struct Version {
    plain: Bytes,
    compressed: OnceLock<Bytes>,
}

// === impl Document ===

impl Document {
    pub(super) fn new(content_type: &'static str, max_age: Duration) -> Self {
        Document {
            content_type,
            max_age,
            state: Arc::default(),
        }
    }

    /// Returns the document, in the encoding that the client accepts. `render` is called if the latest version is too
    /// old.
    pub(super) async fn respond(
        &self,
        request: &HeaderMap,
        render: impl FnOnce() -> String + Send + 'static,
    ) -> Response {
        let accepts_gzip = accepts_gzip(request);
        let (asked, max_age) = (Instant::now(), self.max_age);
        let mut state = Arc::clone(&self.state).lock_owned().await;
        let prepared = task::spawn_blocking(move || {
            let version = state.version(asked, max_age, render);
            let encoded = if accepts_gzip {
                version.compressed()
            } else {
                version.plain.clone()
            };
            drop(state);
            encoded
        });
        let Ok(body) = prepared.await else {
            // The runtime ends.
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        };
        let headers = [
            (header::CONTENT_TYPE, self.content_type),
            (header::CACHE_CONTROL, "no-store"),
            (header::VARY, "accept-encoding"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        if !accepts_gzip {
            return (headers, body).into_response();
        }
        let encoding = [(header::CONTENT_ENCODING, "gzip")];
        (headers, encoding, body).into_response()
    }
}

// === impl State ===

impl State {
    /// Returns the version for a client that asked at that time. All clients that asked before its rendering began share
    /// it.
    fn version(
        &mut self,
        asked: Instant,
        max_age: Duration,
        render: impl FnOnce() -> String,
    ) -> Arc<Version> {
        self.older.retain(|version| version.is_being_sent());
        let began = Instant::now();
        if let Some((rendered, version)) = &self.latest {
            let age = began - *rendered;
            let is_current =
                asked <= *rendered || age < max_age || age < MAX_AGE && version.is_being_sent();
            if is_current || self.older.len() >= MAX_OLDER {
                return Arc::clone(version);
            }
            if version.is_being_sent() {
                self.older.push(Arc::clone(version));
            }
        }
        let version = Arc::new(Version {
            plain: render().into(),
            compressed: OnceLock::new(),
        });
        self.latest = Some((began, Arc::clone(&version)));
        version
    }
}

// === impl Version ===

impl Version {
    fn is_being_sent(&self) -> bool {
        let is_shared = |bytes: &Bytes| !bytes.is_unique();
        is_shared(&self.plain) || self.compressed.get().is_some_and(is_shared)
    }

    fn compressed(&self) -> Bytes {
        let compress = || {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            // Writing to a vector cannot fail.
            let _ = encoder.write_all(&self.plain);
            encoder.finish().unwrap_or_default().into()
        };
        self.compressed.get_or_init(compress).clone()
    }
}

/// Reports whether the client accepts gzip.
///
/// Source: RFC 9110, section 12.5.3.
fn accepts_gzip(request: &HeaderMap) -> bool {
    let values = request.get_all(header::ACCEPT_ENCODING).iter();
    let codings = values.filter_map(|value| value.to_str().ok());
    codings.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let is_refused = matches!(
            weight.replace(' ', "").as_str(),
            "q=0" | "q=0.0" | "q=0.00" | "q=0.000"
        );
        name.trim().eq_ignore_ascii_case("gzip") && !is_refused
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt as _;

    use super::*;

    fn accepts(value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, value.parse().unwrap());
        accepts_gzip(&headers)
    }

    #[test]
    fn gzip_is_sent_only_to_clients_that_accept_it() {
        assert!(!accepts_gzip(&HeaderMap::new()));
        for value in ["gzip", "deflate, GZIP;q=0.5", "br,gzip ; q=1"] {
            assert!(accepts(value), "{value}");
        }
        for value in ["", "identity", "x-gzip", "br", "gzip;q=0", "gzip; q=0.0"] {
            assert!(!accepts(value), "{value}");
        }
    }

    /// Requests a document, and counts how often it is rendered.
    #[derive(Clone, Default)]
    struct Client(Arc<AtomicUsize>);

    impl Client {
        async fn get(&self, document: &Document) -> Response {
            let rendered = Arc::clone(&self.0);
            let render = move || {
                rendered.fetch_add(1, Ordering::Relaxed);
                "text".to_owned()
            };
            document.respond(&HeaderMap::new(), render).await
        }

        /// Returns the number since the last call.
        fn rendered(&self) -> usize {
            self.0.swap(0, Ordering::Relaxed)
        }
    }

    #[tokio::test]
    async fn invariant_8_connections_share_a_version_of_a_document() {
        let client = Client::default();
        let page = Document::new("text/html", MAX_AGE);
        for _ in 0..10 {
            client.get(&page).await;
        }
        assert_eq!(client.rendered(), 1);

        let metrics = Document::new("text/plain", Duration::ZERO);
        for _ in 0..10 {
            drop(client.get(&metrics).await);
        }
        assert_eq!(client.rendered(), 10);
        let mut kept = Vec::new();
        for _ in 0..10 {
            kept.push(client.get(&metrics).await);
        }
        assert_eq!(client.rendered(), 1);
    }

    #[tokio::test]
    async fn clients_that_wait_for_a_version_share_the_next_one() {
        let client = Client::default();
        let metrics = Document::new("text/plain", Duration::ZERO);
        // As long as a version is being rendered.
        let state = metrics.state.lock().await;
        let mut waiting: Vec<_> = (0..10).map(|_| Box::pin(client.get(&metrics))).collect();
        for response in &mut waiting {
            assert!(response.now_or_never().is_none());
        }
        drop(state);
        for response in waiting {
            drop(response.await);
        }
        assert_eq!(client.rendered(), 1);
    }

    #[tokio::test]
    async fn invariant_8_clients_that_do_not_read_hold_few_versions() {
        let client = Client::default();
        let page = Document::new("text/html", Duration::ZERO);
        let mut kept = Vec::new();
        for _ in 0..10 {
            kept.push(client.get(&page).await);
            // A second passes.
            if let Some((at, _)) = &mut page.state.lock().await.latest {
                *at -= MAX_AGE;
            }
        }
        assert_eq!(client.rendered(), MAX_OLDER + 1);
        drop(kept);
        drop(client.get(&page).await);
        assert_eq!(client.rendered(), 1);
    }
}
