//! A machine of qemu that runs one kernel with one image until it powers itself off.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::image::Image;
use super::needs::Kernel;
use crate::bounded::{self, Failure};

pub(crate) struct Machine {
    pub(crate) memory_mib: u32,
    /// From start to power-off; then it is ended.
    pub(crate) limit: Duration,
}

impl Machine {
    /// Returns what the machine printed, which is in `log` too, and why it was ended if it did not power itself off.
    pub(crate) fn boot(
        &self,
        kernel: &Kernel,
        image: &Image,
        log: &Path,
    ) -> Result<(String, Option<Failure>), Failure> {
        let failed = |error: std::io::Error| format!("{}: {error}", log.display());
        let out = File::create(log).map_err(failed)?;
        let mut machine = Command::new("qemu-system-x86_64");
        // In software on every machine: a processor's own virtualization is not to be had, or not whole, inside another.
        machine.args(["-accel", "tcg,thread=multi", "-smp", "2", "-m", &self.memory_mib.to_string()]);
        machine.arg("-kernel").arg(&kernel.file).arg("-initrd").arg(&image.file);
        machine.args(["-append", "console=ttyS0 quiet panic=1", "-no-reboot", "-display", "none"]);
        machine.args(["-monitor", "none", "-serial", "stdio", "-nic", "none"]);
        machine.stdin(Stdio::null()).stdout(out);
        let hung = match bounded::status_of(&mut machine, self.limit) {
            Ok(status) if status.success() => None,
            Ok(status) => Some(format!("qemu ended with {status}")),
            Err(failure) => Some(failure),
        };
        let text = std::fs::read(log).map_err(failed)?;
        Ok((String::from_utf8_lossy(&text).into_owned(), hung))
    }
}
