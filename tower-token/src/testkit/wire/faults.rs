//! A token request under the fault in force.

use std::time::Duration;

use http::header::{LOCATION, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use tokio::time::sleep;

use super::answer::{Answer, garbage, oversized, set, status, truncated};
use super::fault::{Fault, InForce, Kind};
use super::hold::Holds;
use super::listen::HangUp;

/// What goes wrong with token requests, how long they take, and those that are held.
#[derive(Debug, Default)]
pub(in crate::testkit) struct Faults {
    in_force: InForce,
    pub(in crate::testkit) holds: Holds,
    latency: Duration,
    answer_latency: Duration,
}

/// What to leave out of an answer with tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::testkit) enum Omit {
    Nothing,
    ExpiresIn,
}

impl Faults {
    pub(in crate::testkit) fn slow(latency: Duration, answer_latency: Duration) -> Self {
        Self {
            latency,
            answer_latency,
            ..Self::default()
        }
    }

    /// What goes wrong with the requests that arrive from now on.
    pub(in crate::testkit) fn set(&self, fault: Option<Fault>) {
        self.in_force.set(fault);
    }

    /// Lets go of the requests that are held, and ends the fault that holds them.
    pub(in crate::testkit) fn release(&self) {
        self.in_force.end_hold(|| self.holds.release());
    }

    /// Has a request that just arrived processed, or not, as the fault in force says.
    /// `moved` is where a redirect points, `turned_away` counts what is not processed.
    pub(in crate::testkit) async fn around(
        &self,
        moved: &'static str,
        turned_away: impl Fn() + Send,
        process: impl Fn(Omit) -> Response<Answer> + Send,
    ) -> Result<Response<Answer>, HangUp> {
        let (fault, place) = self.in_force.meet(|| self.holds.place());
        if !self.latency.is_zero() {
            sleep(self.latency).await;
        }
        let Some(fault) = fault else {
            let answer = process(Omit::Nothing);
            if !self.answer_latency.is_zero() {
                sleep(self.answer_latency).await;
            }
            return Ok(answer);
        };
        match fault.kind {
            Kind::Status(code) => {
                turned_away();
                Ok(told(status(code), &fault))
            }
            Kind::Redirect => {
                turned_away();
                let mut answer = status(StatusCode::TEMPORARY_REDIRECT);
                set(&mut answer, LOCATION, moved);
                Ok(told(answer, &fault))
            }
            Kind::Hold => {
                self.holds.hold(place).await;
                Ok(process(Omit::Nothing))
            }
            Kind::StatusAfter(code) => {
                let _ = process(Omit::Nothing);
                Ok(told(status(code), &fault))
            }
            Kind::HoldAfter => {
                let answer = process(Omit::Nothing);
                self.holds.hold(place).await;
                Ok(answer)
            }
            Kind::LostAnswer => {
                let _ = process(Omit::Nothing);
                Err(HangUp)
            }
            Kind::Truncated => Ok(truncated(process(Omit::Nothing))),
            Kind::Garbage => Ok(garbage(process(Omit::Nothing))),
            Kind::Oversized => Ok(oversized(process(Omit::Nothing))),
            Kind::WithoutExpiresIn => Ok(process(Omit::ExpiresIn)),
        }
    }
}

/// Along with what the fault says of a `Retry-After`.
fn told(mut answer: Response<Answer>, fault: &Fault) -> Response<Answer> {
    if let Some(span) = fault.retry_after {
        let seconds = u64::try_from(span.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX);
        let headers = answer.headers_mut();
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}
