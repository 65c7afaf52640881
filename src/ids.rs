//! Identifiers and counters. Each is a type of its own, so that swapping two does not compile.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::str::FromStr;

use crate::refusal::Refusal;

/// The largest epoch, version or token: 63 bits, so that it fits a signed database column.
const COUNTER_MAX: u64 = i64::MAX as u64;

/// A text that is not what an identifier or a bounded text must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {problem}")]
pub struct InvalidText {
    /// What was being read, such as `service name`.
    pub what: &'static str,
    /// What is wrong and what would be right.
    pub problem: &'static str,
}

/// Refuses texts that are empty, longer than `chars_max` characters, or hold control characters.
fn check_text(what: &'static str, text: &str, chars_max: usize) -> Result<(), InvalidText> {
    let problem = if text.trim().is_empty() {
        "must not be empty"
    } else if text.chars().count() > chars_max {
        if chars_max == 100 {
            "is longer than 100 characters"
        } else if chars_max == 255 {
            "is longer than 255 characters"
        } else {
            "is longer than 1000 characters"
        }
    } else if text.chars().any(char::is_control) {
        "must not contain control characters such as NUL or a line break"
    } else {
        return Ok(());
    };
    Err(InvalidText { what, problem })
}

/// Declares a bounded text type: what it is called in errors, and how many characters it may have. The
/// text is shared: a decision copies names into its events, and a copy must cost no allocation.
macro_rules! bounded_text {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[cfg_attr(feature = "serde", serde(try_from = "String", into = "String"))]
        pub struct $name(Arc<str>);

        impl $name {
            /// Reads the text.
            ///
            /// # Errors
            /// [`InvalidText`] if it is empty, too long, or holds control characters.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidText> {
                let text = text.into();
                check_text($what, &text, $max)?;
                Ok(Self(text.into()))
            }

            /// The text as given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidText;
            fn from_str(text: &str) -> Result<Self, InvalidText> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidText;
            fn try_from(text: String) -> Result<Self, InvalidText> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> String {
                String::from(&*text.0)
            }
        }
    };
}

bounded_text! {
    /// The name of an outside service as the configuration declares it (R19), such as `openai`.
    /// 1 to 100 characters.
    ///
    /// ```
    /// # use andon::ServiceName;
    /// assert_eq!(ServiceName::new("openai")?.as_str(), "openai");
    /// assert!(ServiceName::new("").is_err());
    /// # Ok::<(), andon::InvalidText>(())
    /// ```
    ServiceName, "service name", 100
}

bounded_text! {
    /// The name of a person, an automation or a worker, as the journal shows it (R31). 1 to 255
    /// characters.
    ActorName, "actor name", 255
}

bounded_text! {
    /// Why a person did something, in that person's words (R5, R31). 1 to 1000 characters.
    Reason, "reason", 1000
}

bounded_text! {
    /// What makes a job unique within its campaign (R29), such as a lead's address. 1 to 255
    /// characters.
    UniqueKey, "unique key", 255
}

bounded_text! {
    /// The name of a recorded step within a job (R34), such as `write_copy`. 1 to 100 characters.
    StepName, "step name", 100
}

/// An error text of an outside service, bounded so that an outage cannot flood the record (R18).
///
/// Never refused: control characters become spaces, and what is longer than 1000 characters is cut.
///
/// ```
/// # use andon::ErrorText;
/// assert_eq!(ErrorText::new("500\nInternal\0").as_str(), "500 Internal ");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(from = "String", into = "String"))]
pub struct ErrorText(Arc<str>);

