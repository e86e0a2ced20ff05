//! A committed figure, and whether another is worse.

use std::path::PathBuf;

use benches::BoxError;

/// Of one request, over its floor.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    pub id: String,
    pub instructions: f64,
    /// Of the instructions.
    pub atomics: f64,
    pub allocations: f64,
}

/// What is counted by whole numbers varies by less: tables grow now and then.
const HARDLY: f64 = 0.2;

impl Figure {
    /// What is worse than it was, if anything is. What was never committed is.
    pub fn worse_than(
        &self,
        committed: &[Self],
        by_instructions: bool,
        tolerance: f64,
    ) -> Option<String> {
        let Self {
            id,
            instructions,
            atomics,
            allocations,
        } = self;
        let Some(then) = committed.iter().find(|then| then.id == *id) else {
            return Some(format!("{id} has no figure"));
        };
        if *allocations > then.allocations + HARDLY {
            let were = then.allocations;
            return Some(format!(
                "{id} allocates {allocations:.2} times, and did {were:.2}"
            ));
        }
        if by_instructions && *atomics > then.atomics + HARDLY {
            let were = then.atomics;
            return Some(format!(
                "{id} takes {atomics:.2} atomic instructions, as a lock does, and took {were:.2}"
            ));
        }
        let most = then.instructions * (1.0 + tolerance);
        (by_instructions && *instructions > most)
            .then(|| format!("{id} takes {instructions:.0} instructions, and may {most:.0}"))
    }
}

fn file() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/bin/guard/figures.txt"
    ))
}

/// By which compiler, and the figures.
pub fn read() -> Result<(String, Vec<Figure>), BoxError> {
    parse(&std::fs::read_to_string(file())?)
}

fn parse(text: &str) -> Result<(String, Vec<Figure>), BoxError> {
    let mut lines = text.lines();
    let compiler = lines.next().ok_or("the figures are of no compiler")?;
    let figure = |line: &str| {
        let mut words = line.split_whitespace();
        let mut word = || {
            words
                .next()
                .ok_or(format!("a figure is missing in {line:?}"))
        };
        Ok(Figure {
            id: word()?.to_owned(),
            instructions: word()?.parse()?,
            atomics: word()?.parse()?,
            allocations: word()?.parse()?,
        })
    };
    let figures: Result<_, BoxError> = lines.map(figure).collect();
    Ok((compiler.to_owned(), figures?))
}

/// From now on these are what nothing may be worse than.
pub fn write(compiler: &str, figures: &[Figure]) -> Result<(), BoxError> {
    Ok(std::fs::write(file(), show(compiler, figures))?)
}

fn show(compiler: &str, figures: &[Figure]) -> String {
    let line = |figure: &Figure| {
        let Figure {
            id,
            instructions,
            atomics,
            allocations,
        } = figure;
        format!("{id} {instructions:.0} {atomics:.2} {allocations:.2}\n")
    };
    let lines: String = figures.iter().map(line).collect();
    format!("{compiler}\n{lines}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(instructions: f64, allocations: f64) -> Figure {
        Figure {
            id: "by-key-64".to_owned(),
            instructions,
            atomics: 8.0,
            allocations,
        }
    }

    #[test]
    fn more_is_worse_and_less_is_not() {
        let then = [figure(1_000.0, 2.0)];
        let worse = |now: Figure| now.worse_than(&then, true, 0.03).is_some();
        assert!(!worse(figure(1_030.0, 2.0)) && !worse(figure(10.0, 0.0)));
        assert!(worse(figure(1_031.0, 2.0)) && worse(figure(1_000.0, 3.0)));
        assert!(
            figure(9_999.0, 2.0)
                .worse_than(&then, false, 0.03)
                .is_none()
        );
        assert!(figure(1.0, 1.0).worse_than(&[], true, 0.03).is_some());
        let locked = Figure {
            atomics: 10.0,
            ..figure(1_000.0, 2.0)
        };
        assert!(worse(locked));
    }

    #[test]
    fn what_is_written_is_read() {
        let figures = vec![figure(1_000.0, 2.0), figure(31.0, 0.0)];
        let (compiler, read) = parse(&show("1.95.0 x", &figures)).unwrap_or_default();
        assert_eq!((compiler.as_str(), read), ("1.95.0 x", figures));
        assert!(parse("1.95.0 x\nby-key-64 12 8\n").is_err());
    }
}
