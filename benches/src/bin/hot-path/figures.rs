//! What each case costs over its floor.

use benches::hot_path::{HotCase, Maker, allocated};
use benches::{BoxError, Effort, instructions};

use crate::times;

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
    let times = times::of_all(effort, makers)?;
    let row = |(at, (maker, ns)): (usize, (&'a Maker, f64))| {
        let HotCase {
            mut floor,
            mut send,
        } = maker.case()?;
        // To count is slow, and to have counted one shows that it can be done.
        let count = |half: &str| match effort.share >= 1.0 || at == 0 {
            true => instructions::each(&format!("{}/{half}", maker.id())),
            false => Ok(instructions::Counted::NONE),
        };
        Ok(Figures {
            maker,
            ns,
            instructions: count("send")?.instructions - count("floor")?.instructions,
            allocations: allocated(&mut send)? - allocated(&mut floor)?,
        })
    };
    makers.iter().zip(times).enumerate().map(row).collect()
}
