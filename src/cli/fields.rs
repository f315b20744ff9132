//! Flags with a form of their own: times, durations, notices, evidence, declarations, labels.
//!
//! Only the form is judged here. What a field may hold, and which are required, is the server's to
//! say.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use data_encoding::HEXLOWER_PERMISSIVE;

use crate::grpc::proto;

/// An instant, RFC 3339.
pub(super) fn time(text: &str) -> Result<prost_types::Timestamp, String> {
    let instant: jiff::Timestamp = text
        .parse()
        .map_err(|_| "expected a time with its offset, as in `2026-05-03T14:22:07Z`".to_owned())?;
    Ok(wire_time(instant))
}

/// This machine's time: a client has no other.
#[expect(
    clippy::disallowed_methods,
    reason = "the command line is a client; only the server has a Clock"
)]
pub(super) fn now() -> prost_types::Timestamp {
    wire_time(jiff::Timestamp::now())
}

fn wire_time(instant: jiff::Timestamp) -> prost_types::Timestamp {
    // The wire counts nanoseconds forward from the second; before 1970 the library counts back.
    let nanos = instant.subsec_nanosecond();
    let back = i64::from(nanos < 0);
    prost_types::Timestamp {
        seconds: instant.as_second() - back,
        nanos: if nanos < 0 {
            nanos + 1_000_000_000
        } else {
            nanos
        },
    }
}

/// How long to wait, more than nothing.
pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|length| Duration::try_from(length).ok())
        .filter(|length| !length.is_zero())
        .ok_or_else(|| "expected a duration, as in `10s` or `500ms`".to_owned())
}

/// `ID:VERSION:LANGUAGE`.
pub(super) fn notice(text: &str) -> Result<proto::NoticeRef, String> {
    let refused = || "expected `ID:VERSION:LANGUAGE`, as in `signup:3:pt-BR`".to_owned();
    let mut parts = text.splitn(3, ':');
    let mut part = || {
        parts
            .next()
            .filter(|part| !part.is_empty())
            .ok_or_else(refused)
    };
    let (notice_id, version, language) = (part()?, part()?, part()?);
    Ok(proto::NoticeRef {
        notice_id: notice_id.to_owned(),
        version: version.parse().map_err(|_| refused())?,
        language: language.to_owned(),
    })
}

/// `strict`, `fully` or `token:…`.
pub(super) fn consistency(text: &str) -> Result<proto::Consistency, String> {
    use proto::consistency::Requirement;
    let requirement = match (text, text.strip_prefix("token:")) {
        ("strict", _) => Requirement::Strict(true),
        ("fully", _) => Requirement::FullyConsistent(true),
        (_, Some(token)) if !token.is_empty() => Requirement::AtLeastAsFresh(token.to_owned()),
        _ => return Err("expected `strict`, `fully` or `token:TOKEN`".to_owned()),
    };
    Ok(proto::Consistency {
        requirement: Some(requirement),
    })
}

/// `KEY=VALUE`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected `KEY=VALUE`".to_owned()),
    }
}

/// The labels; a key that stands twice cannot be meant.
pub(super) fn labels(pairs: Vec<(String, String)>) -> anyhow::Result<HashMap<String, String>> {
    let mut labels = HashMap::new();
    for (key, value) in pairs {
        anyhow::ensure!(
            !labels.contains_key(&key),
            "`--label {key}=…` is given twice"
        );
        labels.insert(key, value);
    }
    Ok(labels)
}

/// Fields of evidence that are one text each.
const EVIDENCE: [&str; 8] = [
    "source_url",
    "form_id",
    "message_id",
    "ip_address",
    "user_agent",
    "signup_id",
    "call_id",
    "statement",
];

/// One `--evidence KEY=VALUE`.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum EvidencePart {
    Text(&'static str, String),
    Attachment(proto::Attachment),
}

/// The field alone: its value is personal.
impl fmt::Debug for EvidencePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(key, _) => f.write_str(key),
            Self::Attachment(_) => f.write_str("attachment"),
        }
    }
}

