//! What each case costs over its floor.

use benches::hot_path::{HotCase, Maker, allocated};
use benches::{BoxError, Case, Effort, Measured, instructions, measure};

/// Requests in a round.
const REQUESTS: usize = 20_000;

/// Of one case, for one request, over the same without a token.
pub struct Figures<'a> {
    maker: &'a Maker,
    pub ns: f64,
    /// Not a number where they were not counted.
    pub instructions: f64,
    pub allocations: f64,
}

impl Figures<'_> {
    pub fn name(&self) -> &'static str {
        self.maker.name
    }

    pub fn id(&self) -> String {
        self.maker.id()
    }

    pub fn len(&self) -> usize {
        self.maker.token_len
    }
}

/// Of all `makers`, in their order.
pub fn figures<'a>(effort: &Effort, makers: &'a [Maker]) -> Result<Vec<Figures<'a>>, BoxError> {
    let requests = effort.of(REQUESTS);
    let mut cases = Vec::new();
    let mut allocations = Vec::new();
    for maker in makers {
        let id = maker.id();
        let made = maker.case().map_err(|error| format!("{id}: {error}"))?;
        let HotCase {
            mut floor,
            mut send,
        } = made;
        allocations.push(allocated(&mut send)? - allocated(&mut floor)?);
        cases.push(Case::new(format!("{id}/floor"), move || floor(requests)));
        cases.push(Case::new(format!("{id}/send"), move || send(requests)));
    }
    let measured = measure(effort, cases)?;
    let ns = |pair: &[Measured]| {
        (pair[1].median.as_secs_f64() - pair[0].median.as_secs_f64()) / requests as f64 * 1e9
    };
    let rows = makers.iter().zip(measured.chunks(2)).zip(allocations);
    let row = |(at, ((maker, pair), allocations)): (usize, ((&'a Maker, &[Measured]), f64))| {
        // To count is slow, and to have counted one shows that it can be done.
        let count = |half: &Measured| match effort.share >= 1.0 || at == 0 {
            true => instructions::each(&half.name).map(|counted| counted.instructions),
            false => Ok(f64::NAN),
        };
        Ok(Figures {
            maker,
            ns: ns(pair),
            instructions: count(&pair[1])? - count(&pair[0])?,
            allocations,
        })
    };
    rows.enumerate().map(row).collect()
}
