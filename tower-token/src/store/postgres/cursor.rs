//! A place among the changes: a snapshot, and of which life of which server.
//!
//! No counter would do: one that is drawn before a commit passes over who commits later.

use crate::store::contract::Cursor;

/// A snapshot lists the transactions that were under way: as many as a server has connections,
/// at most.
const MAX_LEN: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// When the server was started, in microseconds: after a failover it is another.
    pub(super) started: i64,
    /// Drawn anew after a crash, in which numbers of transactions may be lost and used again.
    pub(super) era: i64,
    /// As `pg_snapshot` is written: which transactions it shows.
    pub(super) seen: String,
}

impl Place {
    pub(super) fn parse(cursor: &Cursor) -> Option<Self> {
        let text = std::str::from_utf8(cursor.as_bytes()).ok()?;
        let (started, rest) = text.split_once(' ')?;
        let (era, seen) = rest.split_once(' ')?;
        let place = Self {
            started: started.parse().ok()?,
            era: era.parse().ok()?,
            seen: seen.to_owned(),
        };
        place.is_valid().then_some(place)
    }

    pub(super) fn cursor(&self) -> Cursor {
        let Self { started, era, seen } = self;
        Cursor::new(format!("{started} {era} {seen}"))
    }

    /// Whether changes since `self` can be told at `now`.
    pub(super) fn is_before(&self, now: &Self) -> bool {
        let is_past =
            end(&self.seen).is_some_and(|old| end(&now.seen).is_some_and(|new| old <= new));
        self.started == now.started && self.era == now.era && is_past
    }

    /// Whether the server will take it: what it refuses would look like an outage.
    fn is_valid(&self) -> bool {
        if self.seen.len() > MAX_LEN {
            return false;
        }
        let mut parts = self.seen.splitn(3, ':');
        let mut next = || parts.next();
        let (Some(min), Some(max), Some(under_way)) = (next(), next(), next()) else {
            return false;
        };
        let (Some(min), Some(max)) = (number(min), number(max)) else {
            return false;
        };
        let mut last = min;
        let mut in_order = |text| {
            let is_next = number(text).is_some_and(|id| id >= last && id < max);
            last = number(text).unwrap_or(last);
            is_next
        };
        min <= max && (under_way.is_empty() || under_way.split(',').all(&mut in_order))
    }
}

fn end(seen: &str) -> Option<u64> {
    number(seen.split(':').nth(1)?)
}

/// A transaction's number, as it is written: without a sign, and none that nobody has.
fn number(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|digit| digit.is_ascii_digit());
    let number: u64 = text.parse().ok()?;
    (is_plain && number & u64::from(u32::MAX) > 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place(text: &str) -> Option<Place> {
        Place::parse(&Cursor::new(text.as_bytes().to_vec()))
    }

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        for seen in ["795:795:", "10:20:10", "10:20:10,15,19"] {
            let before = Place {
                started: 1_700_000_000_000_000,
                era: -7,
                seen: seen.to_owned(),
            };
            assert_eq!(Place::parse(&before.cursor()), Some(before));
        }
    }

    #[test]
    fn what_the_server_would_refuse_is_no_cursor() {
        for text in [
            "",
            "1 2",
            "1 2 ",
            "1 2 3",
            "1 2 10:20",
            "1 2 20:10:",
            "1 2 0:10:",
            "1 2 10:4294967296:",
            "1 2 10:20:9",
            "1 2 10:20:20",
            "1 2 10:20:15,12",
            "1 2 10:20:12,",
            "1 2 +10:20:",
            "1 2 10:20:12:13",
            "1 2 10:99999999999999999999:",
            "1 2 10:20: ",
            "x 2 10:20:",
            "1 x 10:20:",
        ] {
            assert_eq!(place(text), None, "{text}");
        }
    }

    #[test]
    fn of_another_life_or_of_the_future_is_not_before() {
        let now = place("1 2 90:100:95").unwrap();
        for (text, before) in [
            ("1 2 90:100:95", true),
            ("1 2 50:60:", true),
            ("1 2 90:101:95", false),
            ("2 2 50:60:", false),
            ("1 3 50:60:", false),
        ] {
            assert_eq!(place(text).unwrap().is_before(&now), before, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(bytes: Vec<u8>) {
            if let Some(place) = Place::parse(&Cursor::new(bytes)) {
                prop_assert_eq!(Place::parse(&place.cursor()), Some(place));
            }
        }

        #[test]
        fn nearly_cursors_are_not_too_odd(text in "[0-9]{1,3} [0-9]{1,3} [0-9:,]{0,20}") {
            if let Some(place) = place(&text) {
                prop_assert!(place.is_before(&place));
                prop_assert_eq!(Place::parse(&place.cursor()), Some(place));
            }
        }
    }
}
