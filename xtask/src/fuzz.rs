//! The fuzz targets of `fuzz/`, with LLVM's libFuzzer. What cargo-fuzz does for a compiler of the development channel, these
//! flags do for any: the code of the targets is instrumented, without a sanitizer.

use std::process::Command;
use std::time::Duration;

use crate::bounded::{self, Failure};
use crate::place;

const BUILD: Duration = Duration::from_secs(1800);
/// Seconds for each target unless told otherwise.
const SECONDS: u64 = 30;
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// `seconds`: for each target, as the user gave it.
pub(crate) fn run(seconds: Option<&str>) -> Result<(), Failure> {
    let seconds = seconds.map_or(Ok(SECONDS), str::parse);
    let seconds = seconds.map_err(|error| format!("--seconds: {error}; give a number"))?;
    let (manifest, built) = (place::workspace().join("fuzz/Cargo.toml"), place::target("fuzz"));
    let mut build = place::cargo();
    // With a target of its own, build scripts are not instrumented.
    let host = host()?;
    build.args(["build", "--quiet", "--release", "--target", &host, "--manifest-path"]).arg(&manifest);
    bounded::run(build.env("RUSTFLAGS", FLAGS).env("CARGO_TARGET_DIR", &built), BUILD)?;
    for target in targets()? {
        let corpus = built.join("corpus").join(&target);
        std::fs::create_dir_all(&corpus).map_err(|error| format!("{}: {error}", corpus.display()))?;
        let mut fuzz = Command::new(built.join(&host).join("release").join(&target));
        fuzz.arg(&corpus).arg(format!("-max_total_time={seconds}")).args(["-timeout=10", "-max_len=16384"]);
        fuzz.arg(format!("-artifact_prefix={}/", built.display()));
        bounded::run(&mut fuzz, Duration::from_secs(seconds + 120))?;
        println!("{target}: {seconds} s without a failure");
    }
    Ok(())
}

/// The system that this compiler builds for.
fn host() -> Result<String, Failure> {
    let (lines, _) = bounded::lines_of(Command::new("rustc").arg("-vV"), BUILD, |_| false)?;
    let host = lines.iter().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "`rustc -vV` names no host".to_owned())
}

fn targets() -> Result<Vec<String>, Failure> {
    let folder = place::workspace().join("fuzz/fuzz_targets");
    let files = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let names = files.flatten().filter_map(|file| Some(file.path().file_stem()?.to_str()?.to_owned()));
    Ok(names.collect())
}
