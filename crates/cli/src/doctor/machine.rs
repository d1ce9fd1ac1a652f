//! What the system says of itself in files. What this system does not have is [`Answer::Absent`]; what it has and does
//! not show, as where `/proc` is masked, is [`Answer::NotReadable`]. The root is given, so that tests can bring a machine of
//! their own.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Answers from the files under a root.
pub(super) struct Machine {
    root: Option<PathBuf>,
}

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer<T> {
    Is(T),
    /// This system has no such thing.
    Absent,
    /// It has, or may have, and does not say.
    NotReadable,
}

impl<T> Answer<T> {
    pub(super) fn is(self) -> Option<T> {
        match self {
            Answer::Is(value) => Some(value),
            Answer::Absent | Answer::NotReadable => None,
        }
    }

    pub(super) fn map<U>(self, f: impl FnOnce(T) -> U) -> Answer<U> {
        self.and_then(|value| Some(f(value)))
    }

    /// What has not the form that is expected was not understood, so not read.
    fn and_then<U>(self, f: impl FnOnce(T) -> Option<U>) -> Answer<U> {
        match self {
            Answer::Is(value) => f(value).map_or(Answer::NotReadable, Answer::Is),
            Answer::Absent => Answer::Absent,
            Answer::NotReadable => Answer::NotReadable,
        }
    }

    /// Where the system always has it.
    fn always_there(self) -> Answer<T> {
        if matches!(self, Answer::Absent) { Answer::NotReadable } else { self }
    }

    pub(super) fn as_ref(&self) -> Answer<&T> {
        match self {
            Answer::Is(value) => Answer::Is(value),
            Answer::Absent => Answer::Absent,
            Answer::NotReadable => Answer::NotReadable,
        }
    }
}

/// A limit of a control group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupLimit {
    /// `None`: unlimited.
    pub(super) most: Option<u64>,
    /// What the group that has it uses now.
    pub(super) used: u64,
}

/// A limit of the process, as `/proc/self/limits` has it. `None`: unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SoftLimit(pub(super) Option<u64>);

impl Machine {
    /// The machine that this runs on. Only Linux answers: under Wine its files are in sight, and they do not
    /// hold for a program of another system.
    pub(super) fn this() -> Machine {
        Machine { root: cfg!(target_os = "linux").then(|| PathBuf::from("/")) }
    }

    fn read(&self, path: impl AsRef<Path>) -> Answer<String> {
        let Some(root) = &self.root else { return Answer::Absent };
        match fs::read_to_string(root.join(path)) {
            Ok(text) => Answer::Is(text.trim().to_owned()),
            Err(error) if error.kind() == ErrorKind::NotFound => Answer::Absent,
            Err(_) => Answer::NotReadable,
        }
    }

    /// On a system that has these files at all.
    fn read_always_there(&self, path: impl AsRef<Path>) -> Answer<String> {
        let answer = self.read(path);
        if self.root.is_some() { answer.always_there() } else { answer }
    }

    fn is_there(&self, path: impl AsRef<Path>) -> bool {
        self.root.as_ref().is_some_and(|root| root.join(path).exists())
    }

    /// A kernel setting by its name for `sysctl`, which every kernel has.
    pub(super) fn setting(&self, name: &str) -> Answer<String> {
        self.read_always_there(path_of(name))
    }

    pub(super) fn number(&self, name: &str) -> Answer<u64> {
        self.setting(name).and_then(|text| text.parse().ok())
    }

    /// One that only some kernels have: whether this one does shows only where its settings are in sight.
    pub(super) fn setting_if_any(&self, name: &str) -> Answer<String> {
        let answer = self.read(path_of(name));
        let in_sight = self.root.is_none() || self.is_there(path_of("kernel.osrelease"));
        if in_sight { answer } else { answer.always_there() }
    }

    pub(super) fn number_if_any(&self, name: &str) -> Answer<u64> {
        self.setting_if_any(name).and_then(|text| text.parse().ok())
    }

