//! Makes a ring with the best flags that the kernel has, and explains why if none can be made.

use std::fs;
use std::io;

use ::io_uring::{IoUring as Ring, Probe, opcode};

use crate::backend::BackendKind;
use crate::backend::choice::Refusal;

/// Makes the best ring this kernel offers, halved until it fits the memory limit. The flag says whether completions
/// are deferred to our own calls.
pub(super) fn build_ring(entries: u32, completions: u32, least: u32) -> Result<(Ring, bool), Refusal> {
    let mut size = entries;
    loop {
        match build(size, completions / (entries / size)) {
            Ok(made) => return Ok(made),
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && size > least => size /= 2,
            Err(error) => return Err(of(Part::Ring, &error)),
        }
    }
}

/// Tries the flags from the newest kernel's to the oldest's: an unknown one is refused with `EINVAL`.
fn build(entries: u32, completions: u32) -> io::Result<(Ring, bool)> {
    let mut builder = Ring::builder();
    builder.setup_cqsize(completions).setup_clamp().setup_submit_all();
    let refused = |error: &io::Error| error.raw_os_error() == Some(libc::EINVAL);
    let mut newest = builder.clone();
    newest.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().setup_no_sqarray();
    match newest.build(entries) {
        Err(error) if refused(&error) => {}
        made => return made.map(|ring| (ring, true)),
    }
    // Before 6.6: no NO_SQARRAY.
    let mut newer = builder.clone();
    newer.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
    match newer.build(entries) {
        Err(error) if refused(&error) => {}
        made => return made.map(|ring| (ring, true)),
    }
    // Before 6.1: no deferred task run.
    builder.setup_coop_taskrun();
    builder.build(entries).map(|ring| (ring, false))
}

/// Multishot receive cannot be probed by itself. It came with 6.0, as zero-copy send did, which can.
pub(super) fn check_operations(ring: &Ring) -> Result<(), Refusal> {
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|error| of(Part::Operations, &error))?;
    if probe.is_supported(opcode::SendZc::CODE) {
        return Ok(());
    }
    let reason =
        format!("kernel {} has no multishot receive, which came with Linux 6.0", System::read().release);
    Err(Refusal { backend: BackendKind::IoUring, reason, remedy: USE_A_NEWER_KERNEL.into() })
}

/// A part of a ring, each made by one system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The ring itself.
    Ring,
    /// The list of operations that the kernel knows.
    Operations,
    /// The memory of the ring of receive buffers.
    BufferMemory,
    /// The ring of receive buffers.
    Buffers,
    /// The first submission.
    Submission,
    /// The eventfd that wakes the ring.
    Wake,
}

impl Part {
    fn call(self) -> &'static str {
        match self {
            Part::Ring => "io_uring_setup",
            Part::Operations | Part::Buffers => "io_uring_register",
            Part::BufferMemory => "mmap",
            Part::Submission => "io_uring_enter",
            Part::Wake => "eventfd2",
        }
    }

    fn what(self) -> &'static str {
        match self {
            Part::Ring => "a ring",
            Part::Operations => "the list of its operations",
            Part::BufferMemory => "the memory of its buffer ring",
            Part::Buffers => "its buffer ring",
            Part::Submission => "its first submission",
            Part::Wake => "its wake-up event",
        }
    }
}

/// Why `part` could not be made, by the error and the facts about the system.
pub(super) fn of(part: Part, error: &io::Error) -> Refusal {
    System::read().refusal(part, error)
}

const USE_A_NEWER_KERNEL: &str = "use Linux 6.0 or newer, or --backend readiness";

/// Facts about the system.
struct System {
    /// The kernel's version.
    release: String,
    /// Whether system calls of this process go through a seccomp filter.
    filtered: bool,
    /// `kernel.io_uring_disabled` and `kernel.io_uring_group`, where the kernel has them (6.6).
    disabled: Option<String>,
    group: Option<String>,
}

impl System {
    fn read() -> System {
        let read = |path| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        let status = read("/proc/self/status").unwrap_or_default();
        let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
        System {
            release: read("/proc/sys/kernel/osrelease").unwrap_or_default(),
            filtered: mode.is_some_and(|mode| mode.trim() == "2"),
            disabled: read("/proc/sys/kernel/io_uring_disabled"),
            group: read("/proc/sys/kernel/io_uring_group"),
        }
    }

