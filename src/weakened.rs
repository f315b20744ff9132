//! What a test takes away from the protocol that keeps caches coherent, to see that its absence is noticed.
//!
//! Every test of safety has its negative twin: the same test on a build without one step must fail. Only a build with
//! the feature `weakened` has such gaps, and it does not start unless it is told which; in every other build the
//! answer is a constant, and nothing of this is left. What the steps are is said where they are taken.

/// A step that can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// W3: a withdrawal is answered without waiting for the other instances.
    Wait,
    /// C1, C3: facts are used whether or not the lease holds.
    Lease,
    /// C3: loaded facts are used and kept, whatever was applied meanwhile.
    AppliedOnLoad,
    /// F4: what an event outdates stays in the cache.
    Dropping,
    /// Rotation: who writes while rows are moved takes no lock of the partition.
    MovingLock,
}

/// Whether this build was told to leave the step out. Never, without the feature.
#[cfg(not(feature = "weakened"))]
#[inline]
pub const fn leaves_out(_: Step) -> bool {
    false
}

#[cfg(feature = "weakened")]
pub use chosen::{choose, leave_out, leaves_out};

#[cfg(feature = "weakened")]
mod chosen {
    use std::sync::OnceLock;

    use super::Step;

    /// Names the step; `nothing` for a control. It does not begin as the settings do, or it would be refused among them.
    const VARIABLE: &str = "WEAKENED_CONSENTGATE";

    static CHOSEN: OnceLock<Option<Step>> = OnceLock::new();

    /// Reads which step is left out. Without a choice this build may not serve.
    #[expect(
        clippy::disallowed_methods,
        reason = "no setting: it exists in builds for one test alone, and must not appear among the settings"
    )]
    pub fn choose() -> Result<(), String> {
        let name = std::env::var(VARIABLE).unwrap_or_default();
        let step = match name.as_str() {
            "nothing" => None,
            "wait" => Some(Step::Wait),
            "lease" => Some(Step::Lease),
            "applied-on-load" => Some(Step::AppliedOnLoad),
            "dropping" => Some(Step::Dropping),
            "moving-lock" => Some(Step::MovingLock),
            _ => {
                return Err(format!(
                    "this build breaks its promises on purpose, for a test, and {VARIABLE} does not say how"
                ));
            }
        };
        tracing::error!(left_out = name, "this build breaks its promises on purpose");
        CHOSEN.get_or_init(|| step);
        Ok(())
    }

    /// Leaves a step out of this process, unless something was chosen before: for a test that serves nobody.
    pub fn leave_out(step: Step) {
        CHOSEN.get_or_init(|| Some(step));
    }

    /// Whether this build was told to leave the step out.
    pub fn leaves_out(step: Step) -> bool {
        CHOSEN.get() == Some(&Some(step))
    }
}
