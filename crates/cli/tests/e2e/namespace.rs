//! A system that was changed for one process and what it starts: another hosts file, no IPv6, files that are hidden. In
//! mount and network namespaces of its own, so nobody else notices.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Where the process may make namespaces, and how.
pub(crate) struct Namespace {
    /// As somebody else than root in a user namespace, too.
    own_user: bool,
}

impl Namespace {
    /// `None`, and says so, where that is not allowed, or the programs for it are missing.
    pub(crate) fn allowed() -> Option<Namespace> {
        let works = |namespace: &Namespace| {
            let mut command = namespace.enter_new();
            command.args(["sh", "-c", "ip link set lo up && mount -t tmpfs none /mnt && nsenter --version"]);
            command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
        };
        let found = [false, true].map(|own_user| Namespace { own_user }).into_iter().find(works);
        if found.is_none() {
            eprintln!("left out: no namespaces for mounts and networks can be made here (`unshare -m -n`)");
        }
        found
    }

    fn enter_new(&self) -> Command {
        let mut command = Command::new("unshare");
        command.args(self.own_user.then_some("--map-root-user")).args(["--mount", "--net"]);
        command
    }

    /// The same command in a system of its own, whose loopback is up and on which `script` was run before.
    pub(crate) fn after(&self, script: &str, command: &Command) -> Command {
        let mut changed = self.enter_new();
        changed.args(["sh", "-e", "-c", &format!("ip link set lo up\n{script}\nexec \"$0\" \"$@\"")]);
        changed.arg(command.get_program()).args(command.get_args());
        changed
    }

    /// The same command as the one job of a shell that is the first process of a PID namespace. Its session's leader has
    /// no number there.
    pub(crate) fn with_own_pids(&self, command: &Command) -> Command {
        let mut shell = Command::new("bash");
        shell.args(["-c", "set -m; \"$0\" \"$@\" & wait -f $!"]);
        shell.arg(command.get_program()).args(command.get_args());
        self.as_first_process(&shell)
    }

    /// The same command as the first process of a PID namespace.
    pub(crate) fn as_first_process(&self, command: &Command) -> Command {
        let mut first = Command::new("unshare");
        first.args(self.own_user.then_some("--map-root-user"));
        first.args(["--pid", "--fork", "--kill-child"]).arg(command.get_program()).args(command.get_args());
        first
    }

    /// The same command in the system of a process.
    pub(crate) fn beside(&self, pid: u32, command: &Command) -> Command {
        let mut beside = Command::new("nsenter");
        beside.args(["--target", &pid.to_string(), "--mount", "--net"]);
        beside.args(self.own_user.then_some("--user"));
        beside.arg("--").arg(command.get_program()).args(command.get_args());
        beside
    }
}

/// A file for as long as this lives.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str, text: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("overlapped-{name}-{}", std::process::id()));
        std::fs::write(&path, text).expect("a file of ours");
        Scratch(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("an ordinary name")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
