//! Values of options, as people write them.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use xsk::config::{FrameSize, UmemConfig};

/// `name` or `name:queue`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) name: String,
    /// All queues if none.
    pub(crate) queue: Option<u32>,
}

/// An end of `forward`, `capture` or `replay`: an interface, or the file of a simulated one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Side {
    Interface(Target),
    Capture(PathBuf),
}

/// `sim:FILE`, or as [`target`]. A queue number makes `sim` an interface of that name.
pub(crate) fn side(text: &str) -> Result<Side, String> {
    match text.strip_prefix("sim:") {
        Some("") => Err("expected a file after `sim:`".to_owned()),
        Some(file) if file.parse::<u32>().is_err() => Ok(Side::Capture(file.into())),
        _ => target(text).map(Side::Interface),
    }
}

pub(crate) fn target(text: &str) -> Result<Target, String> {
    // No interface name has a colon (net/core/dev.c:dev_valid_name).
    let (name, queue) = match text.split_once(':') {
        Some((name, queue)) => {
            let queue = queue.parse().map_err(|_| {
                let hint = if name == "sim" { "; a capture is no interface to this command" } else { "" };
                format!("expected a queue number after the colon, got `{queue}`{hint}")
            })?;
            (name, Some(queue))
        }
        None => (text, None),
    };
    if !(1..=15).contains(&name.len()) {
        return Err(format!("an interface name has 1 to 15 bytes, this one has {}", name.len()));
    }
    Ok(Target { name: name.to_owned(), queue })
}

pub(crate) fn frame_size(text: &str) -> Result<FrameSize, String> {
    let size = text.parse().map_err(|_| format!("expected a number of bytes, got `{text}`"))?;
    let size = FrameSize::new(size).map_err(|e| e.to_string())?;
    UmemConfig::builder().frame_size(size).build().map_err(|e| e.to_string())?;
    Ok(size)
}

pub(crate) fn frames(text: &str) -> Result<std::num::NonZeroU32, String> {
    let frames: u32 = text.parse().map_err(|_| format!("expected a number of frames, got `{text}`"))?;
    std::num::NonZeroU32::new(frames).ok_or_else(|| "expected at least one frame, got 0".to_owned())
}

/// `10`, `1.5s`, `300ms`, `50us`, `2m`, `1h`; plain numbers are seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("expected a time like 10s, 500ms, 50us or 2m, got `{text}`");
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "" | "s" => number,
        "ms" => number / 1e3,
        "us" => number / 1e6,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(wrong()),
    };
    let time = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
    if time.is_zero() { Err("expected more than no time".to_owned()) } else { Ok(time) }
}

/// `1000`, `10k`, `1.5M`, `1G`.
pub(crate) fn quantity(text: &str) -> Result<u64, String> {
    let wrong = || format!("expected a number like 1000, 10k or 1.5M, got `{text}`");
    let (number, factor) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1e3),
        Some((at, 'M')) => (&text[..at], 1e6),
        Some((at, 'G')) => (&text[..at], 1e9),
        _ => (text, 1.0),
    };
    if factor == 1.0 {
        return match number.parse() {
            Ok(0) => Err("expected at least 1, got 0".to_owned()),
            Ok(number) => Ok(number),
            Err(_) => Err(wrong()),
        };
    }
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let value = number * factor;
    if (1.0..1e18).contains(&value) { Ok(value as u64) } else { Err(wrong()) }
}

/// How many threads.
pub(crate) fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let wrong = || {
        format!(
            "expected a number of threads, at least 1, got `{text}`; if that is an interface, put it before --threads"
        )
    };
    text.parse().map_err(|_| wrong())
}

/// CPUs, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cpus(pub(crate) Vec<usize>);

/// The largest CPU number that is taken for one.
const LARGEST_CPU: usize = 1 << 16;

/// `3`, `0-3`, `0-3,8`.
pub(crate) fn cpus(text: &str) -> Result<Cpus, String> {
    let wrong = || format!("expected CPUs like 3 or 0-3,8, got `{text}`");
    let number = |text: &str| text.parse::<usize>().ok().filter(|cpu| *cpu <= LARGEST_CPU).ok_or_else(wrong);
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(wrong());
        }
        cpus.extend(first..=last);
    }
    Ok(Cpus(cpus))
}

/// A number of bytes that is not 0.
pub(crate) fn snap_length(text: &str) -> Result<usize, String> {
    let wrong = || format!("expected a number of bytes, at least 1, got `{text}`");
    text.parse().ok().filter(|bytes| *bytes > 0).ok_or_else(wrong)
}

