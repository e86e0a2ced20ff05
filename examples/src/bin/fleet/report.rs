//! What an instance did, on one line.

use std::error::Error;
use std::fmt;
use std::ops::AddAssign;
use std::str::FromStr;

/// Counts since the last report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Calls of the API that went well.
    pub(crate) calls: u64,
    /// Calls that did not.
    pub(crate) failed: u64,
    /// Tokens that were refreshed here.
    pub(crate) exchanges: u64,
    /// Refreshes that another instance was at first.
    pub(crate) lost_races: u64,
    /// Tokens that another instance had refreshed.
    pub(crate) adopted: u64,
    /// Callers who had to wait for a token.
    pub(crate) waits: u64,
}

impl Report {
    /// Above what is displayed.
    pub(crate) const HEAD: &'static str =
        "   s     calls  failed  exchanges  lost races  adopted  waits";

    fn fields(&mut self) -> [&mut u64; 6] {
        [
            &mut self.calls,
            &mut self.failed,
            &mut self.exchanges,
            &mut self.lost_races,
            &mut self.adopted,
            &mut self.waits,
        ]
    }

    /// As one line, to be parsed again.
    pub(crate) fn line(mut self) -> String {
        let fields = self.fields().map(|field| field.to_string());
        fields.join(" ")
    }
}

impl FromStr for Report {
    type Err = Box<dyn Error>;

    fn from_str(line: &str) -> Result<Self, Self::Err> {
        let mut report = Self::default();
        let mut words = line.split(' ');
        for field in report.fields() {
            *field = words.next().ok_or("a report is cut off")?.parse()?;
        }
        Ok(report)
    }
}

impl AddAssign for Report {
    fn add_assign(&mut self, mut other: Self) {
        for (field, more) in self.fields().into_iter().zip(other.fields()) {
            *field += *more;
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            calls,
            failed,
            exchanges,
            lost_races,
            adopted,
            waits,
        } = self;
        write!(
            f,
            "{calls:>8}  {failed:>6}  {exchanges:>9}  {lost_races:>10}  {adopted:>7}  {waits:>5}"
        )
    }
}
