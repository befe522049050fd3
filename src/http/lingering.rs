//! The time between the last byte that is sent and the end of a connection. What is received is read, and discarded: the
//! kernel resets a connection that is closed with unread data, and the client would lose responses.

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{self, Sleep};

use super::connections::OpenConnection;

/// What may still be read from a connection, and until when.
pub(super) struct Lingering {
    max_bytes: usize,
    deadline: Option<Pin<Box<Sleep>>>,
}

/// A few times the largest head that clients send by mistake.
const MAX_BYTES: usize = 256 << 10;

/// The time for a client to close its connection after the `GOAWAY`.
const MAX_TIME: Duration = Duration::from_secs(1);

// === impl Lingering ===

impl Lingering {
    /// The client may still be sending the request. The timeout for the head applies.
    pub(super) fn after_refusal() -> Self {
        Lingering {
            max_bytes: MAX_BYTES,
            deadline: None,
        }
    }

    /// A request may cross the `GOAWAY`.
    pub(super) fn after_goaway() -> Self {
        Lingering {
            max_bytes: MAX_BYTES,
            deadline: Some(Box::pin(time::sleep(MAX_TIME))),
        }
    }

    /// Reads until the client has closed the connection, or a limit is reached.
    pub(super) fn poll(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        open: &OpenConnection,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let is_over = |sleep: &mut Pin<Box<Sleep>>| sleep.as_mut().poll(cx).is_ready();
        if self.deadline.as_mut().is_some_and(is_over) {
            return Poll::Ready(());
        }
        while self.max_bytes > 0 {
            let mut bytes = [MaybeUninit::uninit(); 2048];
            let mut buffer = ReadBuf::uninit(&mut bytes);
            let result = ready!(Pin::new(&mut *io).poll_read(cx, &mut buffer));
            if result.is_err() || buffer.filled().is_empty() {
                break;
            }
            open.discarded();
            self.max_bytes = self.max_bytes.saturating_sub(buffer.filled().len());
        }
        Poll::Ready(())
    }
}
