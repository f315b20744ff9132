//! libFuzzer on the target that the variable `FUZZ_TARGET` names. `scripts/fuzz.sh` builds and runs it.
#![no_main]

use std::sync::OnceLock;

use consentgate_fuzz::{TARGETS, Target};

static TARGET: OnceLock<Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: {
        let wanted = std::env::var("FUZZ_TARGET").unwrap_or_default();
        let found = TARGETS.iter().find(|target| target.name == wanted);
        assert!(TARGET.set(*found.expect("FUZZ_TARGET names a target")).is_ok());
    },
    |data: &[u8]| (TARGET.get().expect("it was found at the start").run)(data)
);
