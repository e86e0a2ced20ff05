//! What is measured of one way to put a token into a request: itself, and the floor below it.

use std::fmt;

use crate::BoxError;

/// Sends so many requests, one after the other.
pub type Run = Box<dyn FnMut(usize) -> Result<(), BoxError>>;

/// A case: with a token, and without.
pub struct HotCase {
    /// The same requests by the same kind of client, without a token.
    pub floor: Run,
    /// With it.
    pub send: Run,
}

impl fmt::Debug for HotCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HotCase").finish_non_exhaustive()
    }
}

/// How a case is made, when its turn comes.
#[derive(Debug)]
pub struct Maker {
    /// What tables call it.
    pub name: &'static str,
    /// Of the token, in bytes.
    pub token_len: usize,
    /// Makes it, with a token of so many bytes.
    pub(super) make: fn(usize) -> Result<HotCase, BoxError>,
}

impl Maker {
    /// What it is called on the command line and in ratios.
    pub fn id(&self) -> String {
        let len = self.token_len;
        let name = self
            .name
            .to_lowercase()
            .replace(", ", "-")
            .replace(' ', "-");
        format!("{name}-{len}")
    }

    /// Ready to send.
    pub fn case(&self) -> Result<HotCase, BoxError> {
        (self.make)(self.token_len)
    }
}

/// One half of one of `makers` and nothing else, for callgrind: `ID/floor` or `ID/send`.
pub fn half(
    mut makers: impl Iterator<Item = Maker>,
    case: &str,
    times: usize,
) -> Result<(), BoxError> {
    let (id, half) = case.rsplit_once('/').ok_or("a half is named")?;
    let maker = makers.find(|maker| maker.id() == id);
    let HotCase {
        mut floor,
        mut send,
    } = maker.ok_or("there is no such case")?.case()?;
    match half {
        "floor" => floor(times),
        _ => send(times),
    }
}

/// How often one request allocates.
pub fn allocated(run: &mut Run) -> Result<f64, BoxError> {
    const TIMES: usize = 1_000;
    run(10)?;
    let mut done = Ok(());
    let counted = allocation_counter::measure(|| done = run(TIMES));
    done.map(|()| counted.count_total as f64 / TIMES as f64)
}
