//! The socket of a connection: it records what is received, and gives hyper's response to a head that is too large the
//! body that all errors have.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use axum::response::Response;
use http::header;
use hyper::body::Buf as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connections::OpenConnection;
use super::lingering::Lingering;

/// A socket with a record of what is received.
pub(super) struct WatchedIo<I> {
    inner: I,
    open: Arc<OpenConnection>,
    record: fn(&OpenConnection, usize),
    /// Returns the response to a head that is too large. `None` with HTTP/2.
    too_large: Option<Box<dyn Fn() -> Response<String> + Send>>,
    replacement: Option<Replacement>,
    end: End,
    /// `None` until the last byte is sent.
    lingering: Option<Lingering>,
    /// What was received before hyper reads.
    first: Vec<u8>,
}

/// How a connection ends.
enum End {
    AtOnce,
    /// After a response to a request that the client may still be sending.
    AfterRefusal,
    /// After a `GOAWAY`, which a request may cross.
    AfterGoaway,
}

/// A response that is written instead of hyper's.
struct Replacement {
    rest: Bytes,
    /// The bytes of hyper's response.
    replaced: usize,
}

// === impl WatchedIo ===

impl<I> WatchedIo<I> {
    pub(super) fn http1(
        inner: I,
        open: Arc<OpenConnection>,
        too_large: impl Fn() -> Response<String> + Send + 'static,
    ) -> Self {
        WatchedIo {
            too_large: Some(Box::new(too_large)),
            ..WatchedIo::new(inner, open, OpenConnection::received)
        }
    }

    pub(super) fn http2(inner: I, open: Arc<OpenConnection>) -> Self {
        WatchedIo {
            end: End::AfterGoaway,
            ..WatchedIo::new(inner, open, OpenConnection::received)
        }
    }

    /// Records what is received below TLS.
    pub(super) fn encrypted(inner: I, open: Arc<OpenConnection>) -> Self {
        WatchedIo::new(inner, open, OpenConnection::received_encrypted)
    }

    fn new(inner: I, open: Arc<OpenConnection>, record: fn(&OpenConnection, usize)) -> Self {
        WatchedIo {
            inner,
            open,
            record,
            too_large: None,
            replacement: None,
            end: End::AtOnce,
            lingering: None,
            first: Vec::new(),
        }
    }
}

impl<I: AsyncRead + Unpin> WatchedIo<I> {
    /// Waits for the first request head, before hyper allocates the buffers of the connection. So a client that sends
    /// it slowly, or never, costs little memory.
    ///
    /// It ends when the head is complete or has `max` bytes, when the client has closed the connection, or when it speaks
    /// TLS.
    ///
    /// # Errors
    /// If the connection fails.
    pub(super) async fn receive_head(&mut self, max: usize) -> io::Result<()> {
        poll_fn(|cx| {
            loop {
                let mut bytes = [MaybeUninit::uninit(); 2048];
                let mut buffer = ReadBuf::uninit(&mut bytes);
                ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buffer))?;
                let received = buffer.filled();
                self.record(received.len());
                let before = self.first.len();
                self.first.extend_from_slice(received);
                let is_complete = self.first.len() >= max || ends_head(&self.first, before);
                if received.is_empty() || is_complete || self.has_received_tls() {
                    return Poll::Ready(Ok(()));
                }
            }
        })
        .await
    }

    /// Reports whether anything was received by [`WatchedIo::receive_head`].
    pub(super) fn has_received(&self) -> bool {
        !self.first.is_empty()
    }

    /// Reports whether that is the start of a TLS handshake (RFC 8446, section 5.1): no HTTP method begins with this byte.
    pub(super) fn has_received_tls(&self) -> bool {
        self.first.first() == Some(&22)
    }

    /// Copies what was received by [`WatchedIo::receive_head`].
    fn read_first(&mut self, buffer: &mut ReadBuf<'_>) {
        let size = self.first.len().min(buffer.remaining());
        buffer.put_slice(&self.first[..size]);
        if size == self.first.len() {
            self.first = Vec::new();
        } else {
            self.first.drain(..size);
        }
    }
}

impl<I> WatchedIo<I> {
    fn record(&self, received: usize) {
        if received > 0 {
            (self.record)(&self.open, received);
        }
    }
}

/// Reports whether the empty line that ends a head is among the bytes from `start` on, or ends there.
fn ends_head(bytes: &[u8], start: usize) -> bool {
    let bytes = &bytes[start.saturating_sub(3)..];
    bytes.windows(2).any(|end| end == b"\n\n") || bytes.windows(3).any(|end| end == b"\n\r\n")
}

