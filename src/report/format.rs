//! Numbers as people read them. The space before a unit does not break.

const THIN: char = '\u{a0}';

/// `value` in its unit: "12.3 k", "1.10 %", "0.42 ms", "48.1 kB". See [`super::ObjectiveView::unit`].
pub fn value(unit: &str, value: f64) -> String {
    match unit {
        "%" => percent(value),
        "ms" => format!("{}{THIN}ms", significant(value)),
        "bytes" => format!("{}B", scaled(value, true)),
        _ => count(value),
    }
}

/// A fraction as a percentage: "1.10 %", "12.3 %".
pub fn percent(fraction: f64) -> String {
    let percent = fraction * 100.0;
    let digits = match percent.abs() {
        small if small < 9.995 => 2,
        large if large < 99.95 => 1,
        _ => 0,
    };
    format!("{percent:.digits$}{THIN}%")
}

/// A whole number with three significant digits: "987", "12.3 k", "1.24 M".
pub fn count(value: f64) -> String {
    scaled(value, false).trim_end().to_owned()
}

/// Seconds as a duration: "0.42 s", "12.3 s", "3 min 12 s", "2 h 5 min".
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "–".to_owned();
    }
    if seconds < 59.95 {
        return format!("{}{THIN}s", significant(seconds));
    }
    let whole = seconds.round() as u64;
    let (hours, minutes, rest) = (whole / 3600, whole / 60 % 60, whole % 60);
    match (hours, minutes, rest) {
        (0, _, 0) => format!("{minutes}{THIN}min"),
        (0, _, _) => format!("{minutes}{THIN}min{THIN}{rest}{THIN}s"),
        (_, 0, _) => format!("{hours}{THIN}h"),
        (_, _, _) => format!("{hours}{THIN}h{THIN}{minutes}{THIN}min"),
    }
}

/// Three significant digits, without an exponent where that can be read: "0.0042", "1.24", "123", "5.6e-9".
pub fn significant(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let size = value.abs();
    if !(1e-4..1e6).contains(&size) {
        return format!("{value:.1e}");
    }
    // Rounding first, so that 9.999 becomes 10.0 and not 10.00.
    let rounded: f64 = format!("{value:.2e}").parse().unwrap_or(value);
    let digits = 2 - rounded.abs().log10().floor() as i32;
    format!("{rounded:.*}", digits.max(0) as usize)
}

/// The number at an axis tick, as short as it can be: "0.5", "20", "5 k". Percentages come as percent.
pub fn tick(unit: &str, value: f64) -> String {
    let (scaled, prefix) = match unit {
        "%" | "ms" => (value, None),
        _ => prefixed(value),
    };
    let text = trimmed(scaled);
    match prefix {
        Some(prefix) => format!("{text}{THIN}{prefix}"),
        None => text,
    }
}

/// The number without trailing zeros, to four significant digits.
fn trimmed(value: f64) -> String {
    if value != 0.0 && !(1e-4..1e6).contains(&value.abs()) {
        return format!("{value:e}");
    }
    let rounded: f64 = format!("{value:.3e}").parse().unwrap_or(value);
    format!("{rounded}").replace('-', "−")
}

/// The value and the SI prefix that brings it under 1000.
fn prefixed(value: f64) -> (f64, Option<char>) {
    const PREFIXES: [(f64, char); 4] = [(1e12, 'T'), (1e9, 'G'), (1e6, 'M'), (1e3, 'k')];
    // 999.6 is written as 1.00 k, not as 1000.
    let size = value.abs() * 1.0005;
    PREFIXES
        .iter()
        .find(|(scale, _)| size >= *scale)
        .map_or((value, None), |(scale, prefix)| (value / scale, Some(*prefix)))
}

fn scaled(value: f64, unit_follows: bool) -> String {
    match prefixed(value) {
        (scaled, Some(prefix)) => format!("{}{THIN}{prefix}", significant(scaled)),
        (whole, None) if whole.fract() == 0.0 => {
            format!("{whole}{}", if unit_follows { "\u{a0}" } else { "" })
        }
        (small, None) => format!("{}{}", significant(small), if unit_follows { "\u{a0}" } else { "" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares after replacing the spaces that do not break.
    fn check(cases: &[(String, &str)]) {
        for (got, expected) in cases {
            assert_eq!(&got.replace(THIN, " "), expected);
        }
    }

    #[test]
    fn counts_have_three_digits_and_a_prefix() {
        check(&[
            (count(0.0), "0"),
            (count(987.0), "987"),
            (count(999.6), "1.00 k"),
            (count(12_345.0), "12.3 k"),
            (count(999_960.0), "1.00 M"),
            (count(1_240_000.0), "1.24 M"),
            (count(3.2e9), "3.20 G"),
        ]);
    }

    #[test]
    fn units_decide_the_form() {
        check(&[
            (value("%", 0.0105), "1.05 %"),
            (value("%", 0.099_99), "10.0 %"),
            (value("%", 1.0), "100 %"),
            (value("ms", 0.4213), "0.421 ms"),
            (value("ms", 12.0), "12.0 ms"),
            (value("bytes", 48_128.0), "48.1 kB"),
            (value("bytes", 512.0), "512 B"),
            (value("parameters", 7362.0), "7.36 k"),
        ]);
    }

    #[test]
    fn durations_change_their_unit() {
        check(&[
            (duration(0.42), "0.420 s"),
            (duration(59.99), "1 min"),
            (duration(192.0), "3 min 12 s"),
            (duration(7500.0), "2 h 5 min"),
            (duration(7200.0), "2 h"),
            (duration(f64::NAN), "–"),
        ]);
    }

    #[test]
    fn ticks_are_short() {
        check(&[
            (tick("%", 0.5), "0.5"),
            (tick("parameters", 5000.0), "5 k"),
            (tick("parameters", 2.5e6), "2.5 M"),
            (tick("", 0.30000000000000004), "0.3"),
            (tick("", -2.0), "−2"),
        ]);
    }

    #[test]
    fn extreme_numbers_stay_short() {
        for number in [1e-300, 5e-9, -1e300, f64::MAX, f64::MIN_POSITIVE, f64::INFINITY, f64::NAN] {
            for text in
                [value("%", number.clamp(-9.0, 9.0)), count(number), significant(number), tick("", number)]
            {
                assert!(text.chars().count() < 24, "{text}");
            }
        }
    }
}
