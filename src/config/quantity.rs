//! Settings that are amounts: durations, sizes, shares. A duration or size carries its unit, so
//! that nobody has to guess it; a number alone is refused.

use std::time::Duration;

use super::setting::Form;
use super::value::Value;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// Largest first: the first that divides a size is the one it is shown in.
const SIZES: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl Value for ByteSize {
    const EXPECTED: &'static str = "a size in `B`, `KiB`, `MiB` or `GiB`, such as `64MiB`";
    const PLACEHOLDER: &'static str = "SIZE";

    fn parse(text: &str) -> Option<Self> {
        let (count, unit) = split_number(text)?;
        let (_, factor) = SIZES.iter().find(|(name, _)| *name == unit)?;
        count.checked_mul(*factor).map(Self)
    }

    fn show(&self) -> Option<String> {
        Some(in_largest_unit(self.0, &SIZES).unwrap_or_else(|| "0B".to_owned()))
    }
}

/// In milliseconds, largest first. No months or years: they have no length.
const TIMES: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

impl Value for Duration {
    const EXPECTED: &'static str =
        "a duration in `ms`, `s`, `m`, `h` or `d`, such as `5s` or `1m30s`";
    const PLACEHOLDER: &'static str = "DURATION";

    fn parse(text: &str) -> Option<Self> {
        let (mut rest, mut total) = (text, 0_u64);
        while {
            let (count, tail) = split_number(rest)?;
            let end = tail
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(tail.len());
            let (_, factor) = TIMES.iter().find(|(name, _)| *name == &tail[..end])?;
            total = total.checked_add(count.checked_mul(*factor)?)?;
            rest = &tail[end..];
            !rest.is_empty()
        } {}
        Some(Self::from_millis(total))
    }

    fn show(&self) -> Option<String> {
        let milliseconds = u64::try_from(self.as_millis()).unwrap_or(u64::MAX);
        Some(in_largest_unit(milliseconds, &TIMES).unwrap_or_else(|| "0s".to_owned()))
    }
}

/// A duration that can be switched off.
impl Value for Option<Duration> {
    const EXPECTED: &'static str =
        "a duration in `ms`, `s`, `m`, `h` or `d`, such as `30m`, or `off`";
    const PLACEHOLDER: &'static str = "DURATION";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "off" => Some(None),
            _ => Duration::parse(text)
                .filter(|length| !length.is_zero())
                .map(Some),
        }
    }

    fn show(&self) -> Option<String> {
        self.as_ref()
            .map_or_else(|| Some("off".to_owned()), Value::show)
    }
}

/// The digits a text begins with, and what follows them.
fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

fn in_largest_unit(amount: u64, units: &[(&str, u64)]) -> Option<String> {
    let (name, factor) = units
        .iter()
        .find(|(_, factor)| amount != 0 && amount.is_multiple_of(*factor))?;
    Some(format!("{}{name}", amount / factor))
}

/// A share between none and all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio(f64);

impl Ratio {
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Value for Ratio {
    const EXPECTED: &'static str = "a number from 0 to 1";
    const PLACEHOLDER: &'static str = "RATIO";
    const FORM: Form = Form::Number;

    fn parse(text: &str) -> Option<Self> {
        text.parse()
            .ok()
            .filter(|share| (0.0..=1.0).contains(share))
            .map(Self)
    }

    fn show(&self) -> Option<String> {
        Some(self.0.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_every_unit_and_shown_in_the_largest_that_fits() {
        for (text, milliseconds, shown) in [
            ("0s", 0, "0s"),
            ("0d", 0, "0s"),
            ("250ms", 250, "250ms"),
            ("5s", 5_000, "5s"),
            ("60s", 60_000, "1m"),
            ("1m30s", 90_000, "90s"),
            ("24h", 86_400_000, "1d"),
            ("90d", 7_776_000_000, "90d"),
            ("1500ms", 1_500, "1500ms"),
        ] {
            let parsed = Duration::parse(text).unwrap_or_else(|| panic!("{text} is a duration"));
            assert_eq!(parsed, Duration::from_millis(milliseconds), "{text}");
            assert_eq!(parsed.show().unwrap(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "-5s",
            "1.5s",
            "5S",
            "5min",
            "1y",
            "5s5",
            "5s ",
            "18446744073709551615d",
        ] {
            assert_eq!(Duration::parse(text), None, "{text:?}");
            assert_eq!(Option::<Duration>::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_duration_that_can_be_off_is_off_only_by_name() {
        assert_eq!(Option::<Duration>::parse("off"), Some(None));
        assert_eq!(Option::<Duration>::parse("0s"), None);
        assert_eq!(None::<Duration>.show().unwrap(), "off");
        assert_eq!(Some(Duration::from_mins(30)).show().unwrap(), "30m");
    }

    #[test]
    fn sizes_have_binary_units_only() {
        for (text, bytes, shown) in [
            ("0B", 0, "0B"),
            ("512B", 512, "512B"),
            ("1024B", 1_024, "1KiB"),
            ("4MiB", 4 << 20, "4MiB"),
            ("1024MiB", 1 << 30, "1GiB"),
            ("1536KiB", 1_536 << 10, "1536KiB"),
        ] {
            assert_eq!(ByteSize::parse(text), Some(ByteSize(bytes)), "{text}");
            assert_eq!(ByteSize(bytes).show().unwrap(), shown, "{text}");
        }
        for text in [
            "",
            "4",
            "4MB",
            "4mib",
            "4 MiB",
            "-4MiB",
            "4MiB4",
            "17179869184GiB",
        ] {
            assert_eq!(ByteSize::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_ratio_is_a_share() {
        assert_eq!(Ratio::parse("0.01").unwrap().show().unwrap(), "0.01");
        assert_eq!(Ratio::parse("1"), Some(Ratio(1.0)));
        for text in ["-0.1", "1.01", "NaN", "inf", "", "1%"] {
            assert_eq!(Ratio::parse(text), None, "{text:?}");
        }
    }
}
