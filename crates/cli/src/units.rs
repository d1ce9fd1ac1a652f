//! Durations, sizes and addresses, as they are written on a command line.
//!
//! Durations and sizes are parsed here because the crates for it accept what is probably a mistake, and their errors do
//! not list what is accepted. `humantime` 2.4 reads `5M` as five months (152 days) and knows no upper limit; `jiff` 0.2
//! refuses `0`, accepts `-1s`, and answers `5M` with "expected to find unit designator suffix". `bytesize` 2 reads `16k`
//! as 16000 and a number that is too large as 2^64 - 1; `parse-size` 1 reads `1.5MiB` and answers `5s` with "invalid
//! digit found in string".

use std::net::Ipv6Addr;
use std::str::FromStr;
use std::time::Duration;

use overlapped::{Endpoint, Error};

const DURATIONS: &str = "give ms, s, m or h, such as 500ms, 30s or 5m";
const SIZES: &str =
    "give bytes, KiB, MiB or GiB (or k, m, g for short: 1k is 1024), such as 64, 16KiB or 1MiB";

/// `500ms`, `30s`, `5m`, `1h`; `0s`, and `0`, for none.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = number_and_unit(text).map_err(|problem| match in_whole(text) {
        Some(meant) => format!("{problem}; give {meant}"),
        None => format!("{problem}; {DURATIONS}"),
    })?;
    let ms = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        "" if number == 0 => Some(0),
        "" => return Err(format!("the unit is missing; {DURATIONS}")),
        unit => return Err(format!("`{unit}` is no unit of time; {DURATIONS}")),
    };
    match ms {
        Some(ms) if ms <= 365 * 24 * 3_600_000 => Ok(Duration::from_millis(ms)),
        _ => Err("that is too long; give at most a year, 8760h".into()),
    }
}

/// A duration with decimals in whole numbers of a smaller unit: `500ms` for `0.5s`, `90m` for `1.5h`.
fn in_whole(text: &str) -> Option<String> {
    const UNITS: [(u64, &str); 4] = [(3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")];
    let (whole, rest) = text.split_once(['.', ','])?;
    let split = rest.find(|c: char| !c.is_ascii_digit())?;
    let (decimals, unit) = rest.split_at(split);
    let (size, _) = UNITS.into_iter().find(|(_, name)| *name == unit)?;
    let scale = 10_u64.checked_pow(u32::try_from(decimals.len()).ok()?)?;
    let parts = digits::<u64>(decimals)?.checked_mul(size)?;
    let ms = digits::<u64>(whole)?.checked_mul(size)?.checked_add(parts / scale)?;
    let (size, unit) = UNITS.into_iter().find(|(size, _)| ms.is_multiple_of(*size))?;
    (ms > 0 && parts.is_multiple_of(scale)).then(|| format!("{}{unit}", ms / size))
}

/// A duration that may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit(pub(crate) Option<Duration>);

/// A duration, or `off`, which `0s` means too.
pub(crate) fn limit(text: &str) -> Result<Limit, String> {
    match text {
        "off" => Ok(Limit(None)),
        text => match duration(text) {
            Ok(duration) => Ok(Limit(Some(duration).filter(|duration| !duration.is_zero()))),
            Err(problem) => Err(format!("{problem}, or off")),
        },
    }
}

/// `64`, `16KiB`, `1MiB`, `1GiB`; in bytes. `16k`, `16K`, `16kb` and `16kib` are the same as `16KiB`, and so on.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    const MOST: u64 = 1 << 40;
    let (number, unit) = number_and_unit(text).map_err(|problem| format!("{problem}; {SIZES}"))?;
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return Err(format!("`{unit}` is no unit of size; {SIZES}")),
    };
    match number.checked_mul(1 << shift) {
        Some(0) => Err("that is nothing; give at least 1 byte".into()),
        Some(bytes) if bytes <= MOST => usize::try_from(bytes).map_err(|_| "give less than 4GiB".into()),
        _ => Err("that is too much; give at most 1024GiB".into()),
    }
}

/// The number at the beginning, and what follows it.
fn number_and_unit(text: &str) -> Result<(u64, &str), &'static str> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    match (number, unit.chars().next()) {
        ("", _) => Err("it does not begin with a number"),
        (_, Some('.' | ',')) => Err("only whole numbers are understood"),
        // A number with too many digits is too much for every unit, and for what is said about it.
        (number, _) => Ok((number.parse().unwrap_or(u64::MAX), unit)),
    }
}

/// `HOST:PORT` to listen on, checked for its form; a name is resolved later.
pub(crate) fn listen_address(text: &str) -> Result<String, String> {
    match text.strip_prefix(':') {
        Some(port) if is_port(port) => Err(format!(
            "give HOST:PORT: 127.0.0.1:{port} for this machine alone, 0.0.0.0:{port} for every IPv4 address it has"
        )),
        _ => address(text),
    }
}

