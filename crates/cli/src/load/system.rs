//! The machine, as far as it decides what figures mean.

use std::fs;
use std::path::Path;
use std::thread;

use super::report::System;

/// This machine. `backend` is what the generator used.
pub(crate) fn this(backend: &str) -> System {
    let files = Path::new("/");
    let linux = cfg!(target_os = "linux");
    let cpuinfo = linux.then(|| fs::read_to_string(files.join("proc/cpuinfo")).ok()).flatten();
    System {
        os: std::env::consts::OS.to_owned(),
        kernel: linux.then(|| kernel(files)).flatten().or_else(windows_kernel),
        processor: cpuinfo.as_deref().and_then(model).or_else(windows_processor),
        processors: thread::available_parallelism().map_or(1, usize::from),
        fsrm: cpuinfo.as_deref().and_then(fsrm),
        backend: backend.to_owned(),
    }
}

fn kernel(root: &Path) -> Option<String> {
    let release = fs::read_to_string(root.join("proc/sys/kernel/osrelease")).ok()?;
    Some(format!("Linux {}", release.trim()))
}

/// The value of a line `name : value`.
fn line<'a>(cpuinfo: &'a str, name: &str) -> Option<&'a str> {
    let values = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    values
        .filter(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim())
        .find(|value| !value.is_empty())
}

/// x86 has a name. ARM has numbers, of which the implementer and the part say which core it is.
fn model(cpuinfo: &str) -> Option<String> {
    if let Some(name) = line(cpuinfo, "model name").or_else(|| line(cpuinfo, "Model")) {
        // A name alone does not tell generations apart on rented machines: "AMD EPYC".
        let numbers = [("cpu family", "family"), ("model", "model"), ("stepping", "stepping")];
        let found = numbers.iter().filter_map(|(key, word)| Some(format!("{word} {}", line(cpuinfo, key)?)));
        let found: Vec<_> = found.collect();
        let found = if found.is_empty() { String::new() } else { format!(" ({})", found.join(" ")) };
        return Some(format!("{name}{found}"));
    }
    let implementer = line(cpuinfo, "CPU implementer")?;
    Some(format!("implementer {implementer} part {}", line(cpuinfo, "CPU part")?))
}

fn fsrm(cpuinfo: &str) -> Option<bool> {
    line(cpuinfo, "flags").map(|flags| flags.split_whitespace().any(|flag| flag == "fsrm"))
}

/// What Windows tells every process: `AMD64 Family 25 Model 1 Stepping 1, AuthenticAMD`.
fn windows_processor() -> Option<String> {
    cfg!(windows).then(|| std::env::var("PROCESSOR_IDENTIFIER").ok()).flatten()
}

/// `ver` is a part of the command interpreter: `Microsoft Windows [Version 10.0.20348.2527]`.
fn windows_kernel() -> Option<String> {
    if !cfg!(windows) {
        return None;
    }
    let answer = std::process::Command::new("cmd").args(["/c", "ver"]).output().ok()?;
    let text = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_named() {
        let x86 = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC\nstepping\t: 1\n\
                   flags\t\t: fpu erms fsrm\n\nprocessor\t: 1\nmodel name\t: AMD EPYC\n";
        assert_eq!(model(x86).as_deref(), Some("AMD EPYC (family 25 model 1 stepping 1)"));
        assert_eq!(fsrm(x86), Some(true));
        let arm = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n";
        assert_eq!(model(arm).as_deref(), Some("implementer 0x41 part 0xd0c"));
        assert_eq!((fsrm(arm), model(""), fsrm("")), (None, None, None));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_is_known() {
        let system = this("readiness");
        assert!(system.kernel.is_some_and(|kernel| kernel.starts_with("Linux ")));
        assert!(system.processors >= 1 && system.backend == "readiness");
    }
}
