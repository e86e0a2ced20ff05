//! What is said of all of it: a table for each scene, and the bars of ours.

use std::time::Duration;

use benches::peer::Peer as _;
use benches::{BoxError, Report};

use crate::bare_wait::BareWait;
use crate::callers::Answers;
use crate::contenders::{Contender, Role};
use crate::ours::WAIT_DEADLINE;
use crate::plan::{Extent, Kind, LASTING_CALLERS, Played, SERVICE, Trouble};
use crate::scene::Outcome;

/// All rounds of one scene with one contender: of counts the worst, of times the median.
struct Row {
    exchanges: u64,
    worst: Answers,
    p50: Duration,
    p99: Duration,
    last: Duration,
}

impl Row {
    fn of(outcomes: &[&Outcome]) -> Option<Self> {
        let worst = outcomes.iter().min_by_key(|one| one.answers.served)?;
        let median = |part| {
            let mut times: Vec<_> = outcomes
                .iter()
                .map(|one| one.answers.percentile(part))
                .collect();
            times.sort_unstable();
            times.get(times.len() / 2).copied().unwrap_or_default()
        };
        Some(Self {
            exchanges: outcomes.iter().map(|one| one.exchanges).max()?,
            worst: worst.answers.clone(),
            p50: median(0.5),
            p99: median(0.99),
            last: median(1.0),
        })
    }

    fn share_served(&self) -> f64 {
        self.worst.served as f64 / self.worst.requests() as f64
    }
}

/// Finds a row by scene, size of the crowd, and contender.
pub struct Results<'a> {
    played: &'a [Played],
    contenders: &'a [Contender],
    extent: &'a Extent,
}

impl<'a> Results<'a> {
    /// An error if one of ours could not be played at all.
    pub fn new(
        played: &'a [Played],
        contenders: &'a [Contender],
        extent: &'a Extent,
    ) -> Result<Self, BoxError> {
        for one in played {
            if let Err(error) = &one.outcome {
                let what = format!("{}, {}: {error}", one.name, one.kind.name());
                let is_ours = |by: &Contender| by.role == Role::Ours && by.name == one.name;
                if contenders.iter().any(is_ours) {
                    return Err(what.into());
                }
                eprintln!("{what}");
            }
        }
        Ok(Self {
            played,
            contenders,
            extent,
        })
    }

    fn row(&self, kind: Kind, number: usize, name: &str) -> Option<Row> {
        let of = |one: &&Played| one.kind == kind && one.number == number && one.name == name;
        let outcomes: Vec<_> = self
            .played
            .iter()
            .filter(of)
            .filter_map(|one| one.outcome.as_ref().ok())
            .collect();
        Row::of(&outcomes)
    }

    fn rows(&self, kind: Kind, number: usize) -> impl Iterator<Item = (&'a Contender, Row)> {
        self.contenders.iter().filter_map(move |contender| {
            let row = self.row(kind, number, contender.name)?;
            Some((contender, row))
        })
    }

    /// All tables, and then the figures that have bars.
    pub fn report(&self, report: &mut Report) {
        for &number in &self.extent.crowds {
            self.floors(number, report);
            for kind in Kind::of_crowds() {
                if kind != Kind::Fresh {
                    let about = format!("{}, {number} callers", kind.name());
                    self.table(kind, number, &about, report);
                    self.bars(kind, number, report);
                }
            }
        }
        let secs = self.extent.lasting.as_secs_f64();
        let about = format!("exchange of 150 ms, callers give up after 100 ms, {secs} s");
        self.table(Kind::GiveUp, LASTING_CALLERS, &about, report);
        let about = format!("due, callers keep coming while it fails, {secs} s");
        self.table(Kind::Backoff, LASTING_CALLERS, &about, report);
        self.lasting_bars(report);
    }

