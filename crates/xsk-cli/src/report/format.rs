//! Numbers for people.

/// Three significant digits with a prefix, as in `512 k`, `1.25 M`; at most 999.
pub(crate) fn si(value: f64) -> String {
    let (mut scaled, mut prefix) = (value, "");
    for next in ["k", "M", "G", "T"] {
        // 999.5 would round to 1000.
        if scaled < 999.5 {
            break;
        }
        scaled /= 1000.0;
        prefix = next;
    }
    let digits = match scaled {
        _ if prefix.is_empty() && scaled.fract() == 0.0 => 0,
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    if prefix.is_empty() { format!("{scaled:.digits$}") } else { format!("{scaled:.digits$} {prefix}") }
}

/// As [`si`] with a unit, as in `512 kpps`, `17 pps`.
pub(crate) fn si_unit(value: f64, unit: &str) -> String {
    let text = si(value);
    let space = if text.contains(' ') { "" } else { " " };
    format!("{text}{space}{unit}")
}

/// Thousands apart, as in `1,234,567`.
pub(crate) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Nanoseconds as a time, as in `12.3 µs`.
pub(crate) fn nanoseconds(value: u64) -> String {
    match value {
        0..1_000 => format!("{value} ns"),
        1_000..1_000_000 => format!("{:.1} µs", value as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} ms", value as f64 / 1e6),
        _ => format!("{:.2} s", value as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_prefix() {
        for (value, text) in [
            (0.0, "0"),
            (7.0, "7"),
            (1.5, "1.50"),
            (999.0, "999"),
            (999.7, "1.00 k"),
            (1234.0, "1.23 k"),
            (51_234.0, "51.2 k"),
            (999_700.0, "1.00 M"),
            (1.25e9, "1.25 G"),
        ] {
            assert_eq!(si(value), text);
        }
    }

    #[test]
    fn units() {
        assert_eq!(si_unit(17.0, "pps"), "17 pps");
        assert_eq!(si_unit(17_000.0, "pps"), "17.0 kpps");
    }

    #[test]
    fn groups_of_three() {
        for (value, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(value), text);
        }
    }

    #[test]
    fn times() {
        for (value, text) in
            [(5, "5 ns"), (12_340, "12.3 µs"), (3_456_000, "3.46 ms"), (2_000_000_000, "2.00 s")]
        {
            assert_eq!(nanoseconds(value), text);
        }
    }
}
