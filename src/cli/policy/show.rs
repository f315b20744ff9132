//! `policy show`: what holds in a jurisdiction, in words that a person reads, or as the columns of
//! the file for programs.

use std::path::Path;
use std::time::Duration;

use super::super::json::{Json, Object};
use super::super::output::{Format, Output};
use super::super::{Exit, table};
use crate::domain::hours::{Holidays, SendingHours, Span};
use crate::domain::id::JurisdictionCode;
use crate::domain::policy::{
    Asking, Basis, Confirmation, DEFAULT, Entry, FrequencyCap, PlatformRule, Policy, RegistryRule,
    Requirements,
};
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{ConsentType, MessageClass};
use crate::policy::review::day_of;
use crate::policy::{self, WEEKDAYS};

/// What was asked, and what answers it.
struct Answer<'a> {
    code: &'a JurisdictionCode,
    at: Timestamp,
    policy: &'a Policy,
    /// The jurisdiction whose entry holds; nothing where even the default has none.
    entry: Option<(&'a JurisdictionCode, &'a Entry)>,
    platform: Vec<&'a PlatformRule>,
    next_change: Option<Timestamp>,
}

pub(super) fn show(
    code: &JurisdictionCode,
    at: Timestamp,
    file: Option<&Path>,
    output: &mut Output,
) -> anyhow::Result<Exit> {
    let policy = match file {
        None => policy::embedded(),
        Some(file) => policy::load(&super::read(file)?)
            .map_err(|error| anyhow::anyhow!("`{}` is not usable: {error}", file.display()))?,
    };
    let answer = Answer::find(code, at, &policy);
    match output.format {
        Format::Table => output.text(text(&answer))?,
        Format::Json => output.json(&json(&answer))?,
    }
    Ok(Exit::Done)
}

impl<'a> Answer<'a> {
    fn find(code: &'a JurisdictionCode, at: Timestamp, policy: &'a Policy) -> Self {
        let rules = MessageClass::ALL
            .iter()
            .filter_map(|class| policy.prohibition(code, *class, at));
        // A rule of several classes is one rule.
        let mut platform: Vec<&PlatformRule> = Vec::new();
        for rule in rules {
            if !platform.contains(&rule) {
                platform.push(rule);
            }
        }
        let changes = [
            policy.next_change(Some(code), at),
            policy.next_platform_change(code, at),
        ];
        Self {
            code,
            at,
            policy,
            entry: policy.entry(Some(code), at),
            platform,
            next_change: changes.into_iter().flatten().min(),
        }
    }

    /// Why the entry of `answering` answers, in words.
    fn reason(&self, answering: &JurisdictionCode) -> String {
        let asked = self.code;
        if answering == asked {
            return format!("the entry of {asked}");
        }
        match *answering {
            DEFAULT => format!("{asked} has no entry: the strict default, {DEFAULT}"),
            country if country == asked.country() => {
                format!("{asked} has no entry of its own: the entry of {country}")
            }
            group => format!(
                "{} has no entry of its own: the entry of {group}, of which it is a member",
                asked.country()
            ),
        }
    }
}

fn text(answer: &Answer<'_>) -> String {
    let day = day_of(answer.at);
    let Some((answering, entry)) = answer.entry else {
        return format!(
            "{} on {day}: nothing holds, not even a default. Everything is denied.",
            answer.code
        );
    };
    let since = day_of(entry.effective_from);
    let until = entry
        .effective_to
        .map(|end| format!(", until {}", day_of(end)))
        .unwrap_or_default();
    let head = format!(
        "{} on {day}: {}, since {since}{until}",
        answer.code,
        answer.reason(answering)
    );
    let rows = columns(&entry.requirements)
        .into_iter()
        .chain(about(answer, entry));
    format!("{head}\n\n{}", table::list(rows))
}