    fn refusal(&self, part: Part, error: &io::Error) -> Refusal {
        let (reason, remedy) = match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => self.not_permitted(part, error),
            Some(libc::ENOSYS) if self.filtered => by_seccomp(part),
            Some(libc::ENOSYS) => {
                let missing = if part == Part::Ring { "io_uring" } else { part.call() };
                (
                    format!("kernel {} has no {missing}", self.release),
                    "use Linux 6.0 or newer with CONFIG_IO_URING".to_owned(),
                )
            }
            Some(libc::EINVAL) => self.too_old(part),
            Some(libc::ENOMEM) => no_memory(part),
            Some(libc::EMFILE | libc::ENFILE) => (
                format!("no descriptor is left for {}", part.what()),
                "raise the descriptor limit (`ulimit -n`, LimitNOFILE= in a systemd unit)".to_owned(),
            ),
            _ => (format!("{} could not be made: {error}", part.what()), USE_READINESS.to_owned()),
        };
        Refusal { backend: BackendKind::IoUring, reason, remedy }
    }

    /// A flag or registration that the kernel does not know is answered with `EINVAL`: 5.15 so answers the setup
    /// flags of 5.18 and 5.19. A kernel that calls itself new enough and does the same is behind a filter, or is an
    /// emulation.
    fn too_old(&self, part: Part) -> (String, String) {
        let (release, call) = (&self.release, part.call());
        let reason = if is_before_6(release) {
            format!(
                "kernel {release} is too old: {call} refuses what is used here, which needs Linux 6.0 or newer"
            )
        } else {
            format!(
                "{call} answers \"invalid argument\", as a kernel that is too old does (needs Linux 6.0 or newer, \
                 this one calls itself {release})"
            )
        };
        let remedy = if self.filtered && !is_before_6(release) {
            format!(
                "look for a seccomp filter that answers so, and allow {ALL_CALLS} in it, or {USE_READINESS}"
            )
        } else {
            USE_A_NEWER_KERNEL.to_owned()
        };
        (reason, remedy)
    }

    fn not_permitted(&self, part: Part, error: &io::Error) -> (String, String) {
        const SETTING: &str = "kernel.io_uring_disabled";
        // The setting applies to making rings only.
        match self.disabled.as_deref().filter(|_| part == Part::Ring) {
            Some("2") => (
                format!("{SETTING} is 2, which forbids it to everybody"),
                format!("run `sysctl {SETTING}=0`"),
            ),
            Some("1") => (
                format!("{SETTING} is 1, which allows it to CAP_SYS_ADMIN and one group only"),
                format!("run `sysctl {SETTING}=0`, or {}", self.join_the_group()),
            ),
            _ if self.filtered => by_seccomp(part),
            _ => (
                format!("the kernel does not permit {}: {error}", part.call()),
                "look for a security module's rule about io_uring".to_owned(),
            ),
        }
    }

    fn join_the_group(&self) -> String {
        const GROUP: &str = "kernel.io_uring_group";
        match self.group.as_deref() {
            Some("-1") | None => format!("set {GROUP} to the id of a group of yours"),
            Some(group) => format!("join the group {group}, which {GROUP} names"),
        }
    }
}

const ALL_CALLS: &str = "io_uring_setup, io_uring_enter and io_uring_register";
const USE_READINESS: &str = "use --backend readiness";

fn by_seccomp(part: Part) -> (String, String) {
    let reason = match part {
        Part::Ring => "a seccomp filter forbids it, as the default profile of containers does".to_owned(),
        _ => format!("a seccomp filter forbids {}", part.call()),
    };
    let remedy = match part {
        Part::Wake | Part::BufferMemory => {
            format!("allow {} in the container's seccomp profile", part.call())
        }
        _ => format!("allow {ALL_CALLS} in the container's seccomp profile"),
    };
    (reason, remedy)
}

