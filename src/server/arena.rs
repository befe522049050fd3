//! The number of malloc arenas.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// The variable that glibc reads at the start of a process.
const VARIABLE: &str = "MALLOC_ARENA_MAX";

/// Tells the restarted process that it was restarted. glibc removes its own variable from the environment of a program
/// with capabilities.
const RESTARTED: &str = "AIRLOCK_RESTARTED";

/// Restarts the process with one arena for all threads, unless the environment names a number.
///
/// By default, glibc creates an arena for each thread. The memory that is freed in one of them is not used by the
/// others, so that a server needs a quarter more of it after many connections (docs/performance.md). glibc reads the
/// number only from the environment, or from a call that is not safe in Rust.
///
/// If the process cannot be restarted, it goes on.
pub(crate) fn limit() {
    let is_set = |variable| env::var_os(variable).is_some();
    if cfg!(not(target_env = "gnu")) || is_set(VARIABLE) || is_set(RESTARTED) {
        return;
    }
    let mut arguments = env::args_os();
    // Not /proc/self/exe, which would also be the name of the process. The program may be another one that loaded this
    // one, such as ld.so; then the names differ.
    if let (Ok(program), Some(name)) = (env::current_exe(), arguments.next())
        && program.file_name() == Path::new(&name).file_name()
    {
        let _ = Command::new(program)
            .arg0(name)
            .args(arguments)
            .env(VARIABLE, "1")
            .env(RESTARTED, "1")
            .exec();
    }
}
