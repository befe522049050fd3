//! `[notify]`.

use super::section::{Applies, Kind, Section, defaults_to, required, section, without_it};
use crate::config::diagnostic::{Diagnostics, Located};
use crate::config::field::{Field, NumberRange};
use crate::config::toml::Table;

const TIMEOUT_MS: NumberRange = NumberRange::new(100, 60_000);

section! {
    /// The receiver of [events](reference.md#events), such as the grant of a slot.
    NotifySection, Restart => {
        /// URL of the receiver, without a user. Messages show it without its path, which may contain a token.
        url: Url = required().example("\"https://hooks.example/airlock\""),
        /// File with the secret of at least 16 bytes that signs the events. The newline at its end does not count.
        secret_path: FileUnlessEmpty = without_it("no signature").example("\"/etc/airlock/notify-secret\""),
        /// CAs that have issued the certificate of the receiver (PEM). Needs a URL with `https://`.
        ca_cert_path: FileUnlessEmpty = without_it("the CAs of the system").example("\"/etc/airlock/notify-ca.pem\""),
        /// Events to send.
        events: Choices(&["granted", "released", "overdue", "admin", "denied"]) =
            defaults_to("[\"granted\", \"released\", \"overdue\", \"admin\", \"denied\"]")
                .example("[\"overdue\", \"admin\"]"),
        /// Time that one attempt may take, in milliseconds.
        timeout_ms: Integer(TIMEOUT_MS) = defaults_to("5000").example("10000"),
    }
}
