//! Ways for the token endpoint to misbehave.

use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;

/// What goes wrong with token requests; for
/// [`AuthServer::set_fault`](crate::testkit::AuthServer::set_fault) and
/// [`MeshServer::set_fault`](crate::testkit::MeshServer::set_fault).
///
/// Some faults come before the request is processed: its refresh token stays good. The others
/// spoil the answer, by when the refresh token is exchanged.
///
/// ```
/// use std::time::Duration;
/// use tower_token::testkit::Fault;
///
/// // The next two requests are turned away.
/// let busy = Fault::status(429).retry_after(Duration::from_secs(7)).times(2);
/// # let _ = busy;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub(in crate::testkit) kind: Kind,
    pub(in crate::testkit) retry_after: Option<Duration>,
    times: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::testkit) enum Kind {
    Status(StatusCode),
    Redirect,
    Hold,
    StatusAfter(StatusCode),
    HoldAfter,
    LostAnswer,
    Truncated,
    Garbage,
    Oversized,
    WithoutExpiresIn,
}

impl Fault {
    /// Answers with this status, and does not process the request. A number that is no final
    /// status is answered as 500.
    pub fn status(code: u16) -> Self {
        Self::of(Kind::Status(final_status(code)))
    }

    /// Answers with 307 to a place that would process the request, and does not process it. A
    /// client must not follow: it would hand its secrets to whoever sent the redirect.
    pub fn redirect() -> Self {
        Self::of(Kind::Redirect)
    }

    /// Holds the request until [`AuthServer::release`](crate::testkit::AuthServer::release), then
    /// processes it. If the client hangs up meanwhile it is not processed.
    pub fn hold() -> Self {
        Self::of(Kind::Hold)
    }

    /// Processes the request, then answers with this status, as a proxy in front would whose
    /// connection broke.
    pub fn status_after(code: u16) -> Self {
        Self::of(Kind::StatusAfter(final_status(code)))
    }

    /// Processes the request, and holds the answer until
    /// [`AuthServer::release`](crate::testkit::AuthServer::release).
    pub fn hold_after() -> Self {
        Self::of(Kind::HoldAfter)
    }

    /// Processes the request, then resets the connection (TCP RST).
    pub fn lost_answer() -> Self {
        Self::of(Kind::LostAnswer)
    }

    /// Processes the request, then closes the connection in the middle of the answer's body.
    pub fn truncated() -> Self {
        Self::of(Kind::Truncated)
    }

    /// Processes the request, then answers 200 with a body that is not JSON, but says it is.
    pub fn garbage() -> Self {
        Self::of(Kind::Garbage)
    }

    /// Processes the request, then pads the answer, still valid JSON, to more than four
    /// megabytes of unannounced length.
    pub fn oversized() -> Self {
        Self::of(Kind::Oversized)
    }

    /// Processes the request, and leaves out of the answer how long its access token lasts, as
    /// RFC 6749 section 5.1 allows.
    pub fn without_expires_in() -> Self {
        Self::of(Kind::WithoutExpiresIn)
    }

    /// Sends `Retry-After` (RFC 9110 section 10.2.3) along with a status or a redirect, in
    /// whole seconds, rounded up.
    #[must_use]
    pub fn retry_after(mut self, span: Duration) -> Self {
        self.retry_after = Some(span);
        self
    }

    /// Only for the next `n` token requests.
    #[must_use]
    pub fn times(mut self, n: u32) -> Self {
        self.times = Some(n);
        self
    }

    fn of(kind: Kind) -> Self {
        Self {
            kind,
            retry_after: None,
            times: None,
        }
    }
}

fn final_status(code: u16) -> StatusCode {
    StatusCode::from_u16(code)
        .ok()
        .filter(|code| !code.is_informational())
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The fault in force, if any.
#[derive(Debug, Default)]
pub(in crate::testkit) struct InForce(Mutex<Option<Fault>>);

impl InForce {
    pub(in crate::testkit) fn set(&self, fault: Option<Fault>) {
        *self.0.lock() = fault;
    }

    /// The fault that a request meets which arrives now. `arrived` runs while no other can be
    /// set.
    pub(in crate::testkit) fn meet<T>(&self, arrived: impl FnOnce() -> T) -> (Option<Fault>, T) {
        let mut current = self.0.lock();
        if let Some(Fault {
            times: Some(times), ..
        }) = &mut *current
        {
            match times.checked_sub(1) {
                Some(left) => *times = left,
                None => *current = None,
            }
        }
        (*current, arrived())
    }

    /// Ends a fault that holds requests, then calls `release`: a request either meets no hold
    /// any more, or sees the release.
    pub(in crate::testkit) fn end_hold(&self, release: impl FnOnce()) {
        let mut current = self.0.lock();
        let holds = |fault: &Fault| matches!(fault.kind, Kind::Hold | Kind::HoldAfter);
        if current.as_ref().is_some_and(holds) {
            *current = None;
        }
        release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(faults: &InForce) -> Option<Kind> {
        faults.meet(|| ()).0.map(|fault| fault.kind)
    }

    #[test]
    fn a_fault_is_met_until_another_is_set_or_as_often_as_it_says() {
        let faults = InForce::default();
        assert_eq!(met(&faults), None);
        faults.set(Some(Fault::garbage()));
        assert_eq!(met(&faults), Some(Kind::Garbage));
        faults.set(Some(Fault::truncated().times(2)));
        assert_eq!(met(&faults), Some(Kind::Truncated));
        assert_eq!(met(&faults), Some(Kind::Truncated));
        assert_eq!(met(&faults), None);
    }

    #[test]
    fn a_release_ends_a_hold_and_no_other_fault() {
        for (fault, after) in [
            (Fault::hold(), None),
            (Fault::hold_after(), None),
            (Fault::garbage(), Some(Kind::Garbage)),
        ] {
            let faults = InForce::default();
            faults.set(Some(fault));
            faults.end_hold(|| ());
            assert_eq!(met(&faults), after);
        }
    }

    #[test]
    fn only_a_final_status_is_answered() {
        let server_error = Fault::status(500);
        assert_eq!(Fault::status(103), server_error);
        assert_eq!(Fault::status(7), server_error);
        assert_eq!(
            Fault::status(503).kind,
            Kind::Status(StatusCode::SERVICE_UNAVAILABLE)
        );
    }
}