/// `KEY=VALUE` with a field of evidence, or `attachment=KIND:SHA256[:URI]`.
pub(super) fn evidence_part(text: &str) -> Result<EvidencePart, String> {
    let (key, value) = pair(text)?;
    if key == "attachment" {
        return attachment(&value).map(EvidencePart::Attachment);
    }
    match EVIDENCE.iter().find(|known| **known == key) {
        Some(known) => Ok(EvidencePart::Text(known, value)),
        None => Err(format!(
            "expected one of {} or attachment before the `=`",
            EVIDENCE.join(", ")
        )),
    }
}

fn attachment(text: &str) -> Result<proto::Attachment, String> {
    let refused = || {
        "expected `attachment=KIND:SHA256` or `attachment=KIND:SHA256:URI`, the digest in hex"
            .to_owned()
    };
    let mut parts = text.splitn(3, ':');
    let kind = parts
        .next()
        .filter(|kind| !kind.is_empty())
        .ok_or_else(refused)?;
    let digest = parts.next().ok_or_else(refused)?;
    let sha256 = HEXLOWER_PERMISSIVE
        .decode(digest.as_bytes())
        .map_err(|_| refused())?;
    if sha256.len() != 32 {
        return Err(refused());
    }
    Ok(proto::Attachment {
        kind: kind.to_owned(),
        sha256,
        uri: parts.next().unwrap_or_default().to_owned(),
    })
}

/// The evidence; nothing if there is none.
pub(super) fn evidence(parts: Vec<EvidencePart>) -> anyhow::Result<Option<proto::Evidence>> {
    if parts.is_empty() {
        return Ok(None);
    }
    let mut evidence = proto::Evidence::default();
    for part in parts {
        let (key, value) = match part {
            EvidencePart::Attachment(attachment) => {
                evidence.attachments.push(attachment);
                continue;
            }
            EvidencePart::Text(key, value) => (key, value),
        };
        let field = match key {
            "source_url" => &mut evidence.source_url,
            "form_id" => &mut evidence.form_id,
            "message_id" => &mut evidence.message_id,
            "ip_address" => &mut evidence.ip_address,
            "user_agent" => &mut evidence.user_agent,
            "signup_id" => &mut evidence.signup_id,
            "call_id" => &mut evidence.call_id,
            _ => &mut evidence.statement,
        };
        anyhow::ensure!(field.is_empty(), "`--evidence {key}=…` is given twice");
        *field = value;
    }
    Ok(Some(evidence))
}

const DECLARATIONS: [&str; 4] = [
    "default_unticked",
    "separate_from_terms",
    "whatsapp_named",
    "number_entered_by_subject",
];

/// `KEY=true` or `KEY=false`. There is no short form: what is not said is missing, not true.
pub(super) fn declaration(text: &str) -> Result<(&'static str, bool), String> {
    let refused = || {
        format!(
            "expected `KEY=true` or `KEY=false` with one of {}",
            DECLARATIONS.join(", ")
        )
    };
    let (key, value) = text.split_once('=').ok_or_else(refused)?;
    let key = DECLARATIONS
        .iter()
        .find(|known| **known == key)
        .ok_or_else(refused)?;
    let value = value.parse().map_err(|_| refused())?;
    Ok((key, value))
}

