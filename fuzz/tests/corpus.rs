//! The corpora, replayed: what was once found to be worth keeping is read again by every `make test`.

use std::fs;
use std::path::Path;

use consentgate_fuzz::TARGETS;

#[test]
fn every_corpus_is_read_without_a_panic() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for target in TARGETS {
        let mut read = 0;
        for entry in fs::read_dir(corpora.join(target.name)).unwrap() {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            let run = target.run;
            if let Err(panic) = std::panic::catch_unwind(|| run(&bytes)) {
                eprintln!("{} is what it does not hold for", path.display());
                std::panic::resume_unwind(panic);
            }
            read += 1;
        }
        assert!(read >= 8, "{} has {read} files", target.name);
    }
    let corpora = fs::read_dir(corpora).unwrap().count();
    assert_eq!(corpora, TARGETS.len(), "a corpus without a target");
}