impl ErrorText {
    /// Keeps the first 1000 characters, with control characters turned into spaces.
    pub fn new(text: &str) -> Self {
        Self(
            text.chars()
                .take(1000)
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect::<String>()
                .into(),
        )
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ErrorText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for ErrorText {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl From<ErrorText> for String {
    fn from(text: ErrorText) -> String {
        String::from(&*text.0)
    }
}

/// Declares a 128-bit identifier that reads and prints as a UUID.
macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[cfg_attr(feature = "serde", serde(try_from = "String", into = "String"))]
        pub struct $name(u128);

        impl $name {
            /// The identifier with these 128 bits. Making identifiers is the caller's business:
            /// the core has no randomness.
            pub const fn from_u128(bits: u128) -> Self {
                Self(bits)
            }

            /// The 128 bits.
            pub const fn as_u128(self) -> u128 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_uuid(self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_uuid(self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidText;
            fn from_str(text: &str) -> Result<Self, InvalidText> {
                parse_uuid($what, text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidText;
            fn try_from(text: String) -> Result<Self, InvalidText> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                alloc::format!("{id}")
            }
        }
    };
}

fn write_uuid(bits: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(
        f,
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        bits >> 96,
        (bits >> 80) & 0xffff,
        (bits >> 64) & 0xffff,
        (bits >> 48) & 0xffff,
        bits & 0xffff_ffff_ffff
    )
}

fn parse_uuid(what: &'static str, text: &str) -> Result<u128, InvalidText> {
    let wrong = InvalidText {
        what,
        problem: "is not a UUID such as 01890a5d-ac96-774b-bcce-b302099a8057",
    };
    let mut bits = 0u128;
    if text.len() != 36 {
        return Err(wrong);
    }
    for (place, c) in text.chars().enumerate() {
        match (place, c.to_digit(16)) {
            (8 | 13 | 18 | 23, None) if c == '-' => {}
            (8 | 13 | 18 | 23, _) | (_, None) => return Err(wrong),
            (_, Some(digit)) => bits = (bits << 4) | u128::from(digit),
        }
    }
    Ok(bits)
}

uuid_id! {
    /// A campaign's identifier.
    ///
    /// ```
    /// # use andon::CampaignId;
    /// let id: CampaignId = "01890a5d-ac96-774b-bcce-b302099a8057".parse()?;
    /// assert_eq!(id.to_string(), "01890a5d-ac96-774b-bcce-b302099a8057");
    /// # Ok::<(), andon::InvalidText>(())
    /// ```
    CampaignId, "campaign id"
}

uuid_id! {
    /// A job's identifier.
    JobId, "job id"
}

uuid_id! {
    /// A worker session's identifier (section 1 of the rules): what a worker gets when it registers.
    SessionId, "worker id"
}

/// Declares a 63-bit counter that never wraps.
macro_rules! counter {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[cfg_attr(feature = "serde", serde(try_from = "u64", into = "u64"))]
        pub struct $name(u64);

        impl $name {
            /// The counter with this value.
            ///
            /// # Errors
            /// [`InvalidText`] above 2⁶³ − 1.
            pub const fn new(value: u64) -> Result<Self, InvalidText> {
                if value > COUNTER_MAX {
                    return Err(InvalidText { what: $what, problem: "is larger than 2^63 - 1" });
                }
                Ok(Self(value))
            }

            /// The value.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The value one greater.
            ///
            /// # Errors
            /// [`Refusal::Exhausted`] at the largest value: a command that would overflow a counter
            /// is refused, never wrapped.
            pub const fn next(self) -> Result<Self, Refusal> {
                match self.0.checked_add(1) {
                    Some(next) if next <= COUNTER_MAX => Ok(Self(next)),
                    Some(_) | None => Err(Refusal::Exhausted { counter: $what }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl TryFrom<u64> for $name {
            type Error = InvalidText;
            fn try_from(value: u64) -> Result<Self, InvalidText> {
                Self::new(value)
            }
        }

        impl TryFrom<i64> for $name {
            type Error = InvalidText;
            fn try_from(value: i64) -> Result<Self, InvalidText> {
                u64::try_from(value)
                    .map(Self)
                    .map_err(|_| InvalidText { what: $what, problem: "is negative" })
            }
        }

        impl From<$name> for u64 {
            fn from(counter: $name) -> u64 {
                counter.0
            }
        }

        impl From<$name> for i64 {
            fn from(counter: $name) -> i64 {
                // INVARIANT (63 bits): `new` and `next` keep the value within i64.
                i64::try_from(counter.0).unwrap_or(i64::MAX)
            }
        }
    };
}

counter! {
    /// How often the line has been resumed, from 1 (R9, I12). A mark of an older epoch is void.
    Epoch, "epoch"
}

counter! {
    /// Counts the line's gate changes (section 7). Permits note it (R16), and a resume may name it
    /// (R11).
    Version, "version"
}

counter! {
    /// A job's fencing token: greater at each claim (R21, I9). 0 before the first claim.
    Token, "token"
}

counter! {
    /// The number of an outbound call under one token (R16).
    CallNumber, "call number"
}

impl Epoch {
    /// The epoch of a new line.
    pub const FIRST: Self = Self(1);
}

impl Version {
    /// The version before a line's first step.
    pub const ZERO: Self = Self(0);
}

impl Token {
    /// The token of a job that was never claimed.
    pub const NONE: Self = Self(0);
}

/// What identifies the content of an ending (R22): two endings are *the same* iff their
/// fingerprints are. Callers use a collision-resistant digest, such as SHA-256, of the whole report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn ids_read_what_they_print_and_refuse_anything_else() {
        let id = JobId::from_u128(0x0189_0a5d_ac96_774b_bcce_b302_099a_8057);
        assert_eq!(id.to_string().parse::<JobId>(), Ok(id));
        for wrong in [
            "",
            "1",
            "01890a5dac96774bbcceb302099a8057",
            "g1890a5d-ac96-774b-bcce-b302099a8057",
        ] {
            assert!(wrong.parse::<JobId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn counters_never_wrap() {
        let last = Epoch::new(COUNTER_MAX).unwrap();
        assert_eq!(last.next(), Err(Refusal::Exhausted { counter: "epoch" }));
        assert!(Epoch::new(COUNTER_MAX + 1).is_err());
        assert!(Epoch::try_from(-1i64).is_err());
        assert_eq!(i64::from(last), i64::MAX);
    }

    #[test]
    fn texts_are_bounded() {
        assert!(ServiceName::new("a".repeat(101)).is_err());
        assert!(Reason::new("nul \0").is_err());
        assert!(Reason::new(" ").is_err());
        assert_eq!(ErrorText::new(&"x".repeat(5000)).as_str().len(), 1000);
    }
}
