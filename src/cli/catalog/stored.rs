//! The catalogue as a server has it: fetched whole, and printed.

use std::collections::BTreeMap;

use tonic::Code;

use crate::cli::client::{Client, all_pages};
use crate::cli::json::Object;
use crate::cli::output::{Format, Output};
use crate::cli::wire::{self, some_span, some_time};
use crate::cli::words::{Word, word};
use crate::cli::{Exit, table};
use crate::grpc::proto::{
    self, Business, ConsentType, GetBusinessRequest, ListBusinessesRequest, ListNoticesRequest,
    ListPurposesRequest, ListSendersRequest, MessageClass, Notice, OptOutScope, Purpose, Sender,
};

/// Resources asked for at a time. A notice may have 4,096 characters of text.
const PAGE: i32 = 200;

/// One business and all that belongs to it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Stored {
    pub(super) business: Business,
    pub(super) senders: Vec<Sender>,
    pub(super) purposes: Vec<Purpose>,
    pub(super) notices: Vec<Notice>,
}

/// The business with all that belongs to it; nothing if it does not exist.
pub(super) async fn find(
    client: &Client,
    business_id: &str,
) -> Result<Option<Stored>, tonic::Status> {
    let request = GetBusinessRequest {
        business_id: business_id.to_owned(),
    };
    let business = match client.catalog().get_business(client.request(request)).await {
        Ok(answer) => answer.into_inner().business.unwrap_or_default(),
        Err(status) if status.code() == Code::NotFound => return Ok(None),
        Err(status) => return Err(status),
    };
    belongings(client, business).await.map(Some)
}

async fn belongings(client: &Client, business: Business) -> Result<Stored, tonic::Status> {
    let id = || business.business_id.clone();
    let senders = all_pages(async |page_token| {
        let request = ListSendersRequest {
            business_id: id(),
            page_size: PAGE,
            page_token,
        };
        let page = client
            .catalog()
            .list_senders(client.request(request))
            .await?
            .into_inner();
        Ok((page.senders, page.next_page_token))
    });
    let senders = senders.await?;
    let purposes = all_pages(async |page_token| {
        let request = ListPurposesRequest {
            business_id: id(),
            page_size: PAGE,
            page_token,
        };
        let page = client
            .catalog()
            .list_purposes(client.request(request))
            .await?
            .into_inner();
        Ok((page.purposes, page.next_page_token))
    });
    let purposes = purposes.await?;
    let notices = all_pages(async |page_token| {
        let request = ListNoticesRequest {
            business_id: id(),
            page_size: PAGE,
            page_token,
            notice_id: String::new(),
        };
        let page = client
            .catalog()
            .list_notices(client.request(request))
            .await?
            .into_inner();
        Ok((page.notices, page.next_page_token))
    });
    let notices = notices.await?;
    Ok(Stored {
        business,
        senders,
        purposes,
        notices,
    })
}

async fn businesses(client: &Client) -> Result<Vec<Business>, tonic::Status> {
    all_pages(async |page_token| {
        let request = ListBusinessesRequest {
            page_size: PAGE,
            page_token,
        };
        let page = client
            .catalog()
            .list_businesses(client.request(request))
            .await?
            .into_inner();
        Ok((page.businesses, page.next_page_token))
    })
    .await
}

pub(super) async fn show(
    client: &Client,
    business_id: Option<&str>,
    output: &mut Output,
) -> anyhow::Result<Exit> {
    let mut all = Vec::new();
    match business_id {
        Some(id) => {
            let found = find(client, id).await?;
            all.push(found.ok_or_else(|| anyhow::anyhow!("there is no business `{id}`"))?);
        }
        None => {
            for business in businesses(client).await? {
                all.push(belongings(client, business).await?);
            }
        }
    }
    match output.format {
        Format::Table if all.is_empty() => output.text("The catalogue is empty.")?,
        Format::Table => {
            let parts: Vec<_> = all.iter().map(text).collect();
            output.text(parts.join("\n\n"))?;
        }
        Format::Json => output.json(&Object::new().list("businesses", all.iter().map(json)))?,
    }
    Ok(Exit::Done)
}

fn text(stored: &Stored) -> String {
    let mut parts = vec![business_text(&stored.business)];
    if !stored.senders.is_empty() {
        parts.push(senders_text(&stored.senders));
    }
    if !stored.purposes.is_empty() {
        parts.push(purposes_text(&stored.purposes));
    }
    if !stored.notices.is_empty() {
        parts.push(notices_text(&stored.notices));
    }
    parts.join("\n\n")
}

