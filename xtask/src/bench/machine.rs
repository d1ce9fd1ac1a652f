//! The machine that figures are from.

use serde::Serialize;

use super::{placed, system};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Machine {
    /// `AMD EPYC`
    pub(super) processor: String,
    pub(super) family: String,
    pub(super) model: String,
    /// Fast short `rep movsb`; with `erms` it decides how the kernel copies to and from user memory.
    pub(super) fsrm: bool,
    /// Fast `rep movsb`.
    pub(super) erms: bool,
    /// Whether there is a hypervisor below the kernel.
    pub(super) virtual_machine: bool,
    pub(super) processors: usize,
    pub(super) memory_bytes: u64,
    /// `Linux 6.18.1`
    pub(super) kernel: String,
    /// UTC.
    pub(super) date: String,
    /// Whether server and generator ran at priority -20.
    pub(super) priority: bool,
}

impl Machine {
    pub(super) fn this() -> Machine {
        let mut machine = Machine::of(&system::read("/proc/cpuinfo"), &system::read("/proc/meminfo"));
        let name = rustix::system::uname();
        machine.kernel = format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy());
        machine.processors = placed::allowed().len();
        machine.date = today();
        machine.priority = placed::may_raise_priority();
        machine
    }

    fn of(cpuinfo: &str, meminfo: &str) -> Machine {
        let field = |name: &str| {
            let value = cpuinfo.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                (key.trim() == name).then(|| value.trim().to_owned())
            });
            value.unwrap_or_default()
        };
        let flags = field("flags");
        let has = |flag: &str| flags.split_whitespace().any(|each| each == flag);
        let memory =
            meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB"));
        let unknown = |text: String| if text.is_empty() { "unknown".to_owned() } else { text };
        Machine {
            processor: unknown(field("model name")),
            family: unknown(field("cpu family")),
            model: unknown(field("model")),
            fsrm: has("fsrm"),
            erms: has("erms"),
            virtual_machine: has("hypervisor"),
            processors: 0,
            memory_bytes: memory.and_then(|kib| kib.trim().parse::<u64>().ok()).unwrap_or(0) * 1024,
            kernel: String::new(),
            date: String::new(),
            priority: false,
        }
    }

    /// `AMD EPYC, family 25 model 1`: what a table is about. Figures of another processor are another table.
    pub(super) fn processor_in_full(&self) -> String {
        format!("{}, family {} model {}", self.processor, self.family, self.model)
    }

    /// In a sentence.
    pub(super) fn described(&self) -> String {
        let flag = |name: &str, has: bool| if has { format!("`{name}`") } else { format!("no `{name}`") };
        format!(
            "{} {}, family {} model {} ({}, {}), {} processor{}, {:.0} GiB, {}{}",
            if self.virtual_machine { "a virtual machine on" } else { "a machine with" },
            self.processor,
            self.family,
            self.model,
            flag("fsrm", self.fsrm),
            flag("erms", self.erms),
            self.processors,
            if self.processors == 1 { "" } else { "s" },
            self.memory_bytes as f64 / (1u64 << 30) as f64,
            self.kernel,
            if self.priority { "" } else { "; priority -20 was not permitted" }
        )
    }
}

/// As `2026-11-26`.
fn today() -> String {
    let date = std::process::Command::new("date").args(["-u", "+%F"]).output();
    date.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_described() {
        let cpuinfo = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC\nflags\t\t: fpu erms hypervisor fsrm\n";
        let mut machine = Machine::of(cpuinfo, "MemTotal:       25165824 kB\n");
        assert_eq!(machine.processor_in_full(), "AMD EPYC, family 25 model 1");
        machine.kernel = "Linux 6.18.1".to_owned();
        machine.processors = 2;
        machine.priority = true;
        let wanted = "a virtual machine on AMD EPYC, family 25 model 1 (`fsrm`, `erms`), 2 processors, 24 GiB, Linux 6.18.1";
        assert_eq!(machine.described(), wanted);
        assert_eq!(Machine::of("", "").processor, "unknown");
    }
}
