//! The time between two attempts to deliver an event.

use std::time::Duration;

use http::{HeaderMap, header};
use jiff::Timestamp;
use jiff::fmt::rfc2822;

/// The pauses after failed attempts, and the time after which an event is given up.
#[derive(Clone, Copy)]
pub(super) struct RetryPolicy {
    /// The bound of the first pause.
    pub(super) min: Duration,
    /// The maximum of the bound, which doubles with each failure.
    pub(super) max: Duration,
    /// The age after which an event is dropped if an attempt fails.
    pub(super) give_up: Duration,
}

/// The maximum pause that a receiver can demand.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

// === impl RetryPolicy ===

impl RetryPolicy {
    /// The policy of a server.
    pub(super) const DEFAULT: Self = RetryPolicy {
        min: Duration::from_millis(500),
        max: Duration::from_secs(60),
        give_up: Duration::from_secs(3600),
    };

    /// Returns the pause after this many failures in a row: random, so that servers do not meet at the receiver, and no
    /// shorter than what the receiver demands.
    pub(super) fn pause(&self, failures: u32, retry_after: Option<Duration>) -> Duration {
        let doublings = failures.saturating_sub(1);
        let bound = self.min.saturating_mul(2_u32.saturating_pow(doublings));
        let pause = bound.min(self.max).mul_f64(0.5 + fastrand::f64() / 2.0);
        pause.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
    }
}

/// Returns the pause that the header `Retry-After` demands, as a number of seconds or as a date; `None`: none.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are a long time.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = rfc2822::parse(value).ok()?.timestamp();
    Duration::try_from(date.duration_since(now)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_double_up_to_a_minute_and_are_spread_over_the_upper_half() {
        for (failures, bound) in [
            (1, 500),
            (2, 1000),
            (3, 2000),
            (7, 32_000),
            (8, 60_000),
            (u32::MAX, 60_000),
        ] {
            let pauses = [(); 200].map(|()| RetryPolicy::DEFAULT.pause(failures, None).as_millis());
            let (shortest, longest) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
            assert!(
                (bound / 2..bound * 5 / 8).contains(shortest),
                "{shortest} of {bound}"
            );
            assert!(
                (bound * 7 / 8..=bound).contains(longest),
                "{longest} of {bound}"
            );
        }
    }

    #[test]
    fn a_receiver_can_demand_a_longer_pause_of_at_most_ten_minutes() {
        let pause = |seconds| RetryPolicy::DEFAULT.pause(8, Some(Duration::from_secs(seconds)));
        assert!((30 * SECOND..=60 * SECOND).contains(&pause(1)));
        assert_eq!(pause(90), 90 * SECOND);
        assert_eq!(pause(u64::MAX), 600 * SECOND);
    }

    #[test]
    fn the_header_has_seconds_or_a_date() {
        let now: Timestamp = "2026-11-24T20:00:00Z".parse().unwrap();
        let after = |value: &str| {
            let value = HeaderValue::from_str(value).unwrap();
            retry_after(&HeaderMap::from_iter([(header::RETRY_AFTER, value)]), now)
        };
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
        assert_eq!(after("120"), Some(120 * SECOND));
        assert_eq!(after("0"), Some(Duration::ZERO));
        assert_eq!(
            after("99999999999999999999"),
            Some(Duration::from_secs(u64::MAX))
        );
        assert_eq!(after("Tue, 24 Nov 2026 20:00:10 GMT"), Some(10 * SECOND));
        for none in ["Tue, 24 Nov 2026 19:59:59 GMT", "", "-1", "soon", "1.5"] {
            assert_eq!(after(none), None, "{none}");
        }
    }
}