fn business_text(business: &Business) -> String {
    let templates = wire::sorted(&business.template_classes).into_iter();
    let templates =
        templates.map(|(name, class)| format!("{name}={}", word::<MessageClass>(*class)));
    let facts = table::list([
        ("name", business.display_name.clone()),
        ("jurisdiction", business.default_jurisdiction.clone()),
        (
            "a bare STOP covers",
            word::<OptOutScope>(business.opt_out_scope),
        ),
        (
            "must name WhatsApp",
            yes_or_no(business.whatsapp_must_be_named.unwrap_or(true)).to_owned(),
        ),
        ("templates", templates.collect::<Vec<_>>().join(", ")),
    ]);
    format!(
        "business {}\n{}",
        business.business_id,
        table::indented(&facts)
    )
}

fn senders_text(senders: &[Sender]) -> String {
    let rows = senders.iter().map(|sender| {
        let held = match (sender.held, sender.held_reason.as_str()) {
            (false, _) => String::new(),
            (true, "") => "held".to_owned(),
            (true, reason) => format!("held: {reason}"),
        };
        [
            sender.sender_id.clone(),
            sender.display_name.clone(),
            sender.phone_number.clone(),
            sender.aliases.join(", "),
            held,
        ]
    });
    table::table(["sender", "name", "number", "aliases", "held"], rows)
}

fn purposes_text(purposes: &[Purpose]) -> String {
    let rows = purposes.iter().map(|purpose| {
        let consent = match (purpose.consent_required, purpose.confirmation_required) {
            (Some(false), _) => "not required",
            (_, Some(true)) => "with confirmation",
            _ => "required",
        };
        let types = purpose.accepted_consent_types.iter();
        [
            purpose.key.clone(),
            purpose.title.clone(),
            word::<MessageClass>(purpose.message_class),
            consent.to_owned(),
            types
                .map(|kind| word::<ConsentType>(*kind))
                .collect::<Vec<_>>()
                .join(", "),
            purpose.validity.as_ref().map(length).unwrap_or_default(),
            cap(purpose),
        ]
    });
    table::table(
        [
            "purpose",
            "title",
            "class",
            "consent",
            "accepts",
            "holds for",
            "at most",
        ],
        rows,
    )
}

fn cap(purpose: &Purpose) -> String {
    let cap = purpose.frequency_cap.as_ref();
    let words = |cap: &proto::FrequencyCap| {
        let per = cap.per.as_ref().map(length).unwrap_or_default();
        format!("{} in {per}", cap.messages)
    };
    cap.map(words).unwrap_or_default()
}

/// In days where it is whole days, as the catalogue file has it.
fn length(length: &prost_types::Duration) -> String {
    if length.nanos == 0 && length.seconds % 86_400 == 0 {
        format!("{}d", length.seconds / 86_400)
    } else {
        wire::span(length)
    }
}

/// Without the texts: they are long, and JSON has them.
fn notices_text(notices: &[Notice]) -> String {
    let rows = notices.iter().map(|notice| {
        [
            notice.notice_id.clone(),
            notice.version.to_string(),
            notice.language.clone(),
            notice.purposes.join(", "),
            notice.processing_version.to_string(),
        ]
    });
    table::table(
        ["notice", "version", "language", "purposes", "processing"],
        rows,
    )
}

fn yes_or_no(flag: bool) -> &'static str {
    if flag { "yes" } else { "no" }
}

fn json(stored: &Stored) -> Object {
    let business = &stored.business;
    let classes = wire::sorted(&business.template_classes).into_iter();
    let classes = classes.fold(Object::new(), |object, (name, class)| {
        object.with(name, word::<MessageClass>(*class))
    });
    Object::new()
        .with("business_id", &business.business_id)
        .with("display_name", &business.display_name)
        .text("default_jurisdiction", &business.default_jurisdiction)
        .maybe("whatsapp_must_be_named", business.whatsapp_must_be_named)
        .word::<OptOutScope>("opt_out_scope", business.opt_out_scope)
        .object("template_classes", classes)
        .maybe("create_time", some_time(business.create_time.as_ref()))
        .maybe("update_time", some_time(business.update_time.as_ref()))
        .list("senders", stored.senders.iter().map(sender_json))
        .list("purposes", stored.purposes.iter().map(purpose_json))
        .list("notices", stored.notices.iter().map(notice_json))
}

fn sender_json(sender: &Sender) -> Object {
    Object::new()
        .with("sender_id", &sender.sender_id)
        .text("display_name", &sender.display_name)
        .text("phone_number", &sender.phone_number)
        .with("held", sender.held)
        .text("held_reason", &sender.held_reason)
        .some("aliases", &sender.aliases)
        .maybe("create_time", some_time(sender.create_time.as_ref()))
        .maybe("update_time", some_time(sender.update_time.as_ref()))
}

