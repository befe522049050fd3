//! Signals: the first asks for an orderly end, the second ends at once.

use std::io;
use std::process;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a shell reports for a process that SIGINT or SIGTERM has ended is 128 plus the signal's number.
const ABORTED: i32 = 128 + 15;

/// The signals that end the server.
pub struct Shutdown {
    terminate: Signal,
    interrupt: Signal,
}

// === impl Shutdown ===

impl Shutdown {
    /// Takes the signals over from now on.
    ///
    /// # Errors
    /// If the system refuses the handlers.
    pub fn listen() -> io::Result<Self> {
        Ok(Shutdown {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for SIGTERM or SIGINT.
    pub async fn requested(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Ends the process on the next signal.
    pub fn abort_on_next(mut self) {
        tokio::spawn(async move {
            self.requested().await;
            process::exit(ABORTED);
        });
    }
}
