//! The schema that the tables are in. Its name is also that of the channel.

use super::error::misconfigured;
use crate::store::contract::StoreError;

/// A name that is the same with quotes and without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schema(String);

impl Schema {
    pub(super) fn new(name: &str) -> Result<Self, StoreError> {
        let begins = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        let goes_on = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let is_name = begins && name.chars().all(goes_on) && name.len() < 64;
        match is_name && !name.starts_with("pg_") {
            true => Ok(Self(name.to_owned())),
            false => Err(misconfigured(
                "the name of a schema is at most 63 lower-case letters, digits and _, without a \
                 digit or pg_ at its beginning",
            )),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.0
    }

    pub(super) fn quoted(&self) -> String {
        format!("\"{}\"", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_has_a_plain_name() {
        for name in ["tower_token", "_", "a1", &"x".repeat(63)] {
            assert_eq!(Schema::new(name).unwrap().name(), name);
        }
        for name in [
            "",
            "1a",
            "A",
            "a b",
            "a\"b",
            "a'b",
            "a;b",
            "pg_x",
            "ä",
            &"x".repeat(64),
        ] {
            assert!(Schema::new(name).is_err(), "{name}");
        }
    }
}
