//! The manual pages: their sections, and that groff formats them without a warning.

use std::fs;
use std::path::Path;
use std::process::Command;

use airlock_test_support::airlock::airlock;

/// Returns the page as a terminal shows it, without emphasis.
fn formatted(page: &Path) -> String {
    let output = Command::new("groff")
        .args(["-k", "-ww", "-man", "-Tutf8", "-P-cbou"])
        .arg(page)
        .output()
        .expect("groff cannot be started; `make setup` installs what is missing");
    let warnings = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && warnings.is_empty(),
        "{}: {warnings}",
        page.display()
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_page_has_its_sections_and_is_formatted_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let made = airlock().arg("man").arg(folder.path()).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let mut names = Vec::new();
    for page in fs::read_dir(folder.path()).unwrap() {
        let page = page.unwrap().path();
        let text = formatted(&page);
        names.push(page.file_name().unwrap().to_str().unwrap().to_owned());
        let sections: &[&str] = match page.extension().unwrap().to_str() {
            Some("1") => &[
                "NAME",
                "SYNOPSIS",
                "DESCRIPTION",
                "OPTIONS",
                "ENVIRONMENT",
                "EXIT STATUS",
            ],
            _ => &["NAME", "DESCRIPTION", "[service]", "FILES", "EXAMPLES"],
        };
        for section in sections.iter().chain(&["SEE ALSO"]) {
            let line = format!("\n{section}\n");
            assert!(text.contains(&line), "{}: {line}{text}", page.display());
        }
        let version = concat!("airlock ", env!("CARGO_PKG_VERSION"));
        assert!(
            text.trim_end().lines().last().unwrap().contains(version),
            "{text}"
        );
    }
    for name in [
        "airlock.1",
        "airlock-serve.1",
        "airlock-get-slots.1",
        "airlock.toml.5",
    ] {
        assert!(names.iter().any(|page| page == name), "{name}");
    }
    assert!(
        !names.iter().any(|page| page == "airlock-man.1"),
        "the command is hidden"
    );
}