/// What is asked for, column by column.
fn columns(required: &Requirements) -> Vec<(&'static str, String)> {
    let evidence: Vec<&str> = required.evidence.iter().map(|field| field.word()).collect();
    let implied: Vec<String> = required
        .implied_validity
        .iter()
        .map(|(basis, term)| format!("{basis} for {}", span_of_time(*term)))
        .collect();
    let caps: Vec<String> = required.frequency_caps.iter().map(cap).collect();
    let registries: Vec<String> = required.registries.iter().map(registry).collect();
    let (hours, holidays) = match &required.sending_hours {
        None => ("at any time".to_owned(), String::new()),
        Some(hours) => (
            weekdays(hours).join("; "),
            hours
                .holidays
                .iter()
                .map(calendar)
                .collect::<Vec<_>>()
                .join("; "),
        ),
    };
    vec![
        ("consent", consent(required.consent_type).to_owned()),
        ("confirmation", confirmation(required)),
        ("evidence", evidence.join(", ")),
        (
            "valid for",
            required
                .validity
                .map_or_else(|| "does not lapse by time".to_owned(), span_of_time),
        ),
        ("implied by", implied.join(", ")),
        ("sent", hours),
        ("not sent on", holidays),
        (
            "at most",
            if caps.is_empty() {
                "no limit".to_owned()
            } else {
                caps.join("; ")
            },
        ),
        (
            "registries",
            if registries.is_empty() {
                "none".to_owned()
            } else {
                registries.join("; ")
            },
        ),
        ("asking", asking(&required.asking)),
    ]
}

/// Where it comes from, and what people should know besides.
fn about(answer: &Answer<'_>, entry: &Entry) -> Vec<(&'static str, String)> {
    let platform: Vec<String> = answer
        .platform
        .iter()
        .map(|rule| prohibition(rule))
        .collect();
    let deadline = entry.withdrawal_deadline.map(|term| {
        format!(
            "the law wants it to hold within {}; here at once",
            span_of_time(term)
        )
    });
    let basis = match entry.source.basis {
        Basis::Law => "law",
        Basis::House => "house rule, where the law is silent",
        Basis::Platform => "WhatsApp's own rule",
    };
    vec![
        ("WhatsApp", platform.join("; ")),
        (
            "opt-out",
            deadline.unwrap_or_else(|| "holds at once".to_owned()),
        ),
        (
            "proof kept",
            entry.proof_retention.map(span_of_time).unwrap_or_default(),
        ),
        ("source", entry.source.citation.clone()),
        ("basis", basis.to_owned()),
        ("confidence", entry.source.confidence.word().to_owned()),
        ("reviewed on", entry.source.reviewed_on.to_string()),
        (
            "may change on",
            answer
                .next_change
                .map(|at| day_of(at).to_string())
                .unwrap_or_default(),
        ),
    ]
}

fn consent(weakest: ConsentType) -> &'static str {
    match weakest {
        ConsentType::Implied => "IMPLIED or firmer: it may follow from a relation",
        ConsentType::Expressed => "EXPRESSED or firmer: by some act of the person",
        ConsentType::ExplicitlyExpressed => {
            "EXPLICITLY_EXPRESSED: by an act made for this consent alone"
        }
    }
}

fn confirmation(required: &Requirements) -> String {
    let within = span_of_time(required.confirmation_within);
    match required.confirmation {
        Confirmation::Required => format!("required (double opt-in), within {within}"),
        Confirmation::Optional => {
            format!("not required; within {within} where a purpose asks for one")
        }
    }
}

/// Days of the same hours together: `Mon-Fri 08:00-20:00`.
fn weekdays(hours: &SendingHours) -> Vec<String> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for day in 0..hours.weekdays.len() {
        match runs.last_mut() {
            Some((_, last)) if hours.weekdays[*last] == hours.weekdays[day] => *last = day,
            _ => runs.push((day, day)),
        }
    }
    runs.into_iter()
        .map(|(first, last)| {
            let days = if first == last {
                capital(WEEKDAYS[first])
            } else {
                format!("{}-{}", capital(WEEKDAYS[first]), capital(WEEKDAYS[last]))
            };
            format!("{days} {}", spans(&hours.weekdays[first]))
        })
        .collect()
}

