//! Our own rows of `hot-path`, for whoever changes the layer: criterion says by how much.
//!
//! `cargo bench --manifest-path benches/Cargo.toml --no-default-features --bench hot_path`

#![expect(clippy::disallowed_methods, reason = "time is what is measured")]

use std::time::Instant;

use benches::BoxError;
use benches::hot_path::{HotCase, LENGTHS, Run, ours};
use criterion::Criterion;

fn main() -> Result<(), BoxError> {
    let mut criterion = Criterion::default().configure_from_args();
    for maker in LENGTHS.into_iter().flat_map(ours) {
        let HotCase {
            mut floor,
            mut send,
        } = maker.case()?;
        // Whatever fails fails at once, and is told here.
        floor(1)?;
        send(1)?;
        let id = maker.id();
        bench(&mut criterion, &format!("{id}/floor"), &mut floor);
        bench(&mut criterion, &format!("{id}/send"), &mut send);
    }
    criterion.final_summary();
    Ok(())
}

fn bench(criterion: &mut Criterion, name: &str, run: &mut Run) {
    criterion.bench_function(name, |bencher| {
        bencher.iter_custom(|times| {
            let begin = Instant::now();
            run(times as usize).expect("it was sent before");
            begin.elapsed()
        });
    });
}
