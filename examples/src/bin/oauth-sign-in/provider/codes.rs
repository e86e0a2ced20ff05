//! Authorization codes: each is good once, for a minute.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::random;

const LIFE: u64 = 60;

/// What a code stands for.
pub(super) struct Granted {
    pub(super) subject: String,
    /// The session of this browser, as tokens name it.
    pub(super) sid: String,
    pub(super) nonce: Option<String>,
    pub(super) scope: String,
    pub(super) code_challenge: String,
}

/// The codes that are out, and until when.
#[derive(Default)]
pub(super) struct Codes(Mutex<HashMap<String, (u64, Granted)>>);

impl Codes {
    pub(super) fn issue(&self, granted: Granted, now: u64) -> String {
        let code = random();
        let mut codes = self.0.lock();
        codes.retain(|_, (until, _)| now < *until);
        codes.insert(code.clone(), (now + LIFE, granted));
        code
    }

    pub(super) fn take(&self, code: &str, now: u64) -> Option<Granted> {
        let (until, granted) = self.0.lock().remove(code)?;
        (now < until).then_some(granted)
    }
}
