//! Machine ids, and the ids that Zincati derives from them.

use std::str::FromStr;

use aws_lc_rs::hmac;

/// The application id of Zincati.
///
/// Source: `APP_ID` in src/identity/mod.rs of Zincati.
const ZINCATI: u128 = 0xde35_106b_6ec2_4688_b63a_fdda_a156_679b;

/// The id of a machine, as in `/etc/machine-id`. It is never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MachineId(u128);

/// The reason why a text is not a [`MachineId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidMachineId {
    /// The text that `/etc/machine-id` contains until the first boot has ended.
    #[error("the first boot of the machine has not ended")]
    Uninitialized,
    /// The text does not have the form of an id.
    #[error("it is neither 32 hexadecimal digits nor a UUID")]
    Form,
    /// All digits are zero.
    #[error("it is zero, which is the id of no machine")]
    Zero,
}

// === impl MachineId ===

impl MachineId {
    /// Returns the id under which Zincati on this machine asks for a lock, as 32 lower-case hexadecimal digits.
    ///
    /// Source: `sd_id128_get_machine_app_specific` of systemd. The first half of HMAC-SHA256 becomes a UUID of version 4.
    pub(crate) fn zincati_id(self) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0.to_be_bytes());
        let tag = hmac::sign(&key, &ZINCATI.to_be_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&tag.as_ref()[..16]);
        id[6] = id[6] & 0x0f | 0x40;
        id[8] = id[8] & 0x3f | 0x80;
        format!("{:032x}", u128::from_be_bytes(id))
    }
}

/// Accepts what systemd accepts: 32 hexadecimal digits in either case, or a UUID of them with its four dashes.
impl FromStr for MachineId {
    type Err = InvalidMachineId;

    fn from_str(text: &str) -> Result<Self, InvalidMachineId> {
        if text == "uninitialized" {
            return Err(InvalidMachineId::Uninitialized);
        }
        let is_dash = |at: usize| text.as_bytes().get(at) == Some(&b'-');
        let digits = if text.len() == 36 && [8, 13, 18, 23].into_iter().all(is_dash) {
            text.replace('-', "")
        } else {
            text.to_owned()
        };
        if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidMachineId::Form);
        }
        match u128::from_str_radix(&digits, 16) {
            Ok(0) => Err(InvalidMachineId::Zero),
            Ok(id) => Ok(MachineId(id)),
            Err(_) => Err(InvalidMachineId::Form),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `systemd-id128 machine-id -a de35106b6ec24688b63afddaa156679b` of systemd 252 prints for these machine ids.
    const KNOWN: [(&str, &str); 3] = [
        (
            "0123456789abcdef0123456789abcdef",
            "583627a932274834a8ebd99f4ed41c0d",
        ),
        (
            "00000000000000000000000000000001",
            "a2a5385f64d54b22b0eca8f3deb0cd10",
        ),
        (
            "ffffffffffffffffffffffffffffffff",
            "01e17ff8056e4c079b0bac70864eb9b5",
        ),
    ];

    fn id(text: &str) -> Result<String, InvalidMachineId> {
        text.parse().map(MachineId::zincati_id)
    }

    #[test]
    fn an_id_is_derived_as_systemd_does_it() {
        for (machine, expected) in KNOWN {
            assert_eq!(id(machine), Ok(expected.into()));
        }
    }

    #[test]
    fn upper_case_and_the_form_of_a_uuid_are_the_same_machine_id() {
        let expected = Ok(KNOWN[0].1.to_owned());
        for text in [
            "0123456789ABCDEF0123456789abcdef",
            "01234567-89ab-cdef-0123-456789abcdef",
            "01234567-89AB-CDEF-0123-456789ABCDEF",
        ] {
            assert_eq!(id(text), expected);
        }
    }

    #[test]
    fn anything_else_is_no_machine_id() {
        for text in [
            "",
            "0123456789abcdef0123456789abcde",
            "0123456789abcdef0123456789abcdef0",
            "0123456789abcdef0123456789abcdeg",
            "+123456789abcdef0123456789abcdef",
            " 0123456789abcdef0123456789abcdef",
            "0123456789abcdef-0123456789abcdef",
            "0123456789abcdef0123456789abcdef----",
            "01234567-89ab-cdef-0123-45678-9abcde",
            "012345678-9ab-cdef-0123-456789abcdef",
            "{01234567-89ab-cdef-0123-456789abcdef}",
            "é123456789abcdef0123456789abcdef",
            "UNINITIALIZED",
        ] {
            assert_eq!(id(text), Err(InvalidMachineId::Form), "{text:?}");
        }
        let zero = "0".repeat(32);
        assert_eq!(id(&zero), Err(InvalidMachineId::Zero));
        let zero = "00000000-0000-0000-0000-000000000000";
        assert_eq!(id(zero), Err(InvalidMachineId::Zero));
        assert_eq!(id("uninitialized"), Err(InvalidMachineId::Uninitialized));
    }
}