    /// First and last local port that the system gives to clients.
    pub(super) fn port_range(&self) -> Answer<(u16, u16)> {
        self.setting("net.ipv4.ip_local_port_range").and_then(|text| {
            let (first, last) = text.split_once(char::is_whitespace)?;
            Some((first.parse().ok()?, last.trim_start().parse().ok()?))
        })
    }

    pub(super) fn release(&self) -> Option<String> {
        self.setting("kernel.osrelease").is()
    }

    /// Whether system calls of this process go through a seccomp filter.
    pub(super) fn seccomp_filtered(&self) -> Answer<bool> {
        // A kernel without seccomp has no such line.
        self.read_always_there("proc/self/status").map(|status| {
            status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"))
        })
    }

    pub(super) fn memory_lock(&self) -> Answer<SoftLimit> {
        self.read_always_there("proc/self/limits").and_then(|limits| {
            let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
            match line.split_whitespace().next()? {
                "unlimited" => Some(SoftLimit(None)),
                bytes => bytes.parse().ok().map(|bytes| SoftLimit(Some(bytes))),
            }
        })
    }

    pub(super) fn group_memory(&self) -> Answer<GroupLimit> {
        self.group_limit(
            "memory",
            ["memory.max", "memory.current"],
            ["memory.limit_in_bytes", "memory.usage_in_bytes"],
        )
    }

    pub(super) fn group_pids(&self) -> Answer<GroupLimit> {
        self.group_limit("pids", ["pids.max", "pids.current"], ["pids.max", "pids.current"])
    }

    /// The tightest limit from this process's group up to the root of what is visible; a container sees its own
    /// group as that root. `unified` and `legacy` are the files of the limit and of what is used in either version.
    fn group_limit(&self, controller: &str, unified: [&str; 2], legacy: [&str; 2]) -> Answer<GroupLimit> {
        let groups = match self.read("proc/self/cgroup") {
            Answer::Is(groups) => groups,
            // A kernel without control groups has no such file, if it shows this process at all.
            Answer::Absent if self.root.is_none() || self.is_there("proc/self/status") => {
                return Answer::Absent;
            }
            Answer::Absent | Answer::NotReadable => return Answer::NotReadable,
        };
        let (places, group, files) = match (group_of(&groups, controller), group_of(&groups, "")) {
            (Some(group), _) => ([controller, controller], group, legacy),
            (None, Some(group)) => (["", "unified"], group, unified),
            (None, None) => return Answer::Absent,
        };
        // Every group of either version has this file, the root too.
        let mounts = places.map(|place| Path::new("sys/fs/cgroup").join(place));
        match mounts.iter().find(|mount| self.is_there(mount.join("cgroup.procs"))) {
            Some(mount) => self.tightest(mount, Path::new(group.trim_start_matches('/')), files),
            None => Answer::NotReadable,
        }
    }

    fn tightest(&self, mount: &Path, group: &Path, [most, used]: [&str; 2]) -> Answer<GroupLimit> {
        let mut limit: Option<GroupLimit> = None;
        for group in group.ancestors() {
            let text = match self.read(mount.join(group).join(most)) {
                Answer::Is(text) => text,
                // The root has no limit, nor has a group whose parent does not hand the controller on.
                Answer::Absent => continue,
                Answer::NotReadable => return Answer::NotReadable,
            };
            let used = self.read(mount.join(group).join(used)).and_then(|text| text.parse().ok());
            let Some(used) = used.is() else { return Answer::NotReadable };
            let here = GroupLimit { most: text.parse().ok().filter(|most| *most < NO_LIMIT), used };
            let tighter = limit.is_none_or(|limit| here.room() < limit.room());
            limit = if tighter { Some(here) } else { limit };
        }
        limit.map_or(Answer::Absent, Answer::Is)
    }
}

