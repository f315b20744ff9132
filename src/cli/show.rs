//! `show`: a person's consents as they stand, and the history behind them as a timeline.

use clap::Args;

use super::client::{Client, all_pages};
use super::json::Object;
use super::output::{Format, Output};
use super::recipient::Recipient;
use super::wire::{self, Evident, short_time};
use super::words::{known, word};
use super::{Exit, Globals, fields, table, timeline};
use crate::grpc::proto::{
    ConsentEvent, ConsentRecord, ConsentState, GetConsentRequest, GetConsentResponse,
    IndicationMethod, ListConsentEventsRequest, Suppression, SuppressionBasis, WithdrawalMethod,
};

/// Events asked for at a time.
const PAGE: i32 = 500;

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The person: +NUMBER (spaces, dashes, dots, slashes and parentheses are taken out), wa:DIGITS
    /// or user:CC.ID.
    recipient: Recipient,
    /// Slug of the business.
    #[arg(long, value_name = "SLUG")]
    business: String,
    /// Judge the states as of this instant, RFC 3339. Unset: now.
    #[arg(long, value_name = "TIME", value_parser = fields::time)]
    at: Option<prost_types::Timestamp>,
    /// Print the evidence itself, not only which there is. It is personal: message ids, for one,
    /// contain the number.
    #[arg(long)]
    evidence: bool,
}

pub(super) async fn show(
    args: ShowArgs,
    globals: &Globals,
    output: &mut Output,
) -> anyhow::Result<Exit> {
    let client = Client::connect(globals).await?;
    let recipient = args.recipient.to_proto();
    let request = GetConsentRequest {
        business_id: args.business.clone(),
        recipient: Some(recipient.clone()),
        at: args.at,
        ..GetConsentRequest::default()
    };
    let standing = client
        .consents()
        .get_consent(client.request(request))
        .await?
        .into_inner();
    let events = all_pages(async |page_token| {
        let request = ListConsentEventsRequest {
            business_id: args.business.clone(),
            recipient: Some(recipient.clone()),
            page_size: PAGE,
            page_token,
        };
        let page = client
            .consents()
            .list_consent_events(client.request(request))
            .await?;
        let page = page.into_inner();
        Ok((page.events, page.next_page_token))
    })
    .await?;
    let evident = if args.evidence {
        Evident::Values
    } else {
        Evident::Fields
    };
    match output.format {
        Format::Table => output.text(text(&standing, &events, evident))?,
        Format::Json => output.json(&json(&standing, &events, evident))?,
    }
    Ok(Exit::Done)
}

fn text(standing: &GetConsentResponse, events: &[ConsentEvent], evident: Evident) -> String {
    if standing.records.is_empty() && standing.suppressions.is_empty() && events.is_empty() {
        return "Nothing is recorded of this person.".to_owned();
    }
    let mut parts = Vec::new();
    if !standing.records.is_empty() {
        parts.push(records(&standing.records));
    }
    if !standing.suppressions.is_empty() {
        parts.push(suppressions(&standing.suppressions));
    }
    parts.push(timeline::text(events, evident));
    parts.join("\n\n")
}

fn records(records: &[ConsentRecord]) -> String {
    let rows = records.iter().map(|record| {
        let how = known::<WithdrawalMethod>(record.withdrawal_method)
            .or_else(|| known::<IndicationMethod>(record.indication_method));
        [
            record.purpose.clone(),
            record.sender_id.clone(),
            word::<ConsentState>(record.state),
            short_time(record.state_since.as_ref()),
            how.unwrap_or_default(),
            short_time(record.expires_at.as_ref()),
            record
                .notice
                .as_ref()
                .map(wire::notice_text)
                .unwrap_or_default(),
        ]
    });
    table::table(
        [
            "purpose", "sender", "state", "since", "how", "expires", "notice",
        ],
        rows,
    )
}

fn suppressions(suppressions: &[Suppression]) -> String {
    let rows = suppressions.iter().map(|suppression| {
        [
            suppression
                .scope
                .as_ref()
                .map(wire::scope_text)
                .unwrap_or_default(),
            word::<SuppressionBasis>(suppression.basis),
            short_time(suppression.since.as_ref()),
            short_time(suppression.until.as_ref()),
        ]
    });
    table::table(["suppressed", "basis", "since", "until"], rows)
}

fn json(standing: &GetConsentResponse, events: &[ConsentEvent], evident: Evident) -> Object {
    Object::new()
        .list("records", standing.records.iter().map(wire::record))
        .list(
            "suppressions",
            standing.suppressions.iter().map(wire::suppression),
        )
        .list(
            "events",
            events.iter().map(|event| wire::event(event, evident)),
        )
        .text("consistency_token", &standing.consistency_token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::proto::{NoticeRef, WithdrawalScope};

    fn at(seconds: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp { seconds, nanos: 0 })
    }

    #[test]
    fn states_and_suppressions_stand_above_the_history() {
        let standing = GetConsentResponse {
            records: vec![ConsentRecord {
                purpose: "offers".to_owned(),
                state: ConsentState::Given.into(),
                state_since: at(1_777_818_127),
                indication_method: IndicationMethod::Button.into(),
                notice: Some(NoticeRef {
                    notice_id: "signup".to_owned(),
                    version: 3,
                    language: "de".to_owned(),
                }),
                ..ConsentRecord::default()
            }],
            suppressions: vec![Suppression {
                scope: Some(WithdrawalScope {
                    everything: true,
                    ..WithdrawalScope::default()
                }),
                basis: SuppressionBasis::Complaint.into(),
                since: at(1_777_818_200),
                ..Suppression::default()
            }],
            consistency_token: "t".to_owned(),
        };
        let shown = text(&standing, &[], Evident::Fields);
        assert!(
            shown.starts_with(
                "PURPOSE  SENDER  STATE  SINCE                    HOW     EXPIRES  NOTICE\n\
                 offers           GIVEN  2026-05-03 14:22:07 UTC  BUTTON           signup v3 (de)\n\n\
                 SUPPRESSED  BASIS      SINCE                    UNTIL\n\
                 everything  COMPLAINT  2026-05-03 14:23:20 UTC\n\n"
            ),
            "{shown}"
        );
    }

    #[test]
    fn a_person_never_seen_is_no_error() {
        let nothing = GetConsentResponse::default();
        assert_eq!(
            text(&nothing, &[], Evident::Fields),
            "Nothing is recorded of this person."
        );
        assert_eq!(
            serde_json::to_string(&json(&nothing, &[], Evident::Fields)).unwrap(),
            r#"{"records":[],"suppressions":[],"events":[]}"#
        );
    }
}
