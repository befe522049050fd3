//! Colors, where they help at night: the labels of messages, and the states of groups. They are used only on a
//! terminal, and not if NO_COLOR is set or TERM is `dumb`; CLICOLOR_FORCE uses them everywhere, unless it is 0.

use std::borrow::Cow;
use std::env;
use std::ffi::OsString;
use std::io::IsTerminal;

use anstyle::{AnsiColor, Style};

use crate::status::{Condition, GroupView};

const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
const GREEN: Style = AnsiColor::Green.on_default();
const CYAN: Style = AnsiColor::Cyan.on_default().bold();

/// The labels at the beginning of a line.
const LABELS: [(&str, Style); 5] = [
    ("error:", RED),
    ("warning:", YELLOW),
    ("hint:", CYAN),
    ("  problem:", RED),
    ("  warning:", YELLOW),
];

/// Reports whether colors are wanted in what is written to a stream.
pub(super) fn are_wanted(stream: &impl IsTerminal) -> bool {
    decide(stream.is_terminal(), |name| env::var_os(name))
}

fn decide(is_terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let is_set = |name| variable(name).is_some_and(|value| !value.is_empty());
    let is_zero = |name| variable(name).is_some_and(|value| value == "0");
    if is_set("NO_COLOR") {
        false
    } else if is_set("CLICOLOR_FORCE") && !is_zero("CLICOLOR_FORCE") {
        true
    } else {
        let is_dumb = variable("TERM").is_none_or(|value| value == "dumb");
        is_terminal && !is_dumb && !is_zero("CLICOLOR")
    }
}

/// Colors the label of a message, such as `error:`. The line is escaped already.
pub(super) fn label(line: &str) -> Cow<'_, str> {
    let mut labels = LABELS.iter();
    let found = labels.find_map(|(label, style)| Some((label, style, line.strip_prefix(label)?)));
    match found {
        Some((label, style, rest)) => format!("{style}{label}{style:#}{rest}").into(),
        None => line.into(),
    }
}

/// Colors the state of a group in a line that begins with its name, as in a table. The line is escaped already.
pub(super) fn state<'l>(line: &'l str, groups: &[GroupView]) -> Cow<'l, str> {
    let of_group = |group: &GroupView| {
        let rest = line.strip_prefix(group.name.as_str())?;
        let text = rest.strip_prefix(':').unwrap_or(rest).trim_start();
        let end = text.strip_prefix(group.state.as_str())?;
        // The name is longer than that of the group, or the text is not its state.
        if text.len() == rest.len() || end.starts_with(|c: char| c.is_alphanumeric()) {
            return None;
        }
        let before = &line[..line.len() - text.len()];
        let (style, state) = (style(group), group.state.as_str());
        Some(format!("{before}{style}{state}{style:#}{end}").into())
    };
    groups.iter().find_map(of_group).unwrap_or(line.into())
}

/// Returns the color of the state of a group.
fn style(group: &GroupView) -> Style {
    match group.state {
        Condition::Damaged
        | Condition::Stalled
        | Condition::Overdue
        | Condition::RejectedClients
        | Condition::Failing
        | Condition::CapUnusable
        | Condition::GateFailed => RED,
        Condition::Full | Condition::Rebooting | Condition::Free if !group.needs_attention => GREEN,
        Condition::Overridden => YELLOW,
        _ if group.needs_attention => YELLOW,
        _ => Style::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_decide_in_their_order_and_then_the_terminal() {
        let wanted = |is_terminal, variables: &[(&str, &str)]| {
            let mut all = vec![("TERM", "xterm")];
            all.splice(..0, variables.iter().copied());
            decide(is_terminal, |name| {
                let found = all.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| value.into())
            })
        };
        for (variables, [on_terminal, in_pipe]) in [
            (&[][..], [true, false]),
            (
                &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")],
                [false, false],
            ),
            (&[("NO_COLOR", "")], [true, false]),
            (&[("CLICOLOR_FORCE", "1"), ("TERM", "dumb")], [true, true]),
            (&[("CLICOLOR_FORCE", "0")], [true, false]),
            (&[("CLICOLOR", "0")], [false, false]),
            (&[("TERM", "dumb"), ("CLICOLOR", "1")], [false, false]),
        ] {
            assert_eq!(wanted(true, variables), on_terminal, "{variables:?}");
            assert_eq!(wanted(false, variables), in_pipe, "{variables:?}");
        }
    }

    #[test]
    fn the_label_of_a_message_is_colored_and_nothing_else() {
        assert_eq!(
            label("error: a warning: b"),
            "\u{1b}[1m\u{1b}[31merror:\u{1b}[0m a warning: b"
        );
        assert_eq!(label("an error: b"), "an error: b");
    }
}