/// The group of this process in the hierarchy that has `controller`: each is in one. The unified one is without a name.
fn group_of<'a>(groups: &'a str, controller: &str) -> Option<&'a str> {
    groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        controllers.split(',').any(|name| name == controller).then_some(path)
    })
}

fn path_of(setting: &str) -> PathBuf {
    Path::new("proc/sys").join(setting.replace('.', "/"))
}

impl GroupLimit {
    fn room(self) -> u64 {
        self.most.map_or(u64::MAX, |most| most.saturating_sub(self.used))
    }
}

/// The first version of control groups has no word for "unlimited", but a number of nearly 2^63.
const NO_LIMIT: u64 = 1 << 60;

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn with(name: &str, files: &[(&str, &str)]) -> Scratch {
            let root = std::env::temp_dir().join(format!("overlapped-doctor-{name}-{}", std::process::id()));
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().expect("a directory")).unwrap();
                fs::write(path, text).unwrap();
            }
            Scratch(root)
        }

        fn machine(&self) -> Machine {
            Machine { root: Some(self.0.clone()) }
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn another_system_has_nothing_of_it() {
        let machine = Machine { root: None };
        assert_eq!(machine.setting("net.core.somaxconn"), Answer::Absent);
        assert_eq!(machine.number_if_any("kernel.io_uring_disabled"), Answer::Absent);
        assert_eq!(machine.port_range(), Answer::Absent);
        assert_eq!(machine.seccomp_filtered(), Answer::Absent);
        assert_eq!(machine.memory_lock(), Answer::Absent);
        assert_eq!(machine.group_memory(), Answer::Absent);
    }

    /// Nothing is mounted at `/proc`, or something is in front of it.
    #[test]
    fn what_is_hidden_is_not_readable() {
        let scratch = Scratch::with("hidden", &[("etc/hosts", "")]);
        let machine = scratch.machine();
        assert_eq!(machine.number("net.core.somaxconn"), Answer::NotReadable);
        assert_eq!(machine.number_if_any("net.netfilter.nf_conntrack_max"), Answer::NotReadable);
        assert_eq!(machine.port_range(), Answer::NotReadable);
        assert_eq!(machine.seccomp_filtered(), Answer::NotReadable);
        assert_eq!(machine.memory_lock(), Answer::NotReadable);
        assert_eq!(machine.group_memory(), Answer::NotReadable);
        assert_eq!(machine.group_pids(), Answer::NotReadable);
    }

    /// What is in sight says what this kernel does not have; what makes no sense was not read.
    #[test]
    fn absent_and_unreadable_are_two_things() {
        let scratch = Scratch::with(
            "absent",
            &[
                ("proc/sys/kernel/osrelease", "6.1.0\n"),
                ("proc/sys/net/core/somaxconn", "many\n"),
                ("proc/sys/net/ipv4/ip_local_port_range", "32768\n"),
                ("proc/self/status", "Name:\tx\n"),
                ("proc/self/limits", "Limit Soft Hard\n"),
            ],
        );
        let machine = scratch.machine();
        assert_eq!(machine.number_if_any("net.netfilter.nf_conntrack_max"), Answer::Absent);
        assert_eq!(machine.number("fs.nr_open"), Answer::NotReadable, "every kernel has it");
        assert_eq!(machine.number("net.core.somaxconn"), Answer::NotReadable);
        assert_eq!(machine.port_range(), Answer::NotReadable);
        assert_eq!(machine.seccomp_filtered(), Answer::Is(false), "a kernel without filters");
        assert_eq!(machine.memory_lock(), Answer::NotReadable);
        assert_eq!(machine.group_memory(), Answer::Absent, "a kernel without groups");
        // As root everything can be read, but not a directory as a file.
        fs::create_dir_all(scratch.0.join("proc/sys/kernel/io_uring_disabled")).unwrap();
        assert_eq!(machine.setting_if_any("kernel.io_uring_disabled"), Answer::NotReadable);
    }

    #[test]
    fn groups_that_are_not_mounted_are_not_readable() {
        let groups = ("proc/self/cgroup", "0::/inner\n");
        let scratch = Scratch::with("unmounted", &[groups]);
        assert_eq!(scratch.machine().group_memory(), Answer::NotReadable);
        let procs = ("sys/fs/cgroup/cgroup.procs", "");
        let scratch = Scratch::with("unlimited", &[groups, procs]);
        assert_eq!(scratch.machine().group_memory(), Answer::Absent);
        let most = ("sys/fs/cgroup/inner/memory.max", "4096\n");
        let scratch = Scratch::with("unused", &[groups, procs, most]);
        assert_eq!(scratch.machine().group_memory(), Answer::NotReadable, "nothing says what is used");
    }

    #[test]
    fn settings_and_limits_are_read() {
        let scratch = Scratch::with(
            "settings",
            &[
                ("proc/sys/net/core/somaxconn", "128\n"),
                ("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
                ("proc/self/status", "Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n"),
                ("proc/self/limits", "Limit Soft Hard\nMax locked memory   65536   unlimited   bytes\n"),
            ],
        );
        let machine = scratch.machine();
        assert_eq!(machine.number("net.core.somaxconn"), Answer::Is(128));
        assert_eq!(machine.port_range(), Answer::Is((32768, 60999)));
        assert_eq!(machine.seccomp_filtered(), Answer::Is(true));
        assert_eq!(machine.memory_lock(), Answer::Is(SoftLimit(Some(65536))));
    }

    #[test]
    fn the_tightest_group_counts() {
        let scratch = Scratch::with(
            "unified",
            &[
                ("proc/self/cgroup", "0::/outer/inner\n"),
                ("sys/fs/cgroup/cgroup.procs", ""),
                ("sys/fs/cgroup/outer/memory.max", "1000\n"),
                ("sys/fs/cgroup/outer/memory.current", "900\n"),
                ("sys/fs/cgroup/outer/inner/memory.max", "max\n"),
                ("sys/fs/cgroup/outer/inner/memory.current", "100\n"),
            ],
        );
        let limit = scratch.machine().group_memory();
        assert_eq!(limit, Answer::Is(GroupLimit { most: Some(1000), used: 900 }));
    }

    #[test]
    fn older_control_groups_are_read_too() {
        let scratch = Scratch::with(
            "legacy",
            &[
                ("proc/self/cgroup", "5:cpu,memory:/not/visible/here\n8:pids:/\n0::/\n"),
                ("sys/fs/cgroup/memory/cgroup.procs", ""),
                ("sys/fs/cgroup/pids/cgroup.procs", ""),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ("sys/fs/cgroup/memory/memory.usage_in_bytes", "7\n"),
                ("sys/fs/cgroup/pids/pids.max", "50\n"),
                ("sys/fs/cgroup/pids/pids.current", "49\n"),
            ],
        );
        assert_eq!(scratch.machine().group_memory(), Answer::Is(GroupLimit { most: None, used: 7 }));
        assert_eq!(scratch.machine().group_pids(), Answer::Is(GroupLimit { most: Some(50), used: 49 }));
    }

    /// Version 2 beside version 1: each controller is in one of them.
    #[test]
    fn hybrid_control_groups_are_read_too() {
        let scratch = Scratch::with(
            "hybrid",
            &[
                ("proc/self/cgroup", "8:pids:/\n0::/inner\n"),
                ("sys/fs/cgroup/pids/cgroup.procs", ""),
                ("sys/fs/cgroup/unified/cgroup.procs", ""),
                ("sys/fs/cgroup/unified/inner/memory.max", "4096\n"),
                ("sys/fs/cgroup/unified/inner/memory.current", "96\n"),
            ],
        );
        assert_eq!(scratch.machine().group_memory(), Answer::Is(GroupLimit { most: Some(4096), used: 96 }));
        assert_eq!(scratch.machine().group_pids(), Answer::Absent, "the root has no limit");
    }
}
