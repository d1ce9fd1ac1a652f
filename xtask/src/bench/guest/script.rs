//! What the machine does, as a shell script for busybox.

use std::path::Path;

use super::figures::{FAILED, FIGURES};
use crate::kernels::image::{BEGINNING, POWER_OFF};

/// Limits of the system that 100,000 sessions exceed: each session has two descriptors here, one of the server and one of
/// the generator. Everything else is as the kernel has it.
const LIMITS: &str = "\
echo madvise > /sys/kernel/mm/transparent_hugepage/enabled
echo 2000000 > /proc/sys/fs/nr_open
echo 2000000 > /proc/sys/fs/file-max
echo 65535 > /proc/sys/net/core/somaxconn
ulimit -n 1000000
";

/// `measure BACKEND SESSIONS`. Times are those of `/proc/uptime`, in hundredths of a second. `SIGUSR1` has the server print
/// how many sessions it has.
const MEASURE: &str = r#"
uptime() { read now rest < /proc/uptime; echo $now; }
whole_seconds() { read now rest < /proc/uptime; echo ${now%.*}; }
field() { busybox awk -v name="$2" '$1 == name { print $2 }' $1; }
kernel_kib() {
  busybox awk '/^(Slab|PageTables|KernelStack|Percpu):/ { sum += $2 } END { print sum }' /proc/meminfo
}
sessions() {
  kill -USR1 $server 2>/dev/null
  busybox usleep 50000
  busybox awk '/^now: sessions/ { count = $3 } END { print count + 0 }' /tmp/serve.err
}
until_sessions() {
  begun=$(whole_seconds) said=$begun
  while :; do
    count=$(sessions) now=$(whole_seconds)
    [ $count -ne $1 ] || return 0
    [ $now -lt $((begun + 900)) ] || return 1
    busybox kill -0 $server 2>/dev/null || return 1
    busybox kill -0 $load 2>/dev/null || return 1
    [ $now -lt $((said + 10)) ] || { echo "$now s: $count sessions"; said=$now; }
    busybox usleep 150000
  done
}
measure() {
  backend=$1 wanted=$2
  $program serve --workers 1 --backend $backend --bind 127.0.0.1:9999 --drain-timeout 20m \
    > /tmp/serve.out 2> /tmp/serve.err &
  server=$!
  until busybox grep -q listening /tmp/serve.out; do
    busybox kill -0 $server 2>/dev/null || break
    busybox usleep 50000
  done
  server_before=$(field /proc/$server/status VmRSS:) kernel_before=$(kernel_kib)
  connecting=$(uptime)
  $program load 127.0.0.1:9999 --connections $wanted --rate 10 --warmup 0s --duration 2h --reply-timeout 10m \
    > /tmp/load.out 2> /tmp/load.err &
  load=$!
  if ! until_sessions $wanted; then
    echo "@failed $backend $wanted $(sessions) sessions; $(busybox tail -n 1 /tmp/load.err) $(busybox tail -n 1 /tmp/serve.err)"
    kill -KILL $server $load; wait $server $load
    return
  fi
  connected=$(uptime)
  busybox sleep 5
  server_after=$(field /proc/$server/status VmRSS:) kernel_after=$(kernel_kib)
  draining=$(uptime)
  kill -TERM $server
  wait $server
  status=$?
  drained=$(uptime)
  kill -KILL $load; wait $load
  echo "@figures $backend $wanted connect $connecting $connected server $server_before $server_after kernel $kernel_before" \
    "$kernel_after drain $draining $drained status $status $(busybox tail -n 1 /tmp/serve.out)"
  busybox sleep 3
}
"#;

/// The `init` that measures each backend with each number of sessions.
pub(super) fn init(program: &Path, cases: &[(&str, u32)]) -> String {
    let measure = MEASURE.replace("@figures", FIGURES).replace("@failed", FAILED);
    let mut text = format!("{BEGINNING}{LIMITS}program='{}'\n{measure}", program.display());
    for (backend, sessions) in cases {
        text.push_str(&format!("measure {backend} {sessions}\n"));
    }
    text + POWER_OFF
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_one() {
        let text = init(Path::new("/a/overlapped"), &[("io_uring", 5), ("readiness", 5)]);
        assert!(
            text.contains("program='/a/overlapped'") && text.contains("\nmeasure readiness 5\n"),
            "{text}"
        );
        let mut shell = std::process::Command::new("sh");
        let status = shell.args(["-n", "-c", &text]).status().expect("a shell");
        assert!(status.success());
    }
}