fn spans(spans: &[Span]) -> String {
    if spans.is_empty() {
        return "none".to_owned();
    }
    spans.iter().map(span).collect::<Vec<_>>().join(", ")
}

/// As in the file.
fn span(span: &Span) -> String {
    let time = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    format!("{}-{}", time(span.from), time(span.to))
}

fn capital(word: &str) -> String {
    let (first, rest) = word.split_at(1);
    format!("{}{rest}", first.to_uppercase())
}

fn calendar(holidays: &Holidays) -> String {
    let mut days: Vec<String> = holidays.fixed.iter().map(month_and_day).collect();
    if holidays.sunday_moves_to_monday {
        days.push("the Monday after one of these on a Sunday".to_owned());
    }
    days.extend(holidays.easter.iter().map(|days| match days {
        0 => "Easter Sunday".to_owned(),
        1.. => format!(
            "Easter Sunday + {}",
            counted(u64::from(days.unsigned_abs()), "day")
        ),
        _ => format!(
            "Easter Sunday − {}",
            counted(u64::from(days.unsigned_abs()), "day")
        ),
    }));
    days.extend(holidays.dates.iter().map(ToString::to_string));
    let days = days.join(", ");
    if holidays.spans.is_empty() {
        days
    } else {
        format!("{days}, but for {}", spans(&holidays.spans))
    }
}

fn month_and_day((month, day): &(i8, i8)) -> String {
    format!("{month:02}-{day:02}")
}

fn cap(cap: &FrequencyCap) -> String {
    let messages = counted(u64::from(cap.messages), "message");
    format!("{messages} in any {}", span_of_time(cap.per()))
}

fn registry(rule: &RegistryRule) -> String {
    let unless = rule
        .unless_consent
        .map(|firm| format!(", unless consent is {firm}"))
        .unwrap_or_default();
    format!(
        "{} ({}), asked within the last {}{unless}",
        rule.registry,
        rule.kind.word(),
        span_of_time(rule.max_age)
    )
}

fn asking(asking: &Asking) -> String {
    let how_often = match asking.max_total {
        0 => return "never".to_owned(),
        1 => "once in all".to_owned(),
        many => format!(
            "{many} times in all, {} apart",
            span_of_time(asking.cooldown)
        ),
    };
    if asking.is_commercial {
        format!("{how_often}; commercial itself: it needs a consent, at least an implied one")
    } else {
        how_often
    }
}

fn prohibition(rule: &PlatformRule) -> String {
    let classes: Vec<&str> = rule.classes.iter().map(|class| class.word()).collect();
    format!(
        "delivers no {} to numbers of {} since {} ({})",
        classes.join(", "),
        rule.country,
        day_of(rule.effective_from),
        rule.source.citation
    )
}

/// In days from two whole days on, else in hours or seconds: a limit counts hours, not dates.
fn span_of_time(length: Duration) -> String {
    const HOUR: u64 = 60 * 60;
    let seconds = length.as_secs();
    if length.subsec_nanos() > 0 || !seconds.is_multiple_of(HOUR) {
        format!("{} seconds", length.as_secs_f64())
    } else if !seconds.is_multiple_of(24 * HOUR) || seconds < 48 * HOUR {
        counted(seconds / HOUR, "hour")
    } else {
        counted(seconds / (24 * HOUR), "day")
    }
}

fn counted(number: u64, what: &str) -> String {
    if number == 1 {
        format!("1 {what}")
    } else {
        format!("{number} {what}s")
    }
}

fn json(answer: &Answer<'_>) -> Object {
    let object = Object::new()
        .with("asked", answer.code.as_str())
        .with("at", answer.at.to_string())
        .with("sha256", &answer.policy.sha256);
    let object = match answer.entry {
        None => object,
        Some((answering, entry)) => entry_json(object.with("code", answering.as_str()), entry),
    };
    object
        .list(
            "platform",
            answer.platform.iter().map(|rule| platform_json(rule)),
        )
        .maybe("next_change", answer.next_change.map(|at| at.to_string()))
}

