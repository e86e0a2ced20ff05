//! What a failed exchange means for the grant: one pure function.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::transport::{Answer, MAX_BODY, TransportError};
use crate::clock::Timestamp;
use crate::secret::Secret;

/// What a failed exchange means for the grant.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The refresh token is no longer good: the user has to connect again.
    Dead,
    /// Not processed; it can be tried again, not before `retry_after`.
    Transient {
        /// What the service asked for.
        retry_after: Option<Duration>,
    },
    /// Sent, and perhaps processed: the refresh token may be spent.
    Ambiguous,
    /// The service refuses this client, not the user. No grant is touched.
    Misconfigured,
    /// The service wants something of the user first.
    UserAction,
}

/// Why an exchange failed, and what that means.
#[derive(Debug)]
pub struct RefreshError {
    verdict: Verdict,
    retry_after: Option<Duration>,
    continuation: Option<Secret>,
    of_this_grant: bool,
    message: Cow<'static, str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl RefreshError {
    /// A failure with this meaning. The message must not quote an answer: it may
    /// hold a token.
    pub fn new(verdict: Verdict, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            verdict,
            retry_after: None,
            continuation: None,
            of_this_grant: false,
            message: message.into(),
            source: None,
        }
    }

    /// The same failure of a service that asked not to be asked again before `span` is over,
    /// whatever the failure means for the grant.
    #[must_use]
    pub fn retry_after(mut self, span: Duration) -> Self {
        self.retry_after = Some(span);
        self
    }

    /// The same failure, of which it is known that it says nothing of the service as a whole,
    /// as where one of several brokers behind it fails: it does not count for the circuit, which
    /// would leave the service alone for all.
    #[must_use]
    pub fn of_this_grant(mut self) -> Self {
        self.of_this_grant = true;
        self
    }

    pub(crate) fn is_of_this_grant(&self) -> bool {
        self.of_this_grant
    }

    /// The same failure of a service that asks the user for something, and wants this back with
    /// what the user answers: the next [`RefreshRequest::continuation`] has it. Kept sealed with
    /// the grant.
    ///
    /// [`RefreshRequest::continuation`]: crate::RefreshRequest::continuation
    #[must_use]
    pub fn continuation(mut self, token: impl Into<Secret>) -> Self {
        self.continuation = Some(token.into());
        self
    }

    pub(crate) fn take_continuation(&mut self) -> Option<Secret> {
        self.continuation.take()
    }

    /// The same failure, with what caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What it means for the grant.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// How long the service asked to be left alone.
    pub(crate) fn asked_to_wait(&self) -> Option<Duration> {
        match self.verdict {
            Verdict::Transient { retry_after } => retry_after.max(self.retry_after),
            _ => self.retry_after,
        }
    }
}

impl fmt::Display for RefreshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for RefreshError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// What an answer of one particular service means, where that is not what RFC 6749 says.
///
/// ```
/// use tower_token::{OAuth2, Verdict, VerdictRule};
///
/// // This one answers a dead refresh token with 400 and nothing else.
/// let provider = OAuth2::new("example", "https://auth.example.com/token")
///     .public_client("me")
///     .verdict_rule(VerdictRule::new(Verdict::Dead).status(400).empty_body());
/// # let _ = provider;
/// ```
#[derive(Debug, Clone)]
pub struct VerdictRule {
    verdict: Verdict,
    status: Option<u16>,
    error: Option<String>,
    empty_body: bool,
}

impl VerdictRule {
    /// A rule for every answer that brings no tokens; narrow it by the methods below, all of
    /// which have to hold. At least one has to be there.
    pub fn new(verdict: Verdict) -> Self {
        Self {
            verdict,
            status: None,
            error: None,
            empty_body: false,
        }
    }

    /// Only for answers of this status.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Only for answers with this `error` (RFC 6749 section 5.2).
    #[must_use]
    pub fn error(mut self, code: impl Into<String>) -> Self {
        self.error = Some(code.into());
        self
    }

    /// Only for answers without a body.
    #[must_use]
    pub fn empty_body(mut self) -> Self {
        self.empty_body = true;
        self
    }

    /// Whether it says of which answers it speaks.
    pub(crate) fn is_narrowed(&self) -> bool {
        self.status.is_some() || self.error.is_some() || self.empty_body
    }

    fn applies(&self, status: StatusCode, error: Option<&str>, body: &[u8]) -> bool {
        self.status.is_none_or(|wanted| wanted == status.as_u16())
            && self
                .error
                .as_deref()
                .is_none_or(|wanted| error == Some(wanted))
            && (!self.empty_body || body.trim_ascii().is_empty())
    }
}

