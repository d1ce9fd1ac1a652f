//! Making a ring on whatever kernel there is, and saying why when there is none to be had.

use std::fs;
use std::io;

use ::io_uring::{IoUring as Ring, Probe, opcode};

use crate::backend::Name;
use crate::backend::detect::Refusal;

/// Makes the best ring this kernel offers, halved as often as the memory limit asks. The flag says whether
/// completions are deferred to our own calls.
pub(super) fn build_ring(entries: u32, completions: u32, least: u32) -> Result<(Ring, bool), Refusal> {
    let mut size = entries;
    loop {
        match build(size, completions / (entries / size)) {
            Ok(made) => return Ok(made),
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && size > least => size /= 2,
            Err(error) => return Err(of("a ring", &error)),
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
    let known = ring.submitter().register_probe(&mut probe).is_ok();
    if known && probe.is_supported(opcode::SendZc::CODE) {
        return Ok(());
    }
    Err(Refusal {
        backend: Name::IoUring,
        reason: format!("kernel {} has no multishot receive, which came with Linux 6.0", release()),
        remedy: "use a newer kernel, or --backend readiness".into(),
    })
}

/// Why `what` could not be made, from the error and from what the system says of itself.
pub(super) fn of(what: &str, error: &io::Error) -> Refusal {
    let (reason, remedy) = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => not_permitted(error),
        Some(libc::ENOSYS) if seccomp_filtered() => by_seccomp(),
        Some(libc::ENOSYS) => (
            format!("kernel {} has no io_uring", release()),
            "use Linux 6.0 or newer with CONFIG_IO_URING".to_owned(),
        ),
        Some(libc::ENOMEM) => (
            Refusal::NO_MEMORY_TO_LOCK.to_owned(),
            "raise it (`ulimit -l`, LimitMEMLOCK= in a systemd unit)".to_owned(),
        ),
        Some(libc::EMFILE | libc::ENFILE) => (
            format!("no descriptor is left for {what}"),
            "raise the descriptor limit (`ulimit -n`, LimitNOFILE= in a systemd unit)".to_owned(),
        ),
        _ => (format!("{what} could not be made: {error}"), "use --backend readiness".to_owned()),
    };
    Refusal { backend: Name::IoUring, reason, remedy }
}

fn not_permitted(error: &io::Error) -> (String, String) {
    const SETTING: &str = "kernel.io_uring_disabled";
    match fs::read_to_string("/proc/sys/kernel/io_uring_disabled").as_deref().map(str::trim) {
        Ok("2") => {
            (format!("{SETTING} is 2, which forbids it to everybody"), format!("run `sysctl {SETTING}=0`"))
        }
        Ok("1") => (
            format!("{SETTING} is 1, which allows it to CAP_SYS_ADMIN and one group only"),
            format!("run `sysctl {SETTING}=0`, or {}", join_the_group()),
        ),
        _ if seccomp_filtered() => by_seccomp(),
        _ => (
            format!("the kernel does not permit it: {error}"),
            "look for a security module's rule about io_uring".to_owned(),
        ),
    }
}

fn join_the_group() -> String {
    const GROUP: &str = "kernel.io_uring_group";
    match fs::read_to_string("/proc/sys/kernel/io_uring_group").as_deref().map(str::trim) {
        Ok("-1") | Err(_) => format!("set {GROUP} to the id of a group of yours"),
        Ok(group) => format!("join the group {group}, which {GROUP} names"),
    }
}

fn by_seccomp() -> (String, String) {
    (
        "a seccomp filter forbids it, as the default profile of containers does".to_owned(),
        "allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile"
            .to_owned(),
    )
}

fn seccomp_filtered() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"))
}

fn release() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    text.trim().to_owned()
}
