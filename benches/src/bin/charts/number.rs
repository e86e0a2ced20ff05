//! Cells of tables, as numbers and as people read them.

/// What a cell amounts to: `> 8000` is at least that much, a word is nothing.
pub fn value(cell: &str) -> Option<f64> {
    cell.trim_start_matches(['>', ' ']).parse().ok()
}

/// With a comma before every three digits of the whole part, and no sign before nothing at all.
pub fn grouped(cell: &str) -> String {
    let cell = match (cell.strip_prefix('-'), value(cell)) {
        (Some(unsigned), Some(0.0)) => unsigned,
        _ => cell,
    };
    let (whole, fraction) = match cell.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (cell, None),
    };
    let digits = whole.chars().filter(char::is_ascii_digit).count();
    let mut text = String::new();
    let mut left = digits;
    for char in whole.chars() {
        if char.is_ascii_digit() {
            if left % 3 == 0 && left != digits {
                text.push(',');
            }
            left -= 1;
        }
        text.push(char);
    }
    if let Some(fraction) = fraction {
        text.push('.');
        text.push_str(fraction);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        for (cell, read) in [
            ("0", "0"),
            ("999", "999"),
            ("1000", "1,000"),
            ("29843", "29,843"),
            ("1000000", "1,000,000"),
            ("-1234.5678", "-1,234.5678"),
            ("> 8000", "> 8,000"),
            ("-0.00", "0.00"),
            ("-0.01", "-0.01"),
            ("-", "-"),
        ] {
            assert_eq!(grouped(cell), read);
        }
    }

    #[test]
    fn a_bound_is_a_number_and_a_word_is_none() {
        assert_eq!(value("12.5"), Some(12.5));
        assert_eq!(value("> 8000"), Some(8_000.0));
        assert_eq!(value("-0.2"), Some(-0.2));
        assert_eq!(value("none"), None);
    }
}