/// What it means that a request brought no tokens: from what came of it, the provider's
/// rules, and the time, which a `Retry-After` may refer to.
pub(crate) fn judge(
    came: Result<&Answer, TransportError>,
    now: Timestamp,
    rules: &[VerdictRule],
) -> RefreshError {
    match came {
        Ok(answer) => judge_answer(answer.status, &answer.headers, &answer.body, now, rules),
        Err(TransportError::NotSent(cause)) => RefreshError::new(
            Verdict::Transient { retry_after: None },
            "the token service could not be reached",
        )
        .with_source(cause),
        Err(TransportError::Sent(cause)) => {
            RefreshError::new(Verdict::Ambiguous, "the token service's answer was lost")
                .with_source(cause)
        }
        Err(TransportError::TooLarge) => RefreshError::new(
            Verdict::Ambiguous,
            format!("the token service answered more than {MAX_BODY} bytes"),
        ),
    }
}

/// Reads an OAuth error answer (RFC 6749 section 5.2): by the first of the provider's
/// `rules` that applies, else by what is common. The message names the status and a
/// registered error code, never anything else of the body.
fn judge_answer(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
    rules: &[VerdictRule],
) -> RefreshError {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    let error = parsed.as_ref().and_then(|body| body.get("error")?.as_str());
    let rule = rules.iter().find(|rule| rule.applies(status, error, body));
    let verdict = rule.map_or_else(|| common(status, error), |rule| rule.verdict);
    let status = status.as_u16();
    // Whatever else stands there came from outside and is not repeated.
    let message = match KNOWN.into_iter().find(|known| error == Some(known)) {
        Some(code) => format!("the token service answered {status} {code}"),
        None => format!("the token service answered {status}"),
    };
    let judged = RefreshError::new(verdict, message);
    match retry_after(headers, now) {
        Some(span) => judged.retry_after(span),
        None => judged,
    }
}

const KNOWN: [&str; 11] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "temporarily_unavailable",
    "interaction_required",
    "login_required",
    "consent_required",
    "mfa_required",
];

/// What an answer means at most services.
fn common(status: StatusCode, error: Option<&str>) -> Verdict {
    let transient = Verdict::Transient { retry_after: None };
    match (status.as_u16(), error) {
        (429, _) => transient,
        // Some services answer an error with a success; without one nobody knows what it is.
        (200..=299, Some(_)) => match common(StatusCode::BAD_REQUEST, error) {
            Verdict::Transient { .. } => Verdict::Ambiguous,
            verdict => verdict,
        },
        // A proxy in front answers these too, so the exchange may have happened.
        (500..=599 | 408, _) => Verdict::Ambiguous,
        // Followed, a redirect would replay the secrets to another place.
        (300..=399, _) => Verdict::Misconfigured,
        // The others as GitHub and Slack call it, of refresh tokens and of codes.
        (
            400..=499,
            Some(
                "invalid_grant"
                | "bad_refresh_token"
                | "invalid_refresh_token"
                | "bad_verification_code"
                | "invalid_code"
                | "code_already_used",
            ),
        ) => Verdict::Dead,
        (
            400..=499,
            Some(
                "invalid_client"
                | "unauthorized_client"
                | "unsupported_grant_type"
                | "invalid_scope",
            ),
        ) => Verdict::Misconfigured,
        (
            400..=499,
            Some("interaction_required" | "login_required" | "consent_required" | "mfa_required"),
        ) => Verdict::UserAction,
        (401, _) => Verdict::Misconfigured,
        // An unknown refusal must not cost the user their grant.
        (400..=499, _) => transient,
        _ => Verdict::Ambiguous,
    }
}