    fn floors(&self, number: usize, report: &mut Report) {
        let cells = |(contender, row): (&Contender, Row)| {
            let us = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e6);
            vec![contender.name.to_owned(), us(row.p50), us(row.p99)]
        };
        let rows = self.rows(Kind::Fresh, number).map(cells).collect();
        let about = format!("fresh, {number} callers");
        report.table(&[&about, "p50 us", "p99 us"], rows);
    }

    fn table(&self, kind: Kind, number: usize, about: &str, report: &mut Report) {
        let cells = |(contender, row): (&Contender, Row)| {
            let floor = self.row(Kind::Fresh, number, contender.name);
            let (p50, p99) = floor.map_or_else(Default::default, |row| (row.p50, row.p99));
            let ms = |time: Duration, floor: Duration| match time >= self.extent.patience {
                true => format!("> {}", self.extent.patience.as_millis()),
                false => format!("{:.2}", over(time, floor)),
            };
            vec![
                contender.name.to_owned(),
                row.exchanges.to_string(),
                row.worst.served.to_string(),
                row.worst.failed.to_string(),
                row.worst.timed_out.to_string(),
                ms(row.p50, p50),
                ms(row.p99, p99),
            ]
        };
        let rows: Vec<_> = self.rows(kind, number).map(cells).collect();
        if rows.is_empty() {
            return;
        }
        let head = [
            about,
            "exchanges",
            "served",
            "failed",
            "timed out",
            "added p50 ms",
            "added p99 ms",
        ];
        report.table(&head, rows);
    }

    fn bars(&self, kind: Kind, number: usize, report: &mut Report) {
        for (contender, row) in self
            .rows(kind, number)
            .filter(|(by, _)| by.role == Role::Ours)
        {
            let floor = self.row(Kind::Fresh, number, contender.name);
            let floor = floor.map_or(Duration::ZERO, |row| row.p99);
            let id = format!("{}-{number}/{}", kind.name(), id(contender.name));
            let mut ratio = |what: &str, value| report.ratio(format!("{id}/{what}"), value);
            ratio("exchanges", row.exchanges as f64);
            match kind {
                Kind::Due(Trouble::None) => ratio("added-p99-ms", over(row.p99, floor)),
                Kind::Due(_) => ratio("served", row.share_served()),
                Kind::Dead(Trouble::None) => {
                    ratio("served", row.share_served());
                    ratio("p99-ms-over-service", over(row.p99, SERVICE));
                    if let Some(bare) = self.row(kind, number, BareWait::NAME) {
                        ratio("p99-ms-over-bare-wait", over(row.p99, bare.p99));
                    }
                }
                Kind::Dead(Trouble::Failing) => {
                    ratio("last-ms-over-service", over(row.last, SERVICE));
                }
                Kind::Dead(Trouble::Hanging) => {
                    ratio("last-ms-over-deadline", over(row.last, WAIT_DEADLINE));
                }
                Kind::Fresh | Kind::GiveUp | Kind::Backoff => {}
            }
        }
    }

    fn lasting_bars(&self, report: &mut Report) {
        for (kind, allowed) in [
            (Kind::GiveUp, 1),
            (Kind::Backoff, within_backoff(self.extent.lasting)),
        ] {
            let rows = self.rows(kind, LASTING_CALLERS);
            for (contender, row) in rows.filter(|(by, _)| by.role == Role::Ours) {
                let id = format!("{}/{}", kind.name(), id(contender.name));
                report.ratio(format!("{id}/served"), row.share_served());
                let of_allowed = row.exchanges as f64 / f64::from(allowed);
                report.ratio(format!("{id}/exchanges-of-allowed"), of_allowed);
            }
        }
    }
}

/// In milliseconds; below it is negative.
fn over(time: Duration, floor: Duration) -> f64 {
    (time.as_secs_f64() - floor.as_secs_f64()) * 1e3
}

fn id(name: &str) -> String {
    name.replace(", ", "-")
}

/// How many exchanges may begin in so long a time, each of which fails after [`SERVICE`]: a
/// second apart at first, then twice as long each time, and up to a quarter less.
fn within_backoff(time: Duration) -> u32 {
    let (mut exchanges, mut begins) = (0, Duration::ZERO);
    while begins < time {
        begins += SERVICE + Duration::from_millis(750) * (1 << exchanges);
        exchanges += 1;
    }
    exchanges
}
