//! A gate that dies badly leaves nothing of its memory behind.

use std::fs;

use super::Place;
use super::gate::Gate;

/// Even where whoever started it wanted core dumps.
const WITH_DUMPS: &str = r#"ulimit -c unlimited && exec "$0" "$@""#;

#[tokio::test]
async fn a_gate_that_is_aborted_leaves_no_core_dump() {
    let place = Place::sqlite();
    let gate = Gate::start(place.behind(WITH_DUMPS, &place.serve(&[]))).await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", gate.pid())).unwrap();
    let limit = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let limit: Vec<&str> = limit.unwrap().split_whitespace().collect();
    assert_eq!(limit[4..6], ["0", "0"], "{limit:?}");
    gate.signal("ABRT");
    let ended = gate.ended().await;
    assert_eq!(ended.signal(), Some(6), "{ended}");
    assert!(!ended.dumped_core(), "{ended}");
    let files = fs::read_dir(place.path("")).unwrap();
    let names: Vec<String> = files
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(!names.iter().any(|name| name.contains("core")), "{names:?}");
}