/// Rings and the buffers registered with them may be charged to the limit on locked memory, depending on the kernel
/// (`io_uring_setup(2)`, `io_uring_register(2)`). Nothing else is: then the system or the control group has none left.
fn no_memory(part: Part) -> (String, String) {
    match part {
        Part::Ring | Part::Buffers => (
            Refusal::NO_MEMORY_TO_LOCK.to_owned(),
            "raise it (`ulimit -l`, LimitMEMLOCK= in a systemd unit)".to_owned(),
        ),
        Part::Operations | Part::BufferMemory | Part::Submission | Part::Wake => (
            format!("the system has no memory left for {}", part.what()),
            "free memory, or raise the memory limit (MemoryMax= in a systemd unit, the container's)"
                .to_owned(),
        ),
    }
}

/// Whether a kernel's version, `5.15.0-91-generic`, is before 6.0. One that cannot be read is not.
fn is_before_6(release: &str) -> bool {
    release.split('.').next().and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major < 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: [Part; 6] =
        [Part::Ring, Part::Operations, Part::BufferMemory, Part::Buffers, Part::Submission, Part::Wake];

    fn system(release: &str, filtered: bool) -> System {
        System { release: release.into(), filtered, disabled: Some("0".into()), group: Some("-1".into()) }
    }

    fn told(system: &System, part: Part, code: i32) -> String {
        system.refusal(part, &io::Error::from_raw_os_error(code)).to_string()
    }

    #[test]
    fn an_old_kernel_is_told_by_its_version() {
        let old = system("5.15.0-91-generic", false);
        for part in [Part::Ring, Part::Operations, Part::Buffers] {
            let told = told(&old, part, libc::EINVAL);
            assert!(told.contains("kernel 5.15.0-91-generic is too old"), "{told}");
            assert!(told.contains("needs Linux 6.0") && told.contains(part.call()), "{told}");
        }
        // In a container too: the filter allowed the call, and this kernel does not know it.
        let told = told(&system("5.10.0", true), Part::Ring, libc::EINVAL);
        assert!(told.contains("5.10.0 is too old") && !told.contains("seccomp"), "{told}");
    }

    #[test]
    fn a_new_kernel_that_answers_like_an_old_one_is_not_called_old() {
        let told = told(&system("6.18.1", true), Part::Ring, libc::EINVAL);
        assert!(told.contains("needs Linux 6.0") && told.contains("calls itself 6.18.1"), "{told}");
        assert!(told.contains("seccomp") && !told.contains("6.18.1 is too old"), "{told}");
    }

    #[test]
    fn what_is_forbidden_is_named_and_never_called_old() {
        for part in PARTS {
            for code in [libc::EPERM, libc::EACCES, libc::ENOSYS] {
                let told = told(&system("6.1.0", true), part, code);
                assert!(told.contains("a seccomp filter forbids") && told.contains("; allow "), "{told}");
                assert!(told.contains(part.call()) && !told.contains("6.0"), "{told}");
            }
            let told = told(&system("6.1.0", false), part, libc::EACCES);
            assert!(told.contains(part.call()) && told.contains("security module"), "{told}");
        }
    }

    #[test]
    fn a_setting_concerns_the_ring_alone() {
        let mut system = system("6.6.0", false);
        for (value, wanted) in [("2", "forbids it to everybody"), ("1", "CAP_SYS_ADMIN")] {
            system.disabled = Some(value.into());
            assert!(told(&system, Part::Ring, libc::EPERM).contains(wanted));
            assert!(told(&system, Part::Submission, libc::EPERM).contains("io_uring_enter"));
        }
        system.group = Some("1000".into());
        assert!(told(&system, Part::Ring, libc::EPERM).contains("join the group 1000"));
    }

    #[test]
    fn only_what_is_charged_to_the_memory_lock_limit_names_it() {
        let system = system("6.1.0", false);
        for part in PARTS {
            let told = told(&system, part, libc::ENOMEM);
            if matches!(part, Part::Ring | Part::Buffers) {
                assert!(told.contains("`ulimit -l`") && told.contains(Refusal::NO_MEMORY_TO_LOCK), "{told}");
            } else {
                assert!(!told.to_lowercase().contains("lock") && !told.contains("ulimit"), "{told}");
                assert!(told.contains(part.what()) && told.contains("MemoryMax="), "{told}");
            }
        }
    }

    #[test]
    fn a_kernel_without_rings() {
        let told = told(&system("5.0.1", false), Part::Ring, libc::ENOSYS);
        assert!(told.contains("kernel 5.0.1 has no io_uring;"), "{told}");
    }
}