fn purpose_json(purpose: &Purpose) -> Object {
    let cap = |cap: &proto::FrequencyCap| {
        Object::new()
            .with("messages", cap.messages)
            .maybe("per", some_span(cap.per.as_ref()))
    };
    Object::new()
        .with("key", &purpose.key)
        .with("title", &purpose.title)
        .object(
            "localized_titles",
            wire::text_map(&purpose.localized_titles),
        )
        .text("dpv_purpose", &purpose.dpv_purpose)
        .word::<MessageClass>("message_class", purpose.message_class)
        .some(
            "accepted_consent_types",
            words::<ConsentType>(&purpose.accepted_consent_types),
        )
        .maybe("validity", some_span(purpose.validity.as_ref()))
        .maybe("confirmation_required", purpose.confirmation_required)
        .maybe("consent_required", purpose.consent_required)
        .with("requested_by_recipient", purpose.requested_by_recipient)
        .maybe("frequency_cap", purpose.frequency_cap.as_ref().map(cap))
        .maybe("create_time", some_time(purpose.create_time.as_ref()))
        .maybe("update_time", some_time(purpose.update_time.as_ref()))
}

fn words<E: Word>(numbers: &[i32]) -> Vec<String> {
    numbers.iter().map(|number| word::<E>(*number)).collect()
}

fn notice_json(notice: &Notice) -> Object {
    Object::new()
        .with("notice_id", &notice.notice_id)
        .with("version", notice.version)
        .with("language", &notice.language)
        .with("text", &notice.text)
        .list("purposes", &notice.purposes)
        .text("sha256", &data_encoding::HEXLOWER.encode(&notice.sha256))
        .text("privacy_notice_url", &notice.privacy_notice_url)
        .text("opt_out_instructions", &notice.opt_out_instructions)
        .with("processing_version", notice.processing_version)
        .some("signup_ids", &notice.signup_ids)
        .maybe("create_time", some_time(notice.create_time.as_ref()))
}

/// Everything stored of some businesses, by the name of each resource.
pub(super) type ByName = BTreeMap<(String, String), super::draft::Resource>;

impl Stored {
    /// Adds every resource under its business and the name that people read.
    pub(super) fn index(self, by_name: &mut ByName) {
        use super::draft::Resource;
        let id = self.business.business_id.clone();
        let resources = std::iter::once(Resource::Business(self.business))
            .chain(self.senders.into_iter().map(Resource::Sender))
            .chain(self.purposes.into_iter().map(Resource::Purpose))
            .chain(self.notices.into_iter().map(Resource::Notice));
        by_name.extend(resources.map(|resource| ((id.clone(), resource.to_string()), resource)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> Stored {
        Stored {
            business: Business {
                business_id: "acme".to_owned(),
                display_name: "ACME GmbH".to_owned(),
                opt_out_scope: OptOutScope::BusinessEverything.into(),
                ..Business::default()
            },
            senders: vec![Sender {
                sender_id: "de-1".to_owned(),
                held: true,
                held_reason: "audit".to_owned(),
                ..Sender::default()
            }],
            purposes: vec![Purpose {
                key: "offers".to_owned(),
                title: "Offers".to_owned(),
                message_class: MessageClass::Marketing.into(),
                accepted_consent_types: vec![ConsentType::Expressed.into()],
                validity: Some(prost_types::Duration {
                    seconds: 31_536_000,
                    nanos: 0,
                }),
                frequency_cap: Some(proto::FrequencyCap {
                    messages: 2,
                    per: Some(prost_types::Duration {
                        seconds: 7 * 86_400,
                        nanos: 0,
                    }),
                }),
                ..Purpose::default()
            }],
            notices: vec![Notice {
                notice_id: "signup".to_owned(),
                version: 3,
                language: "de".to_owned(),
                text: "Ja!".to_owned(),
                purposes: vec!["offers".to_owned()],
                sha256: vec![0xab],
                processing_version: 1,
                ..Notice::default()
            }],
        }
    }

    #[test]
    fn a_business_reads_with_all_that_belongs_to_it() {
        assert_eq!(
            text(&stored()),
            "business acme\n  name                ACME GmbH\n  a bare STOP covers  BUSINESS_EVERYTHING\n  \
             must name WhatsApp  yes\n\n\
             SENDER  NAME  NUMBER  ALIASES  HELD\nde-1                           held: audit\n\n\
             PURPOSE  TITLE   CLASS      CONSENT   ACCEPTS    HOLDS FOR  AT MOST\n\
             offers   Offers  MARKETING  required  EXPRESSED  365d       2 in 7d\n\n\
             NOTICE  VERSION  LANGUAGE  PURPOSES  PROCESSING\nsignup  3        de        offers    1"
        );
    }

    #[test]
    fn json_has_the_texts_too() {
        let shown = serde_json::to_string(&json(&stored())).unwrap();
        assert!(
            shown.starts_with(r#"{"business_id":"acme","display_name":"ACME GmbH","#),
            "{shown}"
        );
        assert!(
            shown.contains(r#""text":"Ja!","purposes":["offers"],"sha256":"ab""#),
            "{shown}"
        );
        assert!(shown.contains(r#""validity":"31536000s""#), "{shown}");
    }
}
