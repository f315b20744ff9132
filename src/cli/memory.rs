//! What lies in memory stays there: keys, tokens and numbers are in no core dump, and no other process of the same
//! user reads them.

use std::io;

/// Switches core dumps off for this process and what it starts, for good. On Linux also what a limit does not reach:
/// dumps that the system pipes to a program, and debuggers of the same user.
pub(super) fn keep_private() -> io::Result<()> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        setrlimit(Resource::Core, none)?;
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    }
    Ok(())
}
