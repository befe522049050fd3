//! `airlock serve`: runs the server.

use std::path::Path;

use super::CliError;
use crate::config::Loaded;
use crate::server::{ServeError, Server, Stopped};

/// Runs the server until a signal ends it.
///
/// # Errors
/// If the server does not start, or ends for another reason.
pub(super) fn run(loaded: Loaded, config: &Path) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    let result = runtime.block_on(async {
        let server = Server::bind(loaded.settings, config.to_owned()).await?;
        server.run().await
    });
    // Blocking calls that hang, such as name lookups, do not delay the exit.
    runtime.shutdown_background();
    match result {
        Ok(Stopped::Drained) => Ok(()),
        // At once: neither the log nor the store delays the exit.
        Ok(Stopped::Aborted(signal)) => std::process::exit(signal.exit_code().into()),
        Err(error) => Err(error.into()),
    }
}

impl From<ServeError> for CliError {
    fn from(error: ServeError) -> Self {
        CliError::Serve(Box::new(error))
    }
}