impl<I: AsyncWrite + Unpin> WatchedIo<I> {
    /// Writes the replacement for the response in `bytes`, if it has one. Returns the number of replaced bytes.
    fn poll_replace(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<Option<usize>>> {
        if self.replacement.is_none()
            && let Some(too_large) = &self.too_large
            && is_empty_431(bytes)
        {
            self.replacement = Some(Replacement {
                rest: http1_text(&too_large()).into(),
                replaced: bytes.len(),
            });
        }
        let Some(replacement) = &mut self.replacement else {
            return Poll::Ready(Ok(None));
        };
        while replacement.rest.has_remaining() {
            let inner = Pin::new(&mut self.inner);
            match ready!(inner.poll_write(cx, &replacement.rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => replacement.rest.advance(written),
            }
        }
        let replaced = replacement.replaced;
        self.replacement = None;
        self.end = End::AfterRefusal;
        Poll::Ready(Ok(Some(replaced)))
    }
}

/// Reports whether the bytes are hyper's response to a head that it cannot parse within the limits.
fn is_empty_431(bytes: &[u8]) -> bool {
    bytes.starts_with(b"HTTP/1.1 431 ") && {
        let empty = b"content-length: 0\r\n";
        bytes.windows(empty.len()).any(|window| window == empty)
    }
}

/// Writes a response, after which the connection ends, as HTTP/1.1.
fn http1_text(response: &Response<String>) -> String {
    let (status, body) = (response.status(), response.body());
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: {}\r\ncontent-length: {}\r\n\r\n{body}",
        content_type.unwrap_or("text/plain"),
        body.len()
    )
}

impl<I: AsyncRead + Unpin> AsyncRead for WatchedIo<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            self.read_first(buffer);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        self.record(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WatchedIo<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match ready!(self.poll_replace(cx, bytes))? {
            Some(replaced) => Poll::Ready(Ok(replaced)),
            None => Pin::new(&mut self.inner).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.first().map_or(&[][..], |slice| slice);
        match ready!(self.poll_replace(cx, first))? {
            Some(replaced) => Poll::Ready(Ok(replaced)),
            None => Pin::new(&mut self.inner).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self {
            inner,
            open,
            end,
            lingering,
            ..
        } = &mut *self;
        let lingering = match lingering {
            Some(lingering) => lingering,
            None => {
                ready!(Pin::new(&mut *inner).poll_shutdown(cx))?;
                lingering.insert(match end {
                    End::AfterRefusal => Lingering::after_refusal(),
                    End::AfterGoaway if open.is_worn_out() => Lingering::after_goaway(),
                    End::AtOnce | End::AfterGoaway => return Poll::Ready(Ok(())),
                })
            }
        };
        lingering.poll(inner, open, cx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::Instant;

    use super::*;
    use crate::http::connections::Registration;
    use crate::http::connections::tests::{is_evicted, open_connection};

    /// Returns the two ends of an HTTP/2 connection that has received `bytes`.
    fn http2(bytes: usize) -> (WatchedIo<DuplexStream>, DuplexStream) {
        let (server, client) = duplex(1 << 20);
        let Registration(open) = &open_connection();
        open.speaks_http2();
        open.received(bytes);
        (WatchedIo::http2(server, Arc::clone(open)), client)
    }

    #[tokio::test]
    async fn what_is_discarded_after_a_goaway_does_not_count_as_held() {
        let (server, mut client) = duplex(1 << 20);
        let registration = open_connection();
        let open = &registration.0;
        open.speaks_http2();
        open.received(65 << 10);
        open.allocated(600_000);
        let encrypted = WatchedIo::encrypted(server, Arc::clone(open));
        let mut server = WatchedIo::http2(encrypted, Arc::clone(open));
        client.write_all(&[0; 256 << 10]).await.unwrap();
        server.shutdown().await.unwrap();
        assert!(!is_evicted(&registration));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_crosses_the_end_of_an_http_2_connection_does_not_reset_it() {
        let (mut server, mut client) = http2(65 << 10);
        client.write_all(b"a request").await.unwrap();
        let mut shutdown = Box::pin(server.shutdown());
        assert!(shutdown.as_mut().now_or_never().is_none());
        client.write_all(b"the rest of it").await.unwrap();
        assert!(shutdown.as_mut().now_or_never().is_none());
        drop(client);
        assert!(shutdown.now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_http_2_connection_that_the_server_ends_waits_for_a_second_and_256_kib() {
        let (mut server, _client) = http2(65 << 10);
        let began = Instant::now();
        server.shutdown().await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 1);

        let (mut server, mut client) = http2(65 << 10);
        let body = vec![0; 256 << 10];
        client.write_all(&body).await.unwrap();
        let began = Instant::now();
        server.shutdown().await.unwrap();
        assert_eq!(began.elapsed().as_nanos(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_of_the_server_does_not_wait_for_http_2_clients() {
        let (mut server, _client) = http2(64 << 10);
        assert!(server.shutdown().now_or_never().is_some());
    }

    #[test]
    fn an_empty_line_ends_a_head_wherever_it_is_split() {
        for head in [
            "GET / HTTP/1.1\r\nhost: x\r\n\r\n",
            "GET / HTTP/1.1\nhost: x\n\n",
        ] {
            for start in 0..head.len() {
                assert!(ends_head(head.as_bytes(), start), "{start}");
                assert!(
                    !ends_head(&head.as_bytes()[..head.len() - 1], start),
                    "{start}"
                );
            }
        }
    }

    #[test]
    fn only_an_empty_431_is_replaced() {
        let own = Response::builder()
            .status(431)
            .body("{}\n".to_owned())
            .unwrap();
        let own = http1_text(&own);
        assert!(
            own.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"),
            "{own}"
        );
        assert!(own.ends_with("\r\ncontent-length: 3\r\n\r\n{}\n"), "{own}");
        assert!(!is_empty_431(own.as_bytes()));
        assert!(!is_empty_431(
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        ));
        assert!(is_empty_431(b"HTTP/1.1 431 X\r\ncontent-length: 0\r\n\r\n"));
    }
}
