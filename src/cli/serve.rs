//! `airlock serve`.

use std::path::Path;

use super::Failure;
use crate::config::Loaded;

pub fn run(loaded: Loaded, config: &Path) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Other(format!("cannot start the runtime: {error}")))?;
    let result = runtime.block_on(crate::serve::serve(loaded.settings, config));
    // Blocking calls that hang, as name lookups may, do not hold up the end.
    runtime.shutdown_background();
    result.map_err(|error| Failure::Other(error.to_string()))
}
