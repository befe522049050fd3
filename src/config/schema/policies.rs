//! The windows, freezes and gates, which all groups have in common or a group has for itself.

use super::section::{
    Applies, Kind, Rule, Section, defaults_to, optional, required, section, without_it,
};
use crate::config::diagnostic::{Diagnostics, Located};
use crate::config::field::{Field, NumberRange};
use crate::config::toml::Table;
use crate::lock::window::Window;

/// The maximum is a week.
const LENGTH_MINUTES: NumberRange = NumberRange {
    min: 1,
    max: Window::MAX_MINUTES,
    instead_of_zero: Some("to grant no locks in this window, remove it"),
};
const GATE_TIMEOUT_MS: NumberRange = NumberRange::new(10, 60_000);
const GATE_MAX_AGE_MS: NumberRange = NumberRange::new(100, 3_600_000);
const GATE_ALLOWS: NumberRange = NumberRange::new(1, 100);
const GATE_SUCCESSES: NumberRange = NumberRange::new(1, 100);

section! {
    /// A [reboot window](operations.md#restrict-reboots-to-windows): a weekly period in which nodes are granted slots.
    WindowSection, Reload => {
        /// Days on which the window opens, such as `"Sat"` or `"Saturday"`.
        days: Weekdays = required().example("[\"Tue\", \"Thu\"]"),
        /// Weeks of the month in which it opens: 1 is the first such day of a month, -1 the last one.
        weeks: NonzeroIntegers(Window::MAX_WEEK) = without_it("each week").example("[2, -1]"),
        /// Time of day at which it opens, from `"00:00"` to `"23:59"`.
        start_time: Time = required().example("\"22:00\""),
        /// Length in minutes, at most a week.
        length_minutes: Integer(LENGTH_MINUTES) = required().example("480"),
        /// Time zone of the days and of the time: a name of the IANA database.
        time_zone: Text = defaults_to("\"UTC\"").example("\"Europe/Berlin\""),
    }
}

section! {
    /// A [freeze](operations.md#forbid-reboots-during-a-freeze): a period in which no slots are granted, not even in a
    /// window.
    FreezeSection, Reload => {
        /// Start: a date, whose day is part of the freeze, or a local date and time such as `"2026-12-20T18:00"`.
        from: DateTime = required().example("2026-12-20"),
        /// End: a date, whose day is part of the freeze, or a local date and time.
        until: DateTime = required().example("2027-01-06"),
        /// Time zone of both: a name of the IANA database.
        time_zone: Text = defaults_to("\"UTC\"").example("\"Europe/Berlin\""),
        /// Reason, of at most 200 bytes, which nodes and administrators are told.
        reason: Text = optional().example("\"year-end\""),
    }
}

section! {
    /// A [gate](reference.md#gates): a condition for new locks that a web server or Prometheus knows. The configuration has
    /// at most 64 of them.
    GateSection, Reload,
    Rule::ExactlyOne(["http", "prometheus"]),
    Rule::Together(["prometheus", "query"]),
    Rule::Together(["client_cert_path", "client_key_path"]),
    Rule::Together(["username", "password_path"]),
    Rule::AtMostOne(["bearer_token_path", "username"]) => {
        /// Name of the gate: 1 to 63 letters, digits, `.`, `-`, and `_`. Gates of the same name have the same keys, and are
        /// one gate.
        name: Text = required().example("\"alerts\""),
        /// URL of a web server. A response with a 2xx status opens the gate; any other one closes it.
        http: Url = optional().example("\"http://127.0.0.1:8008/replica\""),
        /// URL of a server with the API of Prometheus, to which the server appends `/api/v1/query`.
        prometheus: Url = optional().example("\"http://127.0.0.1:9090\""),
        /// Query for Prometheus, of at most 4096 bytes. An empty result opens the gate.
        query: Text = optional().example("'ALERTS{alertstate=\"firing\"}'"),
        /// Time that one answer may take, in milliseconds, at most `max_age_ms`.
        timeout_ms: Integer(GATE_TIMEOUT_MS) = without_it("`2000`, or `max_age_ms` if that is less").example("1000"),
        /// Age up to which an answer counts, in milliseconds.
        max_age_ms: Integer(GATE_MAX_AGE_MS) = defaults_to("5000").example("10000"),
        /// Number of new locks that one answer allows.
        allows: Integer(GATE_ALLOWS) = defaults_to("1").example("2"),
        /// Number of successive answers after which the gate is open.
        open_after_successes: Integer(GATE_SUCCESSES) = defaults_to("1").example("2"),
        /// CAs that have issued the certificate of the server (PEM). Needs a URL with `https://`.
        ca_cert_path: FileUnlessEmpty = without_it("the CAs of the system").example("\"/etc/airlock/gate-ca.pem\""),
        /// Client certificate (PEM). Needs a URL with `https://`.
        client_cert_path: FileUnlessEmpty = optional().example("\"/etc/airlock/gate-client.pem\""),
        /// Private key of the client certificate (PEM).
        client_key_path: FileUnlessEmpty = optional().example("\"/etc/airlock/gate-client-key.pem\""),
        /// File with a token, which is sent as `Authorization: Bearer …`. The newline at its end does not count.
        bearer_token_path: FileUnlessEmpty = optional().example("\"/etc/airlock/gate-token\""),
        /// User for Basic authentication.
        username: TextUnlessEmpty = optional().example("\"airlock\""),
        /// File that contains the password of the user, and nothing else.
        password_path: FileUnlessEmpty = optional().example("\"/etc/airlock/gate-password\""),
    }
}
