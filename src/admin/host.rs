//! The name of this machine.

/// Returns the host name, or `unknown`.
pub(crate) fn name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "unknown".into(), |name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    #[test]
    fn the_name_is_the_one_that_the_kernel_knows() {
        let uname = Command::new("uname").arg("-n").output().unwrap();
        assert_eq!(
            super::name(),
            String::from_utf8(uname.stdout).unwrap().trim()
        );
    }
}
