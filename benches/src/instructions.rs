//! Instructions by callgrind: the same for the same program, whatever else the machine does.

use std::process::Command;

use crate::BoxError;

/// What the program is started with to do something so many times and nothing else.
const CHILD: &str = "--times";

/// What the program is to do, if it runs below callgrind: the case, and how often.
pub fn child() -> Option<(String, usize)> {
    let args: Vec<String> = std::env::args().collect();
    let [_, flag, times, case] = args.as_slice() else {
        return None;
    };
    (flag == CHILD).then_some(())?;
    Some((case.clone(), times.parse().ok()?))
}

/// What one repetition takes.
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    /// All of them.
    pub instructions: f64,
    /// Those that are atomic: what a lock is made of, and a count of references.
    pub atomics: f64,
}

impl Counted {
    /// Where nothing was counted.
    pub const NONE: Self = Self {
        instructions: f64::NAN,
        atomics: f64::NAN,
    };
}

/// How many instructions one repetition of `case` takes in this very program: what many take more
/// than few do, divided by their number, so that what is done once drops out.
pub fn each(case: &str) -> Result<Counted, BoxError> {
    between(case, 2_000, 22_000)
}

/// The same, by runs of other lengths. With none for the shorter one everything counts: that is
/// enough to see it run.
pub fn between(case: &str, few: usize, many: usize) -> Result<Counted, BoxError> {
    let once = match few {
        0 => [0, 0],
        few => run(case, few)?,
    };
    let all = run(case, many)?;
    let each = |at: usize| all[at].saturating_sub(once[at]) as f64 / (many - few) as f64;
    Ok(Counted {
        instructions: each(0),
        atomics: each(1),
    })
}

fn run(case: &str, times: usize) -> Result<[u64; 2], BoxError> {
    let program = std::env::current_exe()?;
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--collect-bus=yes",
        ])
        .arg(program)
        .args([CHILD, &times.to_string(), case])
        .output()
        .map_err(|error| format!("valgrind does not start, is it installed? {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{case} failed below callgrind: {said}").into());
    }
    let collected = said.lines().find_map(|line| {
        let (_, numbers) = line.split_once("Collected : ")?;
        let mut numbers = numbers.split_whitespace().map(str::parse);
        Some([numbers.next()?.ok()?, numbers.next()?.ok()?])
    });
    Ok(collected.ok_or("callgrind counted nothing")?)
}
