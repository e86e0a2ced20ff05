//! What was set as the mark for each figure, before any was measured.

use std::fmt;

/// A figure and its mark.
pub struct Bar {
    pub what: &'static str,
    /// The command that measures it.
    pub report: &'static str,
    /// The name of the figure there.
    pub ratio: &'static str,
    pub limit: Limit,
}

/// Itself included.
#[derive(Clone, Copy)]
pub enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

use Limit::{AtLeast, AtMost};

impl Limit {
    pub fn is_met(self, figure: f64) -> bool {
        match self {
            AtMost(most) => figure <= most,
            AtLeast(least) => figure >= least,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AtMost(most) => write!(f, "at most {most}"),
            AtLeast(least) => write!(f, "at least {least}"),
        }
    }
}

const fn bar(report: &'static str, ratio: &'static str, limit: Limit, what: &'static str) -> Bar {
    Bar {
        what,
        report,
        ratio,
        limit,
    }
}

/// All of them.
#[rustfmt::skip]
pub const BARS: &[Bar] = &[
    bar("hot-path", "instructions/by-key-64", AtMost(2.25), "fresh hit by key: instructions, of a static header's"),
    bar("hot-path", "time/by-key-64", AtMost(3.0), "the same: time"),
    bar("hot-path", "time/by-key-1000-users-64", AtMost(4.0), "the same with 1,000 users: time"),
    bar("hot-path", "instructions/bound-64", AtMost(1.6), "fresh hit by a bound handle: instructions, of a static header's"),
    bar("hot-path", "more-allocations/by-key-64", AtMost(0.0), "fresh hit by key: allocations beyond a static header's"),
    bar("hot-path", "length/by-key", AtMost(1.1), "fresh hit by key: a token of 1 KiB, of the cost of 64 B"),
    bar("hot-path", "armed/of-cf-gears-64", AtMost(0.7), "fresh hit, retry armed: of the only peer that also retries"),
    bar("hot-path", "more-allocations/by-key-armed-64", AtMost(3.0), "fresh hit, retry armed: allocations beyond a static header's"),
    bar("hot-path", "peer/mutex-by-hand-64", AtLeast(1.8), "a mutex by hand, of ours by key"),
    bar("hot-path", "peer/mutex-by-hand-1024", AtLeast(2.5), "the same, token of 1 KiB"),
    bar("hot-path", "peer/kube-client-64", AtLeast(2.5), "kube-client's layer, of ours by key"),
    bar("hot-path", "peer/cf-gears-bearerauth-64", AtLeast(2.5), "cf-gears BearerAuth, of ours by key"),
    bar("hot-path", "peer/google-cloud-auth-64", AtLeast(3.5), "google-cloud-auth, of ours by key"),
    bar("hot-path", "peer/azure_core-64", AtLeast(3.5), "azure_core's bearer policy, of ours by key"),
    bar("hot-path", "peer/aws-smithy-64", AtLeast(3.5), "aws-smithy's identity cache, of ours by key"),
    bar("hot-path", "peer/moka-by-hand-64", AtLeast(3.5), "moka by hand, of ours by key"),
    bar("scale", "uniform-1000000/of-map", AtMost(1.1), "1,000,000 grants: time, of a bare concurrent map"),
    bar("scale", "uniform-1000000/of-moka", AtMost(0.65), "1,000,000 grants: time, of moka"),
    bar("scale", "zipf-1000/2-threads-of-1", AtLeast(1.8), "1,000 grants, Zipf: throughput of two threads, of one"),
    bar("scale", "memory-per-grant-bytes", AtMost(400.0), "memory of a cached grant beyond its token, bytes"),
    bar("expiry", "due-healthy-1000/tower-token/exchanges", AtMost(1.0), "due, service of 50 ms, 1,000 callers: exchanges"),
    bar("expiry", "due-healthy-1000/tower-token/added-p99-ms", AtMost(1.0), "the same: added p99, ms"),
    bar("expiry", "due-healthy-10000/tower-token/exchanges", AtMost(1.0), "due, service of 50 ms, 10,000 callers: exchanges"),
    bar("expiry", "due-healthy-10000/tower-token/added-p99-ms", AtMost(1.0), "the same: added p99, ms"),
    bar("expiry", "due-failing-1000/tower-token/served", AtLeast(1.0), "due, service answers 500, 1,000 callers: part served"),
    bar("expiry", "due-failing-10000/tower-token/served", AtLeast(1.0), "the same with 10,000"),
    bar("expiry", "due-hanging-1000/tower-token/served", AtLeast(1.0), "due, service hangs, 1,000 callers: part served"),
    bar("expiry", "due-hanging-10000/tower-token/served", AtLeast(1.0), "the same with 10,000"),
    bar("expiry", "backoff/tower-token/exchanges-of-allowed", AtMost(1.0), "due and failing: exchanges, of what the backoff allows"),
    bar("expiry", "dead-healthy-1000/tower-token/p99-ms-over-service", AtMost(5.0), "dead, service of 50 ms, 1,000 callers: p99 over the service's, ms"),
    bar("expiry", "dead-healthy-10000/tower-token/p99-ms-over-service", AtMost(5.0), "the same with 10,000"),
    bar("expiry", "dead-failing-1000/tower-token/last-ms-over-service", AtMost(10.0), "dead and failing, 1,000 callers: the last is told, over a round trip, ms"),
    bar("expiry", "dead-failing-10000/tower-token/last-ms-over-service", AtMost(10.0), "the same with 10,000"),
    bar("expiry", "dead-hanging-1000/tower-token/last-ms-over-deadline", AtMost(50.0), "dead and hanging, 1,000 callers: the last is told, over the deadline, ms"),
    bar("expiry", "dead-hanging-10000/tower-token/last-ms-over-deadline", AtMost(50.0), "the same with 10,000"),
    bar("expiry", "give-up/tower-token/served", AtLeast(0.95), "exchange of 150 ms, callers give up after 100 ms: part served"),
    bar("expiry", "give-up/tower-token/exchanges-of-allowed", AtMost(1.0), "the same: exchanges"),
    bar("expiry", "users-200/due/most-in-flight-of-cap", AtMost(1.0), "200 users due at once: exchanges in flight, of the provider's cap"),
    bar("expiry", "users-200/due/bystander-p99-ms", AtMost(1.0), "the same: a bystander's p99, ms"),
    bar("requests", "hyper-32/instructions-bound-no-replay", AtMost(1.03), "hyper, 32 at once, bound handle, `NoReplay`: instructions, of a header by hand"),
    bar("requests", "hyper-32/instructions-bound-armed", AtMost(1.1), "the same, retry armed"),
    bar("requests", "hyper-32/instructions-no-replay-of-named", AtMost(1.03), "hyper, 32 at once, by key, `NoReplay`: instructions, of a header by hand in a request that names its user"),
    bar("requests", "hyper-32/instructions-armed-of-named", AtMost(1.1), "the same, retry armed"),
    bar("requests", "hyper-32/instructions-no-replay", AtMost(1.03), "hyper, 32 at once, by key, `NoReplay`: instructions, of a header by hand in a request that names nobody"),
    bar("requests", "hyper-32/instructions-armed", AtMost(1.1), "the same, retry armed"),
    bar("store", "save-256", AtLeast(0.85), "sealed durable saves, 256 at once: throughput, of raw sled's"),
    bar("store", "load", AtMost(1.5), "a sealed load: time, of a raw get and bare open"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_that_is_reached_is_met() {
        assert!(AtMost(1.1).is_met(1.1) && !AtMost(1.1).is_met(1.101));
        assert!(AtLeast(1.8).is_met(1.8) && !AtLeast(1.8).is_met(1.799));
        assert!(!AtMost(1.0).is_met(f64::NAN) && !AtLeast(1.0).is_met(f64::NAN));
    }

    #[test]
    fn a_figure_has_one_mark() {
        for (at, bar) in BARS.iter().enumerate() {
            let same = |other: &Bar| (other.report, other.ratio) == (bar.report, bar.ratio);
            assert!(!BARS[..at].iter().any(same), "{}", bar.ratio);
        }
    }
}