/// The columns under their names in the file.
fn entry_json(object: Object, entry: &Entry) -> Object {
    let required = &entry.requirements;
    let implied = required
        .implied_validity
        .iter()
        .fold(Object::new(), |object, (basis, term)| {
            object.with(basis.word(), seconds(*term))
        });
    let object = object
        .some(
            "members",
            entry.members.iter().map(JurisdictionCode::as_str),
        )
        .with("effective_from", day_of(entry.effective_from).to_string())
        .maybe(
            "effective_to",
            entry.effective_to.map(|end| day_of(end).to_string()),
        )
        .with("consent_type", required.consent_type.word())
        .with("confirmation", required.confirmation.word())
        .list(
            "evidence_required",
            required.evidence.iter().map(|field| field.word()),
        )
        .maybe("validity", required.validity.map(seconds))
        .object("implied_validity", implied)
        .with("confirmation_within", seconds(required.confirmation_within));
    let object = match &required.sending_hours {
        None => object,
        Some(hours) => hours_json(object, hours),
    };
    object
        .list(
            "frequency_caps",
            required.frequency_caps.iter().map(cap_json),
        )
        .list("registries", required.registries.iter().map(registry_json))
        .object("asking", asking_json(&required.asking))
        .maybe(
            "withdrawal_deadline",
            entry.withdrawal_deadline.map(seconds),
        )
        .maybe("proof_retention", entry.proof_retention.map(seconds))
        .with("source", &entry.source.citation)
        .with("basis", entry.source.basis.word())
        .with("confidence", entry.source.confidence.word())
        .with("reviewed_on", entry.source.reviewed_on.to_string())
}

/// As in protobuf's JSON.
fn seconds(length: Duration) -> String {
    format!("{}s", length.as_secs_f64())
}

fn hours_json(object: Object, hours: &SendingHours) -> Object {
    let days = WEEKDAYS
        .iter()
        .zip(&hours.weekdays)
        .fold(Object::new(), |object, (day, hours)| {
            object.list(day, hours.iter().map(span))
        });
    let calendars = hours.holidays.iter().map(|holidays| {
        Object::new()
            .list("fixed", holidays.fixed.iter().map(month_and_day))
            .list(
                "easter",
                holidays.easter.iter().map(|days| i64::from(*days)),
            )
            .with("sunday_moves_to_monday", holidays.sunday_moves_to_monday)
            .list("dates", holidays.dates.iter().map(ToString::to_string))
    });
    object
        .object("sending_hours", days)
        .some("holidays", calendars)
}

fn cap_json(cap: &FrequencyCap) -> Json {
    Object::new()
        .with("messages", u64::from(cap.messages))
        .with("per", seconds(cap.per()))
        .into()
}

fn registry_json(rule: &RegistryRule) -> Json {
    Object::new()
        .with("name", rule.registry.as_str())
        .with("kind", rule.kind.word())
        .with("max_age", seconds(rule.max_age))
        .maybe("unless_consent", rule.unless_consent.map(ConsentType::word))
        .into()
}

fn asking_json(asking: &Asking) -> Object {
    let cooldown = Some(asking.cooldown).filter(|cooldown| !cooldown.is_zero());
    Object::new()
        .with("max_total", u64::from(asking.max_total))
        .maybe("cooldown", cooldown.map(seconds))
        .with("is_commercial", asking.is_commercial)
}

