//! Sees to it that no gate outlives the tests: one that is stopped by a signal would, if the test process were killed.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Reads which processes there are until its input ends, which the kernel sees to however this process dies; then kills
/// those that are left.
const SCRIPT: &str = r#"
    trap '' HUP INT TERM
    alive=
    while read -r act pid; do
        rest=
        for one in $alive; do [ "$one" = "$pid" ] || rest="$rest $one"; done
        alive=$rest
        [ "$act" = gone ] || alive="$alive $pid"
    done
    for one in $alive; do kill -KILL "$one"; done
"#;

/// From now on this child of ours ends when we do.
pub fn add(pid: u32) {
    tell("add", pid);
}

/// This child has ended, and its number may become somebody else's.
pub fn gone(pid: u32) {
    tell("gone", pid);
}

fn tell(act: &str, pid: u32) {
    static WATCHDOG: OnceLock<Mutex<Child>> = OnceLock::new();
    let watchdog = WATCHDOG.get_or_init(|| {
        let mut watchdog = Command::new("sh");
        watchdog.args(["-c", SCRIPT, "watchdog"]).current_dir("/");
        // In a process group of its own, so that Ctrl-C and a killed group do not reach it.
        watchdog.process_group(0);
        watchdog.stdin(Stdio::piped());
        watchdog.stdout(Stdio::null()).stderr(Stdio::null());
        Mutex::new(watchdog.spawn().unwrap())
    });
    let mut watchdog = watchdog.lock().unwrap_or_else(PoisonError::into_inner);
    let input = watchdog.stdin.as_mut().expect("it is piped");
    writeln!(input, "{act} {pid}").unwrap();
}
