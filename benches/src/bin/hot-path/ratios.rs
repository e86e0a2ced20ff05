//! What is promised of the figures, as numbers that scripts read.

use benches::hot_path::LENGTHS;
use benches::{BoxError, Report};

use crate::figures::Figures;

const FLOOR: &str = "static header";
const OURS: &str = "by key";
const ARMED: &str = "by key, armed";
/// The only peer that brings a retry of its own.
const ARMED_PEER: &str = "cf-gears AutoRefresh";

/// Our rows against the static header, the peers against our row by key.
pub fn noted(figures: &[Figures<'_>], report: &mut Report) -> Result<(), BoxError> {
    let of = |name, len| {
        let mut rows = figures.iter();
        rows.find(|row| row.name() == name && row.len() == len)
    };
    let ours = |name, len| of(name, len).ok_or("a row of ours is missing");
    for len in LENGTHS {
        let (floor, key) = (ours(FLOOR, len)?, ours(OURS, len)?);
        let is_peer = |row: &&Figures<'_>| {
            let mut all = benches::hot_path::peers(len);
            row.len() == len && all.any(|peer| peer.name == row.name())
        };
        let (peers, rest): (Vec<_>, Vec<_>) = figures
            .iter()
            .filter(|row| row.len() == len)
            .partition(is_peer);
        for row in rest {
            let id = row.id();
            report.ratio(format!("time/{id}"), row.ns / floor.ns);
            let instructions = row.instructions / floor.instructions;
            report.ratio(format!("instructions/{id}"), instructions);
            let more = row.allocations - floor.allocations;
            report.ratio(format!("more-allocations/{id}"), more);
        }
        for row in peers {
            let id = row.id();
            report.ratio(format!("peer/{id}"), row.ns / key.ns);
            let instructions = row.instructions / key.instructions;
            report.ratio(format!("peer-instructions/{id}"), instructions);
        }
        if let Some(peer) = of(ARMED_PEER, len) {
            let armed = ours(ARMED, len)?;
            report.ratio(format!("armed/of-cf-gears-{len}"), armed.ns / peer.ns);
            let instructions = armed.instructions / peer.instructions;
            report.ratio(
                format!("armed-instructions/of-cf-gears-{len}"),
                instructions,
            );
        }
    }
    let [short, long] = LENGTHS.map(|len| ours(OURS, len));
    let (short, long) = (short?, long?);
    report.ratio("length/by-key", long.ns / short.ns);
    let instructions = long.instructions / short.instructions;
    report.ratio("length-instructions/by-key", instructions);
    Ok(())
}
