//! What holds for every grant of a provider.

use std::time::Duration;

use http::Uri;

use super::rotation::Rotation;
use crate::origin::Origin;

/// A provider's settings; each has a setter of the same name.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) origins: Vec<Origin>,
    pub(crate) margin: Duration,
    pub(crate) default_lifetime: Option<Duration>,
    pub(crate) exchange_timeout: Duration,
    pub(crate) rotation: Rotation,
    pub(crate) max_exchanges: usize,
    pub(crate) max_renewals_per_second: Option<u32>,
    pub(crate) refresh_token_idle_lifetime: Option<Duration>,
    pub(crate) wipe_when_dead: bool,
    pub(crate) ignore_refusals: bool,
    /// The first setting that could not be taken; said when the manager is built.
    pub(super) problem: Option<String>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            margin: Duration::from_secs(300),
            default_lifetime: None,
            exchange_timeout: Duration::from_secs(30),
            rotation: Rotation::Strict,
            max_exchanges: 32,
            max_renewals_per_second: None,
            refresh_token_idle_lifetime: None,
            wipe_when_dead: false,
            ignore_refusals: false,
            problem: None,
        }
    }
}

impl Policy {
    pub(crate) fn allow_origin(&mut self, origin: &str) {
        match Origin::parse(origin) {
            Ok(origin) => self.origins.push(origin),
            // A URL that was pasted in could carry a secret: name the rule, not the text.
            Err(why) => self.complain(format!(
                "allow_origin takes a bare origin such as \"https://api.example.com\": {why}"
            )),
        }
    }

    /// Whether tokens may go to where `uri` says.
    pub(crate) fn allows(&self, uri: &Uri) -> bool {
        self.origins.iter().any(|origin| origin.contains(uri))
    }

    /// How long one exchange may take. Within a grace period no more than half of it, so
    /// that a second try still fits behind one that was cut off.
    pub(crate) fn exchange_limit(&self) -> Duration {
        match self.rotation {
            Rotation::Grace(span) => self.exchange_timeout.min(span / 2),
            Rotation::Strict | Rotation::Reusable => self.exchange_timeout,
        }
    }

    fn complain(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        if let Some(problem) = &self.problem {
            return Err(problem.clone());
        }
        if self.exchange_limit().is_zero() {
            return Err(String::from(
                "exchange_timeout, or the grace period, is zero",
            ));
        }
        if self.refresh_token_idle_lifetime == Some(Duration::ZERO) {
            return Err(String::from("refresh_token_idle_lifetime is zero"));
        }
        if self.max_renewals_per_second == Some(0) {
            return Err(String::from("max_renewals_per_second is zero"));
        }
        if self.max_exchanges == 0 {
            return Err(String::from("max_exchanges is zero"));
        }
        Ok(())
    }
}

/// The setters that [`Provider`](super::Provider) and each kind of it share.
macro_rules! policy_setters {
    () => {
        /// Allows tokens of this provider to go to `origin`, such as
        /// `"https://api.example.com"`. None is allowed by default; plain `http` only
        /// on loopback. A text that is no origin is refused when the manager is built.
        #[must_use]
        pub fn allow_origin(mut self, origin: impl AsRef<str>) -> Self {
            self.policy.allow_origin(origin.as_ref());
            self
        }

        /// How long before its expiry an access token is refreshed: 5 minutes by
        /// default, and never more than a third of the token's life.
        #[must_use]
        pub fn margin(mut self, margin: ::std::time::Duration) -> Self {
            self.policy.margin = margin;
            self
        }

        /// How long an access token is good for where neither the answer nor the
        /// token says so. By default such a token is used until an API refuses it.
        #[must_use]
        pub fn default_lifetime(mut self, life: ::std::time::Duration) -> Self {
            self.policy.default_lifetime = Some(life);
            self
        }

        /// How long one exchange with the token service may take: 30 seconds by
        /// default, and at most half of a [`Rotation::Grace`](crate::Rotation::Grace).
        /// After that its outcome counts as unknown.
        #[must_use]
        pub fn exchange_timeout(mut self, limit: ::std::time::Duration) -> Self {
            self.policy.exchange_timeout = limit;
            self
        }

        /// How many exchanges with the service are under way at once: 32 by default. More
        /// wait for a place.
        #[must_use]
        pub fn max_exchanges(mut self, exchanges: usize) -> Self {
            self.policy.max_exchanges = exchanges;
            self
        }

        /// How many grants that nobody uses are renewed a second, by the sweepers of all
        /// instances together: as many as there are, by default. It is a bound, of which
        /// about three quarters are reached, and by one instance no more than some 15 a second.
        /// Refreshes that somebody waits for do not count.
        #[must_use]
        pub fn max_renewals_per_second(mut self, renewals: u32) -> Self {
            self.policy.max_renewals_per_second = Some(renewals);
            self
        }

        /// What the service does with a refresh token that comes twice, which decides
        /// what happens after a lost answer. By default
        /// [`Rotation::Strict`](crate::Rotation::Strict).
        #[must_use]
        pub fn rotation(mut self, rotation: crate::provider::Rotation) -> Self {
            self.policy.rotation = rotation;
            self
        }

        /// How long a refresh token lasts that is not used, at a service whose answers do
        /// not say so. The sweeper then refreshes a grant that nobody uses before its
        /// refresh token ends. By default none is refreshed for that reason.
        ///
        /// It counts for a grant from its next refresh on;
        /// [`TokenManager::sweep`](crate::TokenManager::sweep) makes it count for all.
        #[must_use]
        pub fn refresh_token_idle_lifetime(mut self, life: ::std::time::Duration) -> Self {
            self.policy.refresh_token_idle_lifetime = Some(life);
            self
        }

        /// Takes a 401 of this provider's APIs for an answer: no token is refreshed for it, and
        /// nothing is sent twice. For services that say other things by a 401 than that a
        /// token is no good.
        #[must_use]
        pub fn ignore_refusals(mut self) -> Self {
            self.policy.ignore_refusals = true;
            self
        }

        /// Stops serving a grant's access token as soon as its refresh token is found dead.
        /// By default it serves until it expires or an API refuses it.
        #[must_use]
        pub fn wipe_when_dead(mut self) -> Self {
            self.policy.wipe_when_dead = true;
            self
        }
    };
}
pub(crate) use policy_setters;
