//! What the system says of itself in files. A file that is not there, as on another system, is no answer and no
//! error. The root is given, so that tests can bring a machine of their own.

use std::fs;
use std::path::{Path, PathBuf};

/// Answers from the files under a root.
pub(super) struct Machine {
    root: Option<PathBuf>,
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

    fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        let text = fs::read_to_string(self.root.as_ref()?.join(path)).ok()?;
        Some(text.trim().to_owned())
    }

    /// A kernel setting by its name for `sysctl`.
    pub(super) fn setting(&self, name: &str) -> Option<String> {
        self.read(Path::new("proc/sys").join(name.replace('.', "/")))
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.setting(name)?.parse().ok()
    }

    /// First and last local port that the system gives to clients.
    pub(super) fn port_range(&self) -> Option<(u16, u16)> {
        let text = self.setting("net.ipv4.ip_local_port_range")?;
        let (first, last) = text.split_once(char::is_whitespace)?;
        Some((first.parse().ok()?, last.trim_start().parse().ok()?))
    }

    pub(super) fn release(&self) -> Option<String> {
        self.setting("kernel.osrelease")
    }

    /// Whether system calls of this process go through a seccomp filter.
    pub(super) fn seccomp_filtered(&self) -> Option<bool> {
        let status = self.read("proc/self/status")?;
        let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"))?;
        Some(mode.trim() == "2")
    }

    pub(super) fn memory_lock(&self) -> Option<SoftLimit> {
        let limits = self.read("proc/self/limits")?;
        let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
        match line.split_whitespace().next()? {
            "unlimited" => Some(SoftLimit(None)),
            bytes => bytes.parse().ok().map(|bytes| SoftLimit(Some(bytes))),
        }
    }

    pub(super) fn group_memory(&self) -> Option<GroupLimit> {
        let unified = self.group_limit("", "memory.max", "memory.current");
        unified.or_else(|| self.group_limit("memory", "memory.limit_in_bytes", "memory.usage_in_bytes"))
    }

    pub(super) fn group_pids(&self) -> Option<GroupLimit> {
        let unified = self.group_limit("", "pids.max", "pids.current");
        unified.or_else(|| self.group_limit("pids", "pids.max", "pids.current"))
    }

    /// The tightest limit from this process's group up to the root of what is visible; a container sees its own
    /// group as that root. `controller` is empty for the unified hierarchy.
    fn group_limit(&self, controller: &str, most: &str, used: &str) -> Option<GroupLimit> {
        let groups = self.read("proc/self/cgroup")?;
        let group = groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            controllers.split(',').any(|name| name == controller).then_some(path)
        })?;
        let mounted = Path::new("sys/fs/cgroup").join(controller);
        let mut limit: Option<GroupLimit> = None;
        for group in Path::new(group.trim_start_matches('/')).ancestors() {
            let Some(text) = self.read(mounted.join(group).join(most)) else { continue };
            let used = self.read(mounted.join(group).join(used)).and_then(|text| text.parse().ok());
            let here = GroupLimit { most: text.parse().ok().filter(|most| *most < NO_LIMIT), used: used? };
            let tighter = limit.is_none_or(|limit| here.room() < limit.room());
            limit = if tighter { Some(here) } else { limit };
        }
        limit
    }
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
    fn a_machine_without_files_answers_nothing() {
        let machine = Machine { root: None };
        assert_eq!(machine.setting("net.core.somaxconn"), None);
        assert_eq!(machine.port_range(), None);
        assert_eq!(machine.seccomp_filtered(), None);
        assert_eq!(machine.memory_lock(), None);
        assert_eq!(machine.group_memory(), None);
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
        assert_eq!(machine.number("net.core.somaxconn"), Some(128));
        assert_eq!(machine.port_range(), Some((32768, 60999)));
        assert_eq!(machine.seccomp_filtered(), Some(true));
        assert_eq!(machine.memory_lock(), Some(SoftLimit(Some(65536))));
    }

    #[test]
    fn the_tightest_group_counts() {
        let scratch = Scratch::with(
            "unified",
            &[
                ("proc/self/cgroup", "0::/outer/inner\n"),
                ("sys/fs/cgroup/outer/memory.max", "1000\n"),
                ("sys/fs/cgroup/outer/memory.current", "900\n"),
                ("sys/fs/cgroup/outer/inner/memory.max", "max\n"),
                ("sys/fs/cgroup/outer/inner/memory.current", "100\n"),
            ],
        );
        let limit = scratch.machine().group_memory();
        assert_eq!(limit, Some(GroupLimit { most: Some(1000), used: 900 }));
    }

    #[test]
    fn older_control_groups_are_read_too() {
        let scratch = Scratch::with(
            "legacy",
            &[
                ("proc/self/cgroup", "5:cpu,memory:/not/visible/here\n8:pids:/\n0::/\n"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ("sys/fs/cgroup/memory/memory.usage_in_bytes", "7\n"),
                ("sys/fs/cgroup/pids/pids.max", "50\n"),
                ("sys/fs/cgroup/pids/pids.current", "49\n"),
            ],
        );
        assert_eq!(scratch.machine().group_memory(), Some(GroupLimit { most: None, used: 7 }));
        assert_eq!(scratch.machine().group_pids(), Some(GroupLimit { most: Some(50), used: 49 }));
    }
}