fn platform_json(rule: &PlatformRule) -> Object {
    Object::new()
        .with("country", rule.country.as_str())
        .list("classes", rule.classes.iter().map(|class| class.word()))
        .with("effective_from", day_of(rule.effective_from).to_string())
        .maybe(
            "effective_to",
            rule.effective_to.map(|end| day_of(end).to_string()),
        )
        .with("source", &rule.source.citation)
        .with("confidence", rule.source.confidence.word())
        .with("reviewed_on", rule.source.reviewed_on.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn shown(code: &str, day: &str, policy: &Policy) -> String {
        let code = JurisdictionCode::parse(code).unwrap();
        let at = super::super::instant(day).unwrap();
        text(&Answer::find(&code, at, policy))
    }

    fn first_line(code: &str, day: &str) -> String {
        let shown = shown(code, day, &policy::embedded());
        shown.lines().next().unwrap().to_owned()
    }

    #[test]
    fn the_first_line_says_whose_entry_answers_and_why() {
        for (code, day, line) in [
            (
                "DE",
                "2027-02-01",
                "DE on 2027-02-01: the entry of DE, since 2021-10-01",
            ),
            (
                "US-NY",
                "2027-02-01",
                "US-NY on 2027-02-01: US-NY has no entry of its own: the entry of US, since 2021-11-01",
            ),
            (
                "AT",
                "2027-02-01",
                "AT on 2027-02-01: AT has no entry of its own: the entry of EU, of which it is a member, since 2018-05-25",
            ),
            (
                "CH",
                "2027-02-01",
                "CH on 2027-02-01: CH has no entry: the strict default, ZZ, since 1970-01-01",
            ),
            (
                "IN",
                "2027-05-12",
                "IN on 2027-05-12: the entry of IN, since 2018-07-19, until 2027-05-13",
            ),
            (
                "IN",
                "2027-05-13",
                "IN on 2027-05-13: the entry of IN, since 2027-05-13",
            ),
            (
                "ZZ",
                "2027-02-01",
                "ZZ on 2027-02-01: the entry of ZZ, since 1970-01-01",
            ),
        ] {
            assert_eq!(first_line(code, day), line);
        }
        let none = Policy::new(BTreeMap::new(), Vec::new(), String::new());
        assert_eq!(
            shown("DE", "2027-02-01", &none),
            "DE on 2027-02-01: nothing holds, not even a default. Everything is denied."
        );
    }

    /// A policy in which every column has something to say.
    const EVERYTHING: &str = r#"
[[jurisdiction]]
code = "ZZ"
effective_from = 1970-01-01
consent_type = "IMPLIED"
confirmation = "required"
evidence_required = ["notice"]
validity = "P24M"
implied_validity = { PURCHASE = "P24M", INQUIRY = "PT36H" }
confirmation_within = "P1D"
sending_hours = { mon-fri = "08:00-12:00, 13:00-20:00", sat = "09:30-24:00", sun = "none" }
holidays = { fixed = ["12-25"], easter = [-2, 0, 1], sunday_moves_to_monday = true, dates = [2026-11-04] }
frequency_caps = [{ messages = 1, per = "PT90M" }, { messages = 3, per = "P1D" }]
registries = [
  { name = "dnc", kind = "do-not-contact", max_age = "P21D", unless_consent = "EXPRESSED" },
  { name = "rnd", kind = "reassigned-numbers", max_age = "P30D" },
]
asking = { max_total = 2, cooldown = "P6M", is_commercial = true }
withdrawal_deadline = "P10D"
proof_retention = "P5Y"
source = "a law"
basis = "house"
confidence = "low"
reviewed_on = 2026-01-01

[[platform]]
country = "US"
classes = ["MARKETING", "UTILITY"]
effective_from = 2025-04-01
effective_to = 2027-01-01
source = "Meta"
confidence = "high"
reviewed_on = 2026-01-01
"#;

    #[test]
    fn every_column_is_told_in_words() {
        let policy = policy::load(EVERYTHING).unwrap();
        assert_eq!(
            shown("US", "2026-02-01", &policy),
            "US on 2026-02-01: US has no entry: the strict default, ZZ, since 1970-01-01\n\n\
             consent        IMPLIED or firmer: it may follow from a relation\n\
             confirmation   required (double opt-in), within 24 hours\n\
             evidence       notice\n\
             valid for      730 days\n\
             implied by     PURCHASE for 730 days, INQUIRY for 36 hours\n\
             sent           Mon-Fri 08:00-12:00, 13:00-20:00; Sat 09:30-24:00; Sun none\n\
             not sent on    12-25, the Monday after one of these on a Sunday, Easter Sunday − 2 days, Easter Sunday, Easter Sunday + 1 day, 2026-11-04\n\
             at most        1 message in any 5400 seconds; 3 messages in any 24 hours\n\
             registries     dnc (do-not-contact), asked within the last 21 days, unless consent is EXPRESSED; rnd (reassigned-numbers), asked within the last 30 days\n\
             asking         2 times in all, 184 days apart; commercial itself: it needs a consent, at least an implied one\n\
             WhatsApp       delivers no MARKETING, UTILITY to numbers of US since 2025-04-01 (Meta)\n\
             opt-out        the law wants it to hold within 10 days; here at once\n\
             proof kept     1827 days\n\
             source         a law\n\
             basis          house rule, where the law is silent\n\
             confidence     low\n\
             reviewed on    2026-01-01\n\
             may change on  2027-01-01"
        );
    }

    #[test]
    fn what_asks_for_nothing_is_said_too() {
        let bare: String = EVERYTHING
            .lines()
            .filter(|line| {
                [
                    "sending_hours",
                    "holidays",
                    "frequency_caps",
                    "validity",
                    "asking",
                    "proof",
                ]
                .iter()
                .all(|key| !line.starts_with(key))
            })
            .map(|line| format!("{line}\n"))
            .collect();
        let shown = shown("DE", "2026-02-01", &policy::load(&bare).unwrap());
        for line in [
            "valid for     does not lapse by time",
            "sent          at any time",
            "at most       no limit",
            "asking        never",
        ] {
            assert!(shown.contains(line), "{line}: {shown}");
        }
        for absent in ["not sent on", "WhatsApp", "proof kept", "may change"] {
            assert!(!shown.contains(absent), "{absent}: {shown}");
        }
    }

    #[test]
    fn programs_get_the_columns_under_their_names() {
        let policy = policy::load(EVERYTHING).unwrap();
        let code = JurisdictionCode::parse("US").unwrap();
        let at = super::super::instant("2026-02-01").unwrap();
        let json = serde_json::to_value(json(&Answer::find(&code, at, &policy))).unwrap();
        let expected = serde_json::json!({
            "asked": "US",
            "at": "2026-02-01T00:00:00Z",
            "sha256": policy.sha256,
            "code": "ZZ",
            "effective_from": "1970-01-01",
            "consent_type": "IMPLIED",
            "confirmation": "required",
            "evidence_required": ["notice"],
            "validity": "63072000s",
            "implied_validity": { "PURCHASE": "63072000s", "INQUIRY": "129600s" },
            "confirmation_within": "86400s",
            "sending_hours": {
                "mon": ["08:00-12:00", "13:00-20:00"],
                "tue": ["08:00-12:00", "13:00-20:00"],
                "wed": ["08:00-12:00", "13:00-20:00"],
                "thu": ["08:00-12:00", "13:00-20:00"],
                "fri": ["08:00-12:00", "13:00-20:00"],
                "sat": ["09:30-24:00"],
                "sun": [],
            },
            "holidays": [{
                "fixed": ["12-25"],
                "easter": [-2, 0, 1],
                "sunday_moves_to_monday": true,
                "dates": ["2026-11-04"],
            }],
            "frequency_caps": [
                { "messages": 1, "per": "5400s" },
                { "messages": 3, "per": "86400s" },
            ],
            "registries": [
                { "name": "dnc", "kind": "do-not-contact", "max_age": "1814400s", "unless_consent": "EXPRESSED" },
                { "name": "rnd", "kind": "reassigned-numbers", "max_age": "2592000s" },
            ],
            "asking": { "max_total": 2, "cooldown": "15897600s", "is_commercial": true },
            "withdrawal_deadline": "864000s",
            "proof_retention": "157852800s",
            "source": "a law",
            "basis": "house",
            "confidence": "low",
            "reviewed_on": "2026-01-01",
            "platform": [{
                "country": "US",
                "classes": ["MARKETING", "UTILITY"],
                "effective_from": "2025-04-01",
                "effective_to": "2027-01-01",
                "source": "Meta",
                "confidence": "high",
                "reviewed_on": "2026-01-01",
            }],
            "next_change": "2027-01-01T00:00:00Z",
        });
        assert_eq!(json, expected);
    }
}
