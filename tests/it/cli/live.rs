//! From nothing to a consent and back, as the README tells it: the binary serves its example, and
//! asks itself.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::Value;

use super::{Ran, command};

/// `consentgate serve --example` in a directory of its own, until it is dropped.
struct Gate {
    child: Child,
    address: SocketAddr,
}

impl Gate {
    fn serve(directory: &Path) -> Self {
        let mut child = command(&[
            "serve",
            "--example",
            "--listen",
            "127.0.0.1:0",
            "--log-format",
            "json",
        ])
        .current_dir(directory)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let address = loop {
            let Some(line) = log.next() else {
                panic!("it ended before it served: {said:?}")
            };
            let line = line.unwrap();
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["message"] == "serving" {
                break event["address"].as_str().unwrap().parse().unwrap();
            }
            said.push(line);
        };
        // Whoever writes to a full pipe waits.
        std::thread::spawn(move || log.for_each(drop));
        Self { child, address }
    }

    fn ask(&self, line: &str) -> Ran {
        self.ask_with(line, "")
    }

    /// Runs one command line. `NUMBER` stands for a number typed with spaces.
    fn ask_with(&self, line: &str, stdin: &str) -> Ran {
        let words = line
            .split_whitespace()
            .map(|word| if word == "NUMBER" { NUMBER } else { word });
        super::ask(self.address, &words.collect::<Vec<_>>(), stdin)
    }

