//! `--hdr`: the latencies as a log that the tools of HdrHistogram read and plot: version 2 of the encoding, compressed,
//! in one interval that is the whole run.

use std::error::Error;
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;

use super::measured::Measured;

/// The log. Values are ns; the column of the maximum is in ms, as the other tools write it.
pub(crate) fn log(measured: &Measured) -> Result<Vec<u8>, Box<dyn Error>> {
    let began = SystemTime::UNIX_EPOCH + measured.began;
    let mut serializer = V2DeflateSerializer::new();
    let mut out = Vec::new();
    IntervalLogWriterBuilder::new()
        .add_comment(concat!("[Logged with overlapped load ", env!("CARGO_PKG_VERSION"), "; values are ns]"))
        .add_comment("[Histogram log format version 1.3]")
        .with_start_time(began)
        .with_base_time(began)
        .begin_log_with(&mut out, &mut serializer)?;
    // The writer has no function for this line.
    out.extend_from_slice(
        b"\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
    );
    IntervalLogWriterBuilder::new()
        .with_max_value_divisor(1e6)
        .begin_log_with(&mut out, &mut serializer)?
        .write_histogram(&measured.latency, Duration::ZERO, measured.elapsed, None)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::load::samples;

    #[test]
    fn the_log_has_the_histogram() {
        let measured = samples::calm();
        let log = log(&measured).unwrap();
        let text = String::from_utf8(log.clone()).unwrap();
        assert!(text.starts_with("#[Logged with overlapped load "), "{text}");
        assert!(text.contains("\n#[StartTime: ") && text.contains("\n#[BaseTime: "), "{text}");
        let entries: Vec<_> = IntervalLogIterator::new(&log).map(Result::unwrap).collect();
        let interval = entries.iter().find_map(|entry| match entry {
            LogEntry::Interval(interval) => Some(interval),
            _ => None,
        });
        let interval = interval.unwrap();
        assert_eq!((interval.tag(), interval.duration()), (None, measured.elapsed));
        let bytes = base64_of(interval.encoded_histogram());
        let read: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
        assert_eq!(read, measured.latency);
    }

    fn base64_of(text: &str) -> Vec<u8> {
        const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let digits = text.trim_end_matches('=').chars().map(|digit| DIGITS.find(digit).unwrap() as u32);
        let (mut out, mut bits, mut buffer) = (Vec::new(), 0, 0u32);
        for digit in digits {
            buffer = buffer << 6 | digit;
            bits += 6;
            if bits >= 8 {
                bits -= 8;
                out.push((buffer >> bits) as u8);
            }
        }
        out
    }
}
