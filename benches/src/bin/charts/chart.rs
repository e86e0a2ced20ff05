//! Which charts there are.

use benches::{Report, Table};

use crate::number::value;

/// A chart of one table.
pub struct Chart {
    /// The command that measures it.
    pub report: &'static str,
    /// Of its file.
    pub id: &'static str,
    pub title: &'static str,
    /// What the bars are.
    pub unit: &'static str,
    /// The table's first heading begins with this.
    pub table: &'static str,
    /// The rows whose names begin with this; all with nothing.
    pub rows: &'static str,
    /// A bar for each in every row.
    pub columns: &'static [&'static str],
    /// The bars whose names begin with one of these are ours.
    pub ours: &'static [&'static str],
    pub order: Order,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Order {
    AsPrinted,
    SmallestFirst,
    LargestFirst,
}

/// All of them, in the order of the page.
pub const CHARTS: &[Chart] = &[
    Chart {
        report: "hot-path",
        id: "hot-path",
        title: "A request that gets a token that is there",
        unit: "nanoseconds over the same request without a token, token of 64 B; less is better",
        table: "token of 64 B",
        rows: "",
        columns: &["ns"],
        ours: &["by key", "bound"],
        order: Order::SmallestFirst,
    },
    Chart {
        report: "expiry",
        id: "expiry-exchanges",
        title: "A token falls due under 1,000 callers: exchanges",
        unit: "asked for at the token service; less is better",
        table: "due-healthy, 1000 callers",
        rows: "",
        columns: &["exchanges"],
        ours: &["tower-token"],
        order: Order::SmallestFirst,
    },
    Chart {
        report: "expiry",
        id: "expiry-latency",
        title: "A token falls due under 1,000 callers: waiting",
        unit: "milliseconds added to the callers' p99, token service of 50 ms; less is better",
        table: "due-healthy, 1000 callers",
        rows: "",
        columns: &["added p99 ms"],
        ours: &["tower-token"],
        order: Order::SmallestFirst,
    },
    Chart {
        report: "expiry",
        id: "expiry-hanging",
        title: "A token falls due under 1,000 callers, and the token service hangs",
        unit: "callers served; more is better",
        table: "due-hanging, 1000 callers",
        rows: "",
        columns: &["served"],
        ours: &["tower-token"],
        order: Order::LargestFirst,
    },
    Chart {
        report: "scale",
        id: "scale",
        title: "A request that gets its token, one of 1,000,000 grants",
        unit: "nanoseconds over the same request without a token, users at random; less is better",
        table: "1000000 grants, uniform",
        rows: "",
        columns: &["ns"],
        ours: &["tower-token"],
        order: Order::SmallestFirst,
    },
    Chart {
        report: "requests",
        id: "requests-hyper",
        title: "A request by hyper on loopback, 32 at once",
        unit: "user-space instructions of the client; less is better",
        table: "hyper",
        rows: "",
        columns: &["instructions"],
        ours: &["no replay", "armed", "bound"],
        order: Order::AsPrinted,
    },
    Chart {
        report: "requests",
        id: "requests-reqwest",
        title: "A request by reqwest on loopback, 32 at once",
        unit: "user-space instructions of the client; less is better",
        table: "reqwest",
        rows: "",
        columns: &["instructions"],
        ours: &["no replay", "armed"],
        order: Order::AsPrinted,
    },
    Chart {
        report: "store",
        id: "store",
        title: "Durable saves, 256 at once",
        unit: "rows a second; more is better",
        table: "durable saves a second",
        rows: "256 at once",
        columns: &["raw sled", "sealed"],
        ours: &["sealed"],
        order: Order::AsPrinted,
    },
];

/// What a bar shows.
#[derive(Debug, Clone)]
pub struct Figure {
    pub name: String,
    /// As it stands in the table.
    pub cell: String,
    /// Nothing, if that is a word.
    pub value: f64,
    pub is_ours: bool,
}

impl Chart {
    pub fn file(&self) -> String {
        format!("{}.svg", self.id)
    }

    /// Whether it is drawn from this table.
    pub fn is_of(&self, report: &str, table: &Table) -> bool {
        self.report == report
            && table
                .head
                .first()
                .is_some_and(|head| head.starts_with(self.table))
    }

    /// What is drawn, if it was measured.
    pub fn figures(&self, report: &Report) -> Option<Vec<Figure>> {
        let mut tables = report.tables.iter();
        let table = tables.find(|table| self.is_of(&report.name, table))?;
        let rows = table
            .rows
            .iter()
            .filter(|row| row[0].starts_with(self.rows));
        let rows: Vec<_> = rows.collect();
        let mut figures = Vec::new();
        for row in &rows {
            for &column in self.columns {
                let at = table.head.iter().position(|head| head == column)?;
                let name = match (self.columns, rows.len()) {
                    ([_], _) => row[0].clone(),
                    (_, 1) => column.to_owned(),
                    _ => format!("{column}, {}", row[0]),
                };
                figures.push(Figure {
                    is_ours: self.ours.iter().any(|ours| name.starts_with(ours)),
                    value: value(&row[at]).unwrap_or(0.0),
                    cell: row[at].clone(),
                    name,
                });
            }
        }
        match self.order {
            Order::AsPrinted => {}
            Order::SmallestFirst => figures.sort_by(|a, b| a.value.total_cmp(&b.value)),
            Order::LargestFirst => figures.sort_by(|a, b| b.value.total_cmp(&a.value)),
        }
        (!figures.is_empty()).then_some(figures)
    }
}