/// The declarations; nothing if there are none.
pub(super) fn declarations(
    given: &[(&'static str, bool)],
) -> anyhow::Result<Option<proto::Declarations>> {
    if given.is_empty() {
        return Ok(None);
    }
    let mut declarations = proto::Declarations::default();
    for (key, value) in given {
        let field = match *key {
            "default_unticked" => &mut declarations.default_unticked,
            "separate_from_terms" => &mut declarations.separate_from_terms,
            "whatsapp_named" => &mut declarations.whatsapp_named,
            _ => &mut declarations.number_entered_by_subject,
        };
        anyhow::ensure!(field.is_none(), "`--declare {key}=…` is given twice");
        *field = Some(*value);
    }
    Ok(Some(declarations))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_needs_its_offset() {
        let at = time("2026-05-03T16:22:07.5+02:00").unwrap();
        assert_eq!((at.seconds, at.nanos), (1_777_818_127, 500_000_000));
        let before = time("1969-12-31T23:59:58.25Z").unwrap();
        assert_eq!((before.seconds, before.nanos), (-2, 250_000_000));
        for text in ["2026-05-03", "2026-05-03T14:22:07", "yesterday", ""] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_timeout_has_a_unit_and_a_length() {
        assert_eq!(timeout("1m 30s").unwrap(), Duration::from_secs(90));
        assert_eq!(timeout("250ms").unwrap(), Duration::from_millis(250));
        for text in ["0s", "-1s", "5", "", "soon"] {
            assert!(timeout(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_notice_has_three_parts() {
        let found = notice("signup:3:pt-BR").unwrap();
        assert_eq!(
            (
                found.notice_id.as_str(),
                found.version,
                found.language.as_str()
            ),
            ("signup", 3, "pt-BR")
        );
        for text in ["signup", "signup:3", "signup:x:de", ":3:de", "signup:3:"] {
            assert!(notice(text).is_err(), "{text}");
        }
    }

    #[test]
    fn consistency_is_one_of_three() {
        use proto::consistency::Requirement;
        let found = |text| consistency(text).unwrap().requirement.unwrap();
        assert_eq!(found("strict"), Requirement::Strict(true));
        assert_eq!(found("fully"), Requirement::FullyConsistent(true));
        assert_eq!(
            found("token:a:b"),
            Requirement::AtLeastAsFresh("a:b".to_owned())
        );
        for text in ["", "token:", "eventually"] {
            assert!(consistency(text).is_err(), "{text}");
        }
    }

    fn parts(flags: &[&str]) -> Vec<EvidencePart> {
        flags
            .iter()
            .map(|flag| evidence_part(flag).unwrap())
            .collect()
    }

    #[test]
    fn evidence_is_gathered_from_its_flags() {
        let digest = "ab".repeat(32);
        let attachment = format!("attachment=screenshot:{digest}:https://acme.example/a:b");
        let bare = format!("attachment=recording:{}", digest.to_uppercase());
        let found = evidence(parts(&[
            "source_url=https://a.example/?x=1",
            "ip_address=192.0.2.7",
            &attachment,
            &bare,
        ]));
        let found = found.unwrap().unwrap();
        assert_eq!(found.source_url, "https://a.example/?x=1");
        assert_eq!(found.ip_address, "192.0.2.7");
        assert_eq!(found.attachments[0].uri, "https://acme.example/a:b");
        assert_eq!(found.attachments[1].sha256, [0xab; 32]);
        assert_eq!(evidence(Vec::new()).unwrap(), None);
    }

    #[test]
    fn every_field_of_evidence_reaches_its_field() {
        for key in EVIDENCE {
            let found = evidence(parts(&[&format!("{key}=x")])).unwrap().unwrap();
            assert!(
                format!("{found:?}").contains(&format!("{key}: \"x\"")),
                "{key}: {found:?}"
            );
        }
        for key in DECLARATIONS {
            let given = declaration(&format!("{key}=false")).unwrap();
            let found = declarations(&[given]).unwrap().unwrap();
            assert!(
                format!("{found:?}").contains(&format!("{key}: Some(false)")),
                "{key}"
            );
        }
    }

    #[test]
    fn what_is_no_evidence_is_refused() {
        for flag in [
            "source_url",
            "=x",
            "url=x",
            "attachment=screenshot",
            "attachment=screenshot:abcd",
            "attachment=:abcd",
        ] {
            assert!(evidence_part(flag).is_err(), "{flag}");
        }
        assert!(evidence(parts(&["form_id=a", "form_id=b"])).is_err());
        assert!(!format!("{:?}", parts(&["ip_address=192.0.2.7"])).contains("192"));
    }

    #[test]
    fn a_declaration_is_true_or_false_and_said_once() {
        for text in [
            "default_unticked",
            "default_unticked=yes",
            "unticked=true",
            "default_unticked=",
        ] {
            assert!(declaration(text).is_err(), "{text}");
        }
        let twice = [
            declaration("whatsapp_named=true").unwrap(),
            ("whatsapp_named", false),
        ];
        assert!(declarations(&twice).is_err());
        assert_eq!(declarations(&[]).unwrap(), None);
    }

    #[test]
    fn a_label_is_said_once() {
        let pairs = |texts: &[&str]| texts.iter().map(|text| pair(text).unwrap()).collect();
        assert_eq!(
            labels(pairs(&["store=Berlin=Mitte"])).unwrap()["store"],
            "Berlin=Mitte"
        );
        assert!(labels(pairs(&["a=1", "a=2"])).is_err());
        assert!(pair("a").is_err());
    }
}
