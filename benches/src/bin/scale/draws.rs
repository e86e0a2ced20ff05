//! Whose request comes next: drawn beforehand, and in every run the same.

/// How users share the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Users {
    /// Everyone has as many.
    Uniform,
    /// The n-th most busy has one n-th of what the first has.
    Zipf,
}

impl Users {
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipf => "zipf",
        }
    }

    /// So many draws of `users`; another `seed` draws others.
    pub fn draws(self, users: usize, seed: u64, draws: usize) -> Vec<usize> {
        let mut state = seed;
        let below_one = || (next(&mut state) >> 11) as f64 / (1_u64 << 53) as f64;
        let below_one = std::iter::repeat_with(below_one).take(draws);
        match self {
            Self::Uniform => below_one.map(|at| (at * users as f64) as usize).collect(),
            Self::Zipf => {
                let mut sum = 0.0;
                let shares = (1..=users).map(|rank| {
                    sum += 1.0 / rank as f64;
                    sum
                });
                let up_to: Vec<f64> = shares.collect();
                let rank = |at| up_to.partition_point(|share| *share <= at * sum);
                below_one
                    .map(|at| scattered(rank(at).min(users - 1), users))
                    .collect()
            }
        }
    }
}

/// Who is busy is no neighbour in memory of who is nearly as busy: a prime that divides no number
/// of users that is a power of ten.
fn scattered(rank: usize, users: usize) -> usize {
    rank * 7_919 % users
}

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bits = *state;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