/// `HOST:PORT` to connect to, checked for its form; a name is resolved later.
pub(crate) fn server_address(text: &str) -> Result<String, String> {
    match text.strip_prefix(':') {
        Some(port) if is_port(port) => {
            Err(format!("give HOST:PORT, such as 127.0.0.1:{port} for this machine"))
        }
        _ => address(text),
    }
}

/// Digits alone: Rust's own parser takes a `+` before them.
fn digits<T: FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// A whole number from 1 to `MOST`.
pub(crate) fn up_to<const MOST: u32>(text: &str) -> Result<u32, String> {
    match digits(text) {
        Some(number @ 1..) if number <= MOST => Ok(number),
        _ if MOST == u32::MAX => Err("give a whole number, 1 or more".into()),
        _ => Err(format!("give a whole number from 1 to {MOST}")),
    }
}

fn is_port(text: &str) -> bool {
    digits::<u16>(text).is_some()
}

fn address(text: &str) -> Result<String, String> {
    const WANTED: &str = "give HOST:PORT, such as 127.0.0.1:9999 or [::1]:9999";
    let is_ipv6 = |text: &str| text.parse::<Ipv6Addr>().is_ok();
    let port = match text.rsplit_once(':') {
        // `::1:80` is an address too, and meant as one with a port.
        Some((host, port)) if is_ipv6(host) => return Err(format!("{WANTED}; here [{host}]:{port}")),
        _ if is_ipv6(text) => return Err(format!("{WANTED}; here [{text}]:9999")),
        _ if text.ends_with(']') => return Err(format!("{WANTED}; here {text}:9999")),
        None if is_port(text) => return Err(format!("{WANTED}; here 127.0.0.1:{text}")),
        None | Some(("", _)) => return Err(WANTED.to_owned()),
        Some((_, port)) => port,
    };
    if !is_port(port) {
        return Err(format!("{port:?} is not a port; give one from 0 to 65535"));
    }
    match text.parse::<Endpoint>() {
        Ok(_) => Ok(text.to_owned()),
        Err(Error::Resolve { source, .. }) => Err(source.to_string()),
        Err(other) => Err(other.to_string()),
    }
}