/// A factor from a thousandth to a million.
pub(crate) fn speed(text: &str) -> Result<f64, String> {
    let wrong = || format!("expected a factor from 0.001 to 1000000, got `{text}`");
    text.parse().ok().filter(|factor| (1e-3..=1e6).contains(factor)).ok_or_else(wrong)
}

/// `02:00:00:00:00:01`.
pub(crate) fn mac(text: &str) -> Result<[u8; 6], String> {
    let wrong = || format!("expected an Ethernet address like 02:00:00:00:00:01, got `{text}`");
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        let part = parts.next().filter(|part| (1..=2).contains(&part.len())).ok_or_else(wrong)?;
        *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
    }
    if parts.next().is_some() { Err(wrong()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        assert_eq!(target("eth0"), Ok(Target { name: "eth0".into(), queue: None }));
        assert_eq!(target("eth0:3"), Ok(Target { name: "eth0".into(), queue: Some(3) }));
        assert_eq!(target("eth0:x").unwrap_err(), "expected a queue number after the colon, got `x`");
        let capture = target("sim:in.pcap").unwrap_err();
        assert!(capture.ends_with("got `in.pcap`; a capture is no interface to this command"), "{capture}");
        assert_eq!(target(":1").unwrap_err(), "an interface name has 1 to 15 bytes, this one has 0");
        assert_eq!(
            target(&"x".repeat(300)).unwrap_err(),
            "an interface name has 1 to 15 bytes, this one has 300"
        );
    }

    #[test]
    fn sides() {
        assert_eq!(side("sim:in.pcap"), Ok(Side::Capture("in.pcap".into())));
        assert_eq!(side("sim:./0"), Ok(Side::Capture("./0".into())));
        assert_eq!(side("sim:0"), target("sim:0").map(Side::Interface));
        assert_eq!(side("eth0"), target("eth0").map(Side::Interface));
        assert_eq!(side("sim:").unwrap_err(), "expected a file after `sim:`");
    }

    #[test]
    fn durations() {
        let ok = |text, ms| assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        ok("10", 10_000);
        ok("1.5s", 1500);
        ok("300ms", 300);
        ok("5000us", 5);
        ok("2m", 120_000);
        for bad in ["", "s", "0", "0ms", "-1", "1d", "1e400", "99999999999999999999999h", "1.2.3"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn quantities() {
        assert_eq!(quantity("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(quantity("1.5M"), Ok(1_500_000));
        assert_eq!(quantity("10k"), Ok(10_000));
        for bad in ["", "0", "k", "-1", "0.0001k", "1.5", "1e30G", "NaNk", "inf", "é"] {
            assert!(quantity(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn factors_and_lengths() {
        assert_eq!((speed("0.5"), speed("10")), (Ok(0.5), Ok(10.0)));
        for bad in ["", "0", "-1", "NaN", "inf", "1e7", "x"] {
            assert!(speed(bad).is_err(), "{bad}");
        }
        assert_eq!(snap_length("96"), Ok(96));
        assert!(snap_length("0").is_err() && snap_length("-1").is_err());
    }

    #[test]
    fn lists_of_cpus() {
        assert_eq!(cpus("3"), Ok(Cpus(vec![3])));
        assert_eq!(cpus("6,0-2"), Ok(Cpus(vec![6, 0, 1, 2])));
        for bad in ["", "-", "1-", "2-1", "a", "0,,1", "-1", "0-99999999999"] {
            assert_eq!(cpus(bad), Err(format!("expected CPUs like 3 or 0-3,8, got `{bad}`")));
        }
    }

    #[test]
    fn macs() {
        assert_eq!(mac("2:0:0:0:0:a"), Ok([2, 0, 0, 0, 0, 10]));
        for bad in ["", "1:2:3:4:5", "1:2:3:4:5:6:7", "1:2:3:4:5:100", "g:0:0:0:0:0"] {
            assert!(mac(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn frame_sizes() {
        assert_eq!(frame_size("2048").unwrap().get(), 2048);
        assert_eq!(frame_size("3000").unwrap_err(), "expected a power of two as frame size, got 3000");
        assert_eq!(frame_size("1024").unwrap_err(), "expected frame size >= 2048, got 1024");
        assert_eq!(frames("0").unwrap_err(), "expected at least one frame, got 0");
    }
}