    fn json(&self, line: &str, code: i32) -> Value {
        let ran = self.ask(&format!("{line} --output json"));
        assert_eq!(ran.code, code, "{line}: {}{}", ran.out, ran.err);
        assert_eq!(ran.out.lines().count(), 1, "one object: {}", ran.out);
        serde_json::from_str(&ran.out).unwrap()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Nobody in the example.
const NUMBER: &str = "+49 (176) 040-699 99";

#[test]
fn the_binary_serves_answers_itself_and_replays_what_it_kept() {
    let directory = tempfile::tempdir().unwrap();
    let gate = Gate::serve(directory.path());
    a_person_agrees_confirms_and_withdraws(&gate);
    the_history_tells_it(&gate);
    the_answers_are_explained(&gate);
    a_campaign_is_judged_line_by_line(&gate);
    a_catalogue_is_applied_again_and_changed(&gate, directory.path());
    refusals_name_the_field(&gate);
    the_ledger_is_replayed_once_the_gate_is_gone(gate, directory.path());
}

fn a_person_agrees_confirms_and_withdraws(gate: &Gate) {
    let denied = gate.ask("check NUMBER --business acme --purpose offers");
    assert_eq!(
        (denied.code, denied.out.lines().next()),
        (1, Some("DENY")),
        "{}",
        denied.err
    );
    assert!(
        denied.out.contains("No consent was ever recorded"),
        "{}",
        denied.out
    );
    assert_eq!(
        gate.ask("show NUMBER --business acme").out,
        "Nothing is recorded of this person.\n"
    );

    let record = "record NUMBER --business acme --purpose offers --purpose order-updates --type explicitly-expressed --method unticked-checkbox \
        --notice signup:1:de --evidence source_url=https://acme.example --evidence form_id=f1 \
        --evidence ip_address=192.0.2.1 --evidence user_agent=x --declare default_unticked=true \
        --declare separate_from_terms=true --declare whatsapp_named=true --declare number_entered_by_subject=true \
        --label store=berlin --actor till-3 --idempotency-key k1";
    let recorded = gate.json(record, 0);
    assert_eq!(recorded["records"][0]["state"], "PENDING_CONFIRMATION");
    assert_eq!(recorded["records"][0]["effect"], "APPLIED");
    let again = gate.ask(record);
    assert_eq!(
        again.code, 2,
        "a later time under the same key is other content"
    );
    assert!(
        again.err.starts_with("error: ALREADY_EXISTS"),
        "{}",
        again.err
    );
    gate.json(
        "confirm NUMBER --business acme --method keyword --evidence message_id=wamid.X",
        0,
    );

    // Not marketing, for which it may be too late in the evening.
    let allowed = gate.json("check NUMBER --business acme --purpose order-updates", 0);
    assert_eq!(
        (&allowed["decision"], &allowed["reasons"][0]),
        (&"ALLOW".into(), &"CONSENT_GIVEN".into())
    );

    let withdrawn = gate.ask("withdraw NUMBER --business acme --all-marketing --method keyword");
    assert_eq!(withdrawn.code, 0, "{}", withdrawn.err);
    assert!(withdrawn.out.contains("all marketing"), "{}", withdrawn.out);
    let denied = gate.json("check NUMBER --business acme --purpose offers", 1);
    assert_eq!(denied["reasons"][0], "WITHDRAWN");
}

fn the_history_tells_it(gate: &Gate) {
    let shown = gate.ask("show NUMBER --business acme").out;
    let order = [
        "CONSENT GIVEN",
        "notice        signup v1 (de)",
        "CONFIRMATION",
        "WITHDRAWAL WITHDRAWN",
        "all marketing",
    ];
    let places: Vec<_> = order
        .iter()
        .map(|part| {
            shown
                .find(part)
                .unwrap_or_else(|| panic!("{part}: {shown}"))
        })
        .collect();
    assert!(places.is_sorted(), "{shown}");
    assert!(
        !shown.contains("192.0.2.1") && !shown.contains("wamid"),
        "{shown}"
    );
    let with_evidence = gate.json("show NUMBER --business acme --evidence", 0);
    assert_eq!(
        with_evidence["events"][0]["evidence"]["ip_address"],
        "192.0.2.1"
    );
    assert_eq!(with_evidence["records"][0]["state"], "WITHDRAWN");
}

fn the_answers_are_explained(gate: &Gate) {
    let question = "explain NUMBER --business acme --purpose offers";
    let letter = gate.ask(question);
    assert_eq!(letter.code, 1, "as the check: {}", letter.err);
    let order = [
        "May acme send this person a message for `offers`, of class MARKETING?",
        "DENY: no.\n  WITHDRAWN",
        "Why\n  The person withdrew consent on ",
        "What would have to change",
        // The table breaks its lines where the terminal ends.
        "Nobody else",
        "The rules, in their order",
        "restriction           FAILED",
        "confirmation          passed",
        "Where the rules come from",
        "DE (law, since 2021-10-01): UWG",
        "What is on record",
        "CONSENT GIVEN",
        "CONFIRMATION",
        "WITHDRAWAL WITHDRAWN",
    ];
    let mut rest = letter.out.as_str();
    for part in order {
        let (_, after) = rest
            .split_once(part)
            .unwrap_or_else(|| panic!("{part}: {}", letter.out));
        rest = after;
    }
    for personal in ["4069999", "192.0.2.1", "wamid"] {
        assert!(!letter.out.contains(personal), "{personal}: {}", letter.out);
    }
    let json = gate.json(&format!("{question} --evidence"), 1);
    assert_eq!(json["events"][0]["evidence"]["ip_address"], "192.0.2.1");
    assert_eq!(json["jurisdictions"][0], "DE");
    let steps = json["steps"].as_array().unwrap();
    let failed: Vec<&Value> = steps
        .iter()
        .filter(|step| step["passed"] == false)
        .collect();
    assert_eq!(failed[0]["rule"], "restriction", "{json}");
    assert_eq!(failed[0]["reason"], json["reasons"][0]);

    // Before anything was agreed to: the opt-out counts all the same.
    let early = gate.json(&format!("{question} --at 2026-01-05T12:00:00+01:00"), 1);
    assert_eq!(early["at"], "2026-01-05T11:00:00Z");
    assert_eq!(
        early["reasons"],
        serde_json::json!(["WITHDRAWN", "NO_CONSENT"])
    );
    let allowed = "explain +12025550143 --business acme --purpose order-updates";
    let allowed = gate.ask(allowed);
    assert_eq!(allowed.code, 0, "{}", allowed.err);
    assert!(allowed.out.contains("ALLOW: yes."), "{}", allowed.out);
    assert!(!allowed.out.contains("What would have to change"));
    let refused = gate.ask(&format!("{question} --at yesterday"));
    assert_eq!((refused.code, refused.out.as_str()), (2, ""));
}

fn a_campaign_is_judged_line_by_line(gate: &Gate) {
    let list = format!("{NUMBER}\n0176 04069999\nwa:4917604069999 # the same person\n");
    let ran = gate.ask_with("batch --business acme --purpose offers --details", &list);
    assert_eq!(ran.code, 2, "a line was refused");
    assert!(
        ran.out
            .contains(&format!("      1  DENY   {NUMBER}  WITHDRAWN")),
        "{}",
        ran.out
    );
    assert!(
        ran.out
            .contains("2 people: 0 ALLOW, 2 DENY, 0 DEFER; 1 duplicate among them; 1 line refused"),
        "{}",
        ran.out
    );
    assert!(
        ran.err.starts_with("standard input:2: has no country code"),
        "{}",
        ran.err
    );

    let campaign = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/acme/campaign.txt");
    let ran = gate.ask(&format!(
        "batch {campaign} --business acme --purpose order-updates --output json"
    ));
    let summary: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(summary["not_judged"], 0, "{}", ran.err);
    assert_eq!(summary["complete"], true, "{}", ran.err);
    for decision in ["ALLOW", "DENY"] {
        assert!(
            summary["decisions"][decision].as_i64().unwrap() > 5,
            "{summary}"
        );
    }
}

fn a_catalogue_is_applied_again_and_changed(gate: &Gate, directory: &Path) {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/acme/catalog.toml");
    let results = |path: &str, flags: &str| -> Vec<String> {
        let applied = gate.json(&format!("catalog apply {path} {flags}"), 0);
        let all = applied["resources"].as_array().unwrap().iter();
        let changed = all.filter(|resource| resource["result"] != "unchanged");
        changed
            .map(|resource| {
                format!("{} {}", resource["resource"], resource["result"]).replace('"', "")
            })
            .collect()
    };
    assert_eq!(results(example, ""), Vec::<String>::new());

    let text = fs::read_to_string(example).unwrap();
    let held = directory.join("held.toml");
    let sender = "sender_id = \"109214078543301\"\n";
    assert!(text.contains(sender));
    fs::write(
        &held,
        text.replace(sender, &format!("{sender}held = true\n")),
    )
    .unwrap();
    let held = held.to_str().unwrap();
    assert_eq!(
        results(held, "--dry-run"),
        ["sender 109214078543301 updated"]
    );
    assert_eq!(results(held, ""), ["sender 109214078543301 updated"]);
    assert_eq!(results(held, ""), Vec::<String>::new());
    let check = "check NUMBER --business acme --purpose offers --sender 109214078543301";
    assert_eq!(gate.json(check, 1)["reasons"][0], "SENDER_HELD");
    // A file that does not say so does not release it; one that says so does.
    assert_eq!(results(example, ""), Vec::<String>::new());
    assert_eq!(gate.json(check, 1)["reasons"][0], "SENDER_HELD");
    let without = directory.join("without.toml");
    let alias = "aliases = [\"whatsapp:+493023125014\"]\n";
    assert!(text.contains(alias));
    let released = format!("{sender}held = false\n");
    fs::write(&without, text.replace(sender, &released).replace(alias, "")).unwrap();
    let without = without.to_str().unwrap();
    assert_eq!(results(without, ""), ["sender 109214078543301 updated"]);
    let shown = gate.json("catalog show --business acme", 0);
    let first = &shown["businesses"][0]["senders"][0];
    assert_eq!(first["aliases"][0], "whatsapp:+493023125014", "{first}");
    assert_ne!(gate.json(check, 1)["reasons"][0], "SENDER_HELD");
    assert_eq!(results(held, ""), ["sender 109214078543301 updated"]);

    let changed = directory.join("changed.toml");
    let (before, after) = text.split_once("notice_id = ").unwrap();
    fs::write(
        &changed,
        format!(
            "{before}notice_id = {}",
            after.replacen("WhatsApp", "WhatsApp and WhatsApp", 1)
        ),
    )
    .unwrap();
    let refused = gate.ask(&format!("catalog apply {}", changed.to_str().unwrap()));
    assert_eq!((refused.code, refused.out.as_str()), (2, ""));
    let line = before.lines().count();
    assert!(
        refused
            .err
            .contains(&format!("changed.toml:{line}: notice signup v1")),
        "{line}: {}",
        refused.err
    );

    let shown = gate.ask("catalog show --business acme");
    assert!(
        shown.code == 0 && shown.out.contains("held"),
        "{}{}",
        shown.out,
        shown.err
    );
    assert_eq!(gate.ask("catalog show --business nobody").code, 2);
    assert_eq!(
        gate.json("catalog show", 0)["businesses"][0]["business_id"],
        "acme"
    );
}

fn refusals_name_the_field(gate: &Gate) {
    for (line, said) in [
        (
            "check NUMBER --business acme --purpose nothing",
            "  purpose: ",
        ),
        (
            "check NUMBER --business acme --purpose support --class service",
            "  sender_id: ",
        ),
        (
            "record NUMBER --business acme --purpose offers",
            "  consent_type: ",
        ),
        (
            "check NUMBER --business acme --purpose offers --consistency token:x",
            "  consistency",
        ),
    ] {
        let ran = gate.ask(line);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{line}");
        assert!(
            ran.err.starts_with("error: INVALID_ARGUMENT") && ran.err.contains(said),
            "{line}: {}",
            ran.err
        );
    }
}

fn the_ledger_is_replayed_once_the_gate_is_gone(gate: Gate, directory: &Path) {
    let replay = || -> Ran {
        command(&["ledger", "replay", "--check", "--example"])
            .current_dir(directory)
            .output()
            .unwrap()
            .into()
    };
    let busy = replay();
    assert_eq!(
        (busy.code, busy.out.as_str()),
        (2, ""),
        "the gate has the database"
    );
    drop(gate);
    let done = replay();
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    assert!(done.out.contains("differences     0"), "{}", done.out);
}
