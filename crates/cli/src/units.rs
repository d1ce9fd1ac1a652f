//! Durations, sizes and addresses, as they are written on a command line.

use std::time::Duration;

const WANTED: &str = "give a number with its unit, such as 500ms, 30s or 5m";

/// `500ms`, `30s`, `5m`, `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or(WANTED)?;
    let number: u64 = text[..split].parse().map_err(|_| WANTED)?;
    let ms = match &text[split..] {
        "ms" => Some(number),
        "s" => number.checked_mul(1000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => return Err(WANTED.into()),
    };
    match ms {
        Some(0) => Err("give more than nothing".into()),
        Some(ms) if ms <= 365 * 24 * 3_600_000 => Ok(Duration::from_millis(ms)),
        _ => Err("give at most a year".into()),
    }
}

/// A duration that may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit(pub(crate) Option<Duration>);

/// A duration, or `off`.
pub(crate) fn limit(text: &str) -> Result<Limit, String> {
    match text {
        "off" => Ok(Limit(None)),
        text => duration(text).map(|duration| Limit(Some(duration))).map_err(|error| match error.as_str() {
            WANTED => format!("{WANTED}, or off"),
            _ => error,
        }),
    }
}

/// `64`, `16KiB`, `1MiB`, `1GiB`; in bytes.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    const WANTED: &str = "give a number of bytes, such as 64, 16KiB or 1MiB";
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: usize = text[..split].parse().map_err(|_| WANTED)?;
    let shift = match &text[split..] {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(WANTED.into()),
    };
    match number.checked_mul(1 << shift) {
        Some(0) => Err("give more than nothing".into()),
        Some(bytes) if bytes <= 1 << 40 => Ok(bytes),
        _ => Err("give at most 1024GiB".into()),
    }
}

/// `HOST:PORT`, checked for its form; the name is resolved later.
pub(crate) fn address(text: &str) -> Result<String, String> {
    const WANTED: &str = "give HOST:PORT, such as 127.0.0.1:9999 or [::1]:9999";
    let (host, port) = text.rsplit_once(':').ok_or(WANTED)?;
    if host.is_empty() || (host.contains(':') && !(host.starts_with('[') && host.ends_with(']'))) {
        return Err(WANTED.into());
    }
    port.parse::<u16>().map_err(|_| format!("{port:?} is not a port; give one from 0 to 65535"))?;
    Ok(text.to_owned())
}

/// A count of bytes for a person: `3.4 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let power = ((count.ilog2() / 10) as usize).min(UNITS.len());
    format!("{:.1} {}", count as f64 / (1u64 << (10 * power)) as f64, UNITS[power - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_a_sensible_number() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        for wrong in ["", "5", "s", "0s", "-1s", "1.5s", "5 s", "99999999999999999999s", "400000h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_take_binary_units() {
        assert_eq!(size("64"), Ok(64));
        assert_eq!(size("16KiB"), Ok(16_384));
        for wrong in ["", "KiB", "0", "16kb", "-1", "99999999999GiB", "1024GiBs"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn addresses_have_a_host_and_a_port() {
        for right in ["127.0.0.1:0", "localhost:9999", "[::1]:80"] {
            assert_eq!(address(right).as_deref(), Ok(right));
        }
        for wrong in ["", "9999", ":9999", "localhost", "127.0.0.1:65536", "::1:80", "a:b"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn counts_read_well() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(3_565_158), "3.4 MiB");
        assert_eq!(bytes(u64::MAX), "16384.0 PiB");
    }
}