/// A count with its noun, which forms its plural with an s: `1 session`, `2 sessions`.
pub(crate) fn count(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A duration for a person, in the largest unit that it is whole in: `10 s`, `500 ms`, `5 min`, `1 h`.
pub(crate) fn span(duration: Duration) -> String {
    let ms = duration.as_millis();
    let units = [(3_600_000, "h"), (60_000, "min"), (1000, "s"), (1, "ms")];
    let (size, unit) =
        units.into_iter().find(|(size, _)| ms > 0 && ms.is_multiple_of(*size)).unwrap_or((1000, "s"));
    format!("{} {unit}", ms / size)
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
        assert_eq!(duration("8760h"), Ok(Duration::from_secs(365 * 24 * 3600)));
        for none in ["0s", "0ms", "0h", "0"] {
            assert_eq!(duration(none), Ok(Duration::ZERO), "{none}");
        }
        for (wrong, wanted) in [
            ("", "does not begin with a number"),
            ("s", "does not begin with a number"),
            ("-1s", "does not begin with a number"),
            ("+1s", "does not begin with a number"),
            ("5", "the unit is missing"),
            ("1.5s", "only whole numbers"),
            ("5 s", "` s` is no unit"),
            ("5sec", "`sec` is no unit"),
            ("5M", "`M` is no unit"),
            ("8761h", "at most a year"),
            ("99999999999999999999s", "at most a year"),
            ("18446744073709551615h", "at most a year"),
        ] {
            let problem = duration(wrong).expect_err(wrong);
            assert!(problem.contains(wanted), "{wrong}: {problem}");
            assert!(problem.contains("500ms") || problem.contains("year"), "what is understood: {problem}");
        }
    }

    #[test]
    fn a_duration_with_decimals_is_said_in_whole_numbers() {
        for (text, meant) in
            [("0.5s", "500ms"), ("1.5s", "1500ms"), ("1,5s", "1500ms"), ("1.5h", "90m"), ("2.0s", "2s")]
        {
            let problem = duration(text).expect_err(text);
            assert_eq!(problem, format!("only whole numbers are understood; give {meant}"));
        }
        for text in ["0.5ms", "0.0005s", "0.0s", "1.5", "1.5d", "1.2.3s", "1.s", "99999999999999999999.5s"] {
            let problem = duration(text).expect_err(text);
            assert_eq!(problem, format!("only whole numbers are understood; {DURATIONS}"), "{text}");
        }
    }

    #[test]
    fn a_limit_of_nothing_is_none() {
        for none in ["off", "0s", "0m", "0"] {
            assert_eq!(limit(none), Ok(Limit(None)), "{none}");
        }
        assert_eq!(limit("1ms"), Ok(Limit(Some(Duration::from_millis(1)))));
        for wrong in ["never", "5", "5d"] {
            assert!(limit(wrong).expect_err(wrong).ends_with(", or off"), "{wrong}");
        }
    }

    #[test]
    fn sizes_take_binary_units() {
        for (power, units) in [
            (0, &["", "B", "b"][..]),
            (10, &["k", "K", "kb", "KB", "kib", "KiB"]),
            (20, &["m", "M", "mb", "MB", "mib", "MiB"]),
            (30, &["g", "G", "gb", "GB", "gib", "GiB"]),
        ] {
            for unit in units {
                assert_eq!(size(&format!("3{unit}")), Ok(3 << power), "{unit}");
            }
        }
        for (wrong, wanted) in [
            ("", "does not begin with a number"),
            ("KiB", "does not begin with a number"),
            ("-1", "does not begin with a number"),
            ("+1", "does not begin with a number"),
            ("0", "at least 1 byte"),
            ("0k", "at least 1 byte"),
            ("1.5MiB", "only whole numbers"),
            ("16 KiB", "` KiB` is no unit"),
            ("1024GiBs", "`GiBs` is no unit"),
            ("5T", "`T` is no unit"),
            ("5s", "`s` is no unit of size; give bytes, KiB, MiB or GiB"),
            ("1025GiB", "at most 1024GiB"),
            ("99999999999GiB", "at most 1024GiB"),
            ("99999999999999999999", "at most 1024GiB"),
        ] {
            let problem = size(wrong).expect_err(wrong);
            assert!(problem.contains(wanted) && problem.contains("give"), "{wrong}: {problem}");
        }
    }

    #[test]
    fn addresses_have_a_host_and_a_port() {
        for right in [
            "127.0.0.1:0",
            "localhost:9999",
            "[::1]:80",
            "[::ffff:1.2.3.4]:80",
            "[fe80::1%eth0]:80",
            "[fe80::1%3]:80",
        ] {
            assert_eq!(listen_address(right).as_deref(), Ok(right));
            assert_eq!(server_address(right).as_deref(), Ok(right));
        }
        for (wrong, wanted) in [
            ("", "HOST:PORT"),
            ("9999", "HOST:PORT, such as 127.0.0.1:9999 or [::1]:9999; here 127.0.0.1:9999"),
            (":", "HOST:PORT"),
            (":x", "HOST:PORT"),
            ("localhost", "HOST:PORT"),
            ("127.0.0.1:65536", "\"65536\" is not a port"),
            ("127.0.0.1:+80", "\"+80\" is not a port"),
            ("[::1]:+80", "\"+80\" is not a port"),
            ("127.0.0.1:\u{661}", "is not a port"),
            ("localhost:", "\"\" is not a port"),
            ("+80", "HOST:PORT"),
            (":+80", "HOST:PORT"),
            ("[fe80::1%lo]:+80", "\"+80\" is not a port"),
            ("a:b", "\"b\" is not a port"),
            ("::1:80", "here [::1]:80"),
            ("::1", "here [::1]:9999"),
            ("2001:db8:1:2:3:4:5:6:80", "here [2001:db8:1:2:3:4:5:6]:80"),
            ("[::1]", "here [::1]:9999"),
            ("[localhost]:80", "in brackets"),
            ("[fe80::1]:80", "[fe80::1%eth0]:9999"),
        ] {
            for parse in [listen_address, server_address] {
                let problem = parse(wrong).expect_err(wrong);
                assert!(problem.contains(wanted), "{wrong}: {problem}");
            }
        }
        let listen = listen_address(":80").expect_err("no host");
        assert!(listen.contains("127.0.0.1:80 ") && listen.contains("0.0.0.0:80 "), "{listen}");
        assert!(server_address(":80").expect_err("no host").contains("127.0.0.1:80"));
    }

    #[test]
    fn counts_are_digits() {
        assert_eq!(["1", "0007", "1024"].map(up_to::<1024>), [Ok(1), Ok(7), Ok(1024)]);
        for wrong in ["", "0", "+2", "-1", "1025", "2 ", "two", "0x2", "99999999999999999999"] {
            let problem = up_to::<1024>(wrong).expect_err(wrong);
            assert_eq!(problem, "give a whole number from 1 to 1024", "{wrong}");
        }
        assert_eq!(up_to::<{ u32::MAX }>("4294967295"), Ok(u32::MAX));
        for wrong in ["0", "+5", "4294967296"] {
            assert_eq!(up_to::<{ u32::MAX }>(wrong), Err("give a whole number, 1 or more".into()), "{wrong}");
        }
    }

    #[test]
    fn one_is_singular() {
        assert_eq!([0, 1, 2].map(|number| count(number, "byte")), ["0 bytes", "1 byte", "2 bytes"]);
    }

    #[test]
    fn spans_read_well() {
        for (ms, wanted) in [
            (0, "0 s"),
            (1, "1 ms"),
            (1500, "1500 ms"),
            (10_000, "10 s"),
            (90_000, "90 s"),
            (300_000, "5 min"),
            (7_200_000, "2 h"),
        ] {
            assert_eq!(span(Duration::from_millis(ms)), wanted);
        }
    }

    #[test]
    fn counts_read_well() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(3_565_158), "3.4 MiB");
        assert_eq!(bytes(u64::MAX), "16384.0 PiB");
    }
}
