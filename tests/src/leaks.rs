//! Finds secrets in what was printed, also when they were encoded on the way.

use std::error::Error;
use std::fmt::{Debug, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Marked secrets, and every form they could be printed in.
#[derive(Debug)]
pub struct Leaks {
    needles: Vec<(String, Vec<u8>)>,
}

impl Leaks {
    /// A detector of these secrets. Marks must be long enough not to occur by chance.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut needles = Vec::new();
        for secret in secrets {
            assert!(secret.len() >= 8, "{secret:?} is too short to be a mark");
            for (form, text) in forms(secret) {
                needles.push((format!("{secret:?} {form}"), text.into_bytes()));
            }
        }
        Self { needles }
    }

    /// Which secret stands in `bytes`, and in which form.
    pub fn find(&self, bytes: &[u8]) -> Option<&str> {
        let found = self.needles.iter().find(|(_, needle)| {
            bytes
                .windows(needle.len())
                .any(|window| window == needle.as_slice())
        });
        found.map(|(name, _)| name.as_str())
    }

    /// Fails if a secret stands in `bytes`.
    pub fn check(&self, what: &str, bytes: &[u8]) {
        let found = self.find(bytes);
        assert_eq!(
            found,
            None,
            "{what} leaks: {}",
            String::from_utf8_lossy(bytes)
        );
    }

    /// Checks what `value` prints as `{:?}` and `{:#?}`.
    pub fn check_debug(&self, what: &str, value: &dyn Debug) {
        self.check(what, format!("{value:?}").as_bytes());
        self.check(what, format!("{value:#?}").as_bytes());
    }

    /// Checks an error and its whole source chain, in every way an error is printed.
    pub fn check_error(&self, what: &str, error: &(dyn Error + 'static)) {
        let mut link = Some(error);
        while let Some(error) = link {
            self.check(what, format!("{error} {error:#}").as_bytes());
            self.check_debug(what, &error);
            link = error.source();
        }
    }
}

fn forms(secret: &str) -> Vec<(&'static str, String)> {
    let bytes = secret.as_bytes();
    let hex = |upper: bool| {
        let mut text = String::new();
        for byte in bytes {
            let _ = if upper {
                write!(text, "{byte:02X}")
            } else {
                write!(text, "{byte:02x}")
            };
        }
        text
    };
    let percent = bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "%{byte:02X}");
        text
    });
    let list = format!("{bytes:?}");
    let mut forms = vec![
        ("as it is", secret.to_owned()),
        ("in hex", hex(false)),
        ("in upper-case hex", hex(true)),
        ("percent-encoded", percent),
        ("as a list of bytes", list[1..list.len() - 1].to_owned()),
    ];
    // Base64 of a longer text that has the secret somewhere inside: three alignments,
    // without the ends that depend on the neighbours.
    for skip in 0..3 {
        let padded = [&[0u8; 2][..skip.min(2)], bytes].concat();
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let encoded = engine.encode(&padded);
            let from = [0, 2, 3][skip];
            let to = encoded.len() - if padded.len() % 3 == 0 { 0 } else { 1 };
            forms.push(("in base64", encoded[from..to].to_owned()));
        }
    }
    // A secret whose own characters need it, encoded as a form would.
    let form: String = bytes.iter().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"*-._".contains(byte) {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    });
    forms.push(("form-encoded", form));
    forms
}
