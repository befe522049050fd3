//! The documentation tells of each key when a change applies.

use super::needs_restart;
use crate::config::schema::Applies;
use crate::config::tests::every_key::{Comparison, comparisons};

#[test]
fn the_keys_that_need_a_restart_are_those_of_the_documentation() {
    for comparison in comparisons() {
        let Comparison {
            name,
            key,
            with,
            without,
            ..
        } = comparison;
        if format!("{with:?}") == format!("{without:?}") {
            continue;
        }
        let applies = match needs_restart(&with, &without).is_empty() {
            true => Applies::Reload,
            false => Applies::Restart,
        };
        assert_eq!(key.applies.to_string(), applies.to_string(), "{name}");
    }
}