/// `Retry-After` in seconds or as a date (RFC 9110 section 10.2.3), an hour at most.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => Timestamp::from(httpdate::parse_http_date(value).ok()?).since(now),
    };
    Some(wait.min(Duration::from_secs(3_600)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_its_verdict() {
        let transient = Verdict::Transient { retry_after: None };
        let table: &[(u16, &str, Verdict)] = &[
            (400, r#"{"error":"invalid_grant"}"#, Verdict::Dead),
            (401, r#"{"error":"invalid_grant"}"#, Verdict::Dead),
            (400, r#"{"error":"invalid_client"}"#, Verdict::Misconfigured),
            (401, r#"{"error":"invalid_client"}"#, Verdict::Misconfigured),
            (401, "", Verdict::Misconfigured),
            (
                400,
                r#"{"error":"unauthorized_client"}"#,
                Verdict::Misconfigured,
            ),
            (
                400,
                r#"{"error":"unsupported_grant_type"}"#,
                Verdict::Misconfigured,
            ),
            (400, r#"{"error":"invalid_scope"}"#, Verdict::Misconfigured),
            (
                400,
                r#"{"error":"interaction_required"}"#,
                Verdict::UserAction,
            ),
            (403, r#"{"error":"mfa_required"}"#, Verdict::UserAction),
            (400, "", transient),
            (400, "not json", transient),
            (400, r#"{"error":"invalid_request"}"#, transient),
            (400, r#"{"error":["invalid_grant"]}"#, transient),
            (403, "", transient),
            (404, "", transient),
            (429, "", transient),
            (429, r#"{"error":"invalid_grant"}"#, transient),
            (408, "", Verdict::Ambiguous),
            (500, "", Verdict::Ambiguous),
            (502, r#"{"error":"invalid_grant"}"#, Verdict::Ambiguous),
            (
                503,
                r#"{"error":"temporarily_unavailable"}"#,
                Verdict::Ambiguous,
            ),
            (200, r#"{"error":"bad_refresh_token"}"#, Verdict::Dead),
            (
                200,
                r#"{"ok":false,"error":"invalid_refresh_token"}"#,
                Verdict::Dead,
            ),
            (200, r#"{"error":"invalid_client"}"#, Verdict::Misconfigured),
            (200, r#"{"error":"whatever"}"#, Verdict::Ambiguous),
            (200, "{}", Verdict::Ambiguous),
            (200, "", Verdict::Ambiguous),
            (307, "", Verdict::Misconfigured),
            (302, "", Verdict::Misconfigured),
        ];
        for (status, body, verdict) in table {
            let judged = judge_answer(
                StatusCode::from_u16(*status).unwrap(),
                &HeaderMap::new(),
                body.as_bytes(),
                Timestamp::from_unix_millis(0),
                &[],
            );
            assert_eq!(judged.verdict(), *verdict, "{status} {body}");
        }
    }

    #[test]
    fn no_answer_has_its_verdict_too() {
        let now = Timestamp::from_unix_millis(0);
        let transient = Verdict::Transient { retry_after: None };
        for (error, verdict) in [
            (TransportError::NotSent("refused".into()), transient),
            (TransportError::Sent("reset".into()), Verdict::Ambiguous),
            (TransportError::TooLarge, Verdict::Ambiguous),
        ] {
            assert_eq!(judge(Err(error), now, &[]).verdict(), verdict);
        }
    }

    #[test]
    fn a_providers_own_rules_come_first() {
        let rules = [
            VerdictRule::new(Verdict::Dead)
                .status(400)
                .error("invalid_request"),
            VerdictRule::new(Verdict::Dead).status(400).empty_body(),
            VerdictRule::new(Verdict::Transient { retry_after: None }).status(503),
            VerdictRule::new(Verdict::UserAction).error("step_up"),
        ];
        let transient = Verdict::Transient { retry_after: None };
        for (status, body, verdict) in [
            (400, r#"{"error":"invalid_request"}"#, Verdict::Dead),
            (
                401,
                r#"{"error":"invalid_request"}"#,
                Verdict::Misconfigured,
            ),
            (400, " \n", Verdict::Dead),
            (400, "?", transient),
            (503, "", transient),
            (502, "", Verdict::Ambiguous),
            (403, r#"{"error":"step_up"}"#, Verdict::UserAction),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let now = Timestamp::from_unix_millis(0);
            let judged = judge_answer(status, &HeaderMap::new(), body.as_bytes(), now, &rules);
            assert_eq!(judged.verdict(), verdict, "{status} {body}");
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let wait = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            // 1994-11-06 08:49:37 UTC
            retry_after(&headers, Timestamp::from_unix_millis(784_111_777_000))
        };
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(
            wait("Sun, 06 Nov 1994 08:49:47 GMT"),
            Some(Duration::from_secs(10))
        );
        assert_eq!(wait("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("99999999"), Some(Duration::from_secs(3_600)));
        assert_eq!(wait("soon"), None);
    }

    #[test]
    fn an_answer_is_never_quoted() {
        let body = br#"{"error":"tok-secret","error_description":"tok-secret"}"#;
        let error = judge_answer(
            StatusCode::BAD_REQUEST,
            &HeaderMap::new(),
            body,
            Timestamp::from_unix_millis(0),
            &[],
        );
        assert!(!format!("{error} {error:?}").contains("tok-secret"));
    }
}
