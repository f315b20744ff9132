//! The catalogue over gRPC: what is created, changed and refused, and the pages of its lists.

use std::time::Duration;

use consentgate::grpc::proto::catalog_service_client::CatalogServiceClient;
use consentgate::grpc::proto::*;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::harness::{Backend, TestServer};

/// A server without a catalogue, and a client that makes one.
struct Gate {
    server: TestServer,
    catalog: CatalogServiceClient<Channel>,
}

impl Gate {
    async fn start() -> Self {
        let server = TestServer::with(Backend::Sqlite, |config| config.catalog = None).await;
        let catalog = server.catalog();
        Self { server, catalog }
    }

    /// A server whose one business is `acme`.
    async fn of_acme() -> Self {
        let mut gate = Self::start().await;
        gate.catalog.create_business(create(acme())).await.unwrap();
        gate
    }

    /// A server of acme with the purposes `offers`, MARKETING, and `orders`, UTILITY.
    async fn of_purposes() -> Self {
        let mut gate = Self::of_acme().await;
        for (key, class) in [
            ("offers", MessageClass::Marketing),
            ("orders", MessageClass::Utility),
        ] {
            gate.create_purpose(purpose(key, class)).await.unwrap();
        }
        gate
    }

    async fn reasons(&self, check: &CheckConsentRequest) -> Vec<Reason> {
        let answer = self.server.try_check(check.clone()).await.unwrap();
        answer.reasons().collect()
    }

    async fn create_sender(&mut self, sender: Sender) -> Result<Sender, Status> {
        let request = CreateSenderRequest {
            business_id: "acme".into(),
            sender: Some(sender),
        };
        let answer = self.catalog.create_sender(request).await?;
        Ok(answer.into_inner().sender.unwrap())
    }

    async fn update_sender(&mut self, sender: Sender) -> Result<Sender, Status> {
        let request = UpdateSenderRequest {
            business_id: "acme".into(),
            sender: Some(sender),
        };
        let answer = self.catalog.update_sender(request).await?;
        Ok(answer.into_inner().sender.unwrap())
    }

    async fn get_sender(&mut self, name: &str) -> Result<Sender, Status> {
        let request = GetSenderRequest {
            business_id: "acme".into(),
            sender_id: name.into(),
        };
        let answer = self.catalog.get_sender(request).await?;
        Ok(answer.into_inner().sender.unwrap())
    }

    async fn list_senders(
        &mut self,
        page_size: i32,
        token: &str,
    ) -> Result<ListSendersResponse, Status> {
        let page_token = token.into();
        let request = ListSendersRequest {
            business_id: "acme".into(),
            page_size,
            page_token,
        };
        Ok(self.catalog.list_senders(request).await?.into_inner())
    }

    async fn create_purpose(&mut self, purpose: Purpose) -> Result<Purpose, Status> {
        let request = CreatePurposeRequest {
            business_id: "acme".into(),
            purpose: Some(purpose),
        };
        let answer = self.catalog.create_purpose(request).await?;
        Ok(answer.into_inner().purpose.unwrap())
    }

    async fn update_purpose(&mut self, purpose: Purpose) -> Result<Purpose, Status> {
        let request = UpdatePurposeRequest {
            business_id: "acme".into(),
            purpose: Some(purpose),
        };
        let answer = self.catalog.update_purpose(request).await?;
        Ok(answer.into_inner().purpose.unwrap())
    }

    async fn create_notice(&mut self, notice: Notice) -> Result<Notice, Status> {
        let request = CreateNoticeRequest {
            business_id: "acme".into(),
            notice: Some(notice),
        };
        let answer = self.catalog.create_notice(request).await?;
        Ok(answer.into_inner().notice.unwrap())
    }

    async fn get_notice(&mut self, version: i32, language: &str) -> Result<Notice, Status> {
        let request = GetNoticeRequest {
            business_id: "acme".into(),
            notice_id: "signup".into(),
            version,
            language: language.into(),
        };
        let answer = self.catalog.get_notice(request).await?;
        Ok(answer.into_inner().notice.unwrap())
    }

    async fn list_notices(
        &mut self,
        page_size: i32,
        token: &str,
    ) -> Result<ListNoticesResponse, Status> {
        let request = ListNoticesRequest {
            business_id: "acme".into(),
            page_size,
            page_token: token.into(),
            notice_id: String::new(),
        };
        Ok(self.catalog.list_notices(request).await?.into_inner())
    }
}

fn acme() -> Business {
    Business {
        business_id: "acme".into(),
        display_name: "Acme GmbH".into(),
        ..Business::default()
    }
}

fn create(business: Business) -> CreateBusinessRequest {
    CreateBusinessRequest {
        business: Some(business),
    }
}

fn sender(id: &str) -> Sender {
    Sender {
        sender_id: id.into(),
        ..Sender::default()
    }
}

fn purpose(key: &str, class: MessageClass) -> Purpose {
    Purpose {
        key: key.into(),
        title: key.into(),
        message_class: class.into(),
        ..Purpose::default()
    }
}

fn notice(version: i32, language: &str) -> Notice {
    Notice {
        notice_id: "signup".into(),
        version,
        language: language.into(),
        text: "Acme GmbH sends you offers and orders by WhatsApp. Reply STOP to end it.".into(),
        purposes: vec!["orders".into(), "offers".into()],
        ..Notice::default()
    }
}

/// Asserts that a call was refused for exactly these fields.
#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, fields: &[&str]) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let details = status
        .get_details_bad_request()
        .expect("a refusal names fields");
    let named: Vec<_> = details
        .field_violations
        .iter()
        .map(|one| one.field.as_str())
        .collect();
    assert_eq!(named, fields, "{}", status.message());
}

#[track_caller]
fn failed<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), code, "{status}");
}

#[tokio::test]
async fn a_business_is_created_read_listed_and_replaced() {
    let mut gate = Gate::start().await;
    let given = Business {
        default_jurisdiction: "DE".into(),
        opt_out_scope: OptOutScope::BusinessMarketing.into(),
        template_classes: [("spring".to_owned(), MessageClass::Marketing.into())].into(),
        ..acme()
    };
    let created = gate
        .catalog
        .create_business(create(given.clone()))
        .await
        .unwrap();
    let created = created.into_inner().business.unwrap();
    assert!(created.create_time.is_some() && created.create_time == created.update_time);
    let stored = Business {
        whatsapp_must_be_named: Some(true),
        create_time: created.create_time,
        update_time: created.update_time,
        ..given
    };
    assert_eq!(created, stored);

    let get = GetBusinessRequest {
        business_id: "acme".into(),
    };
    let got = gate
        .catalog
        .get_business(get)
        .await
        .unwrap()
        .into_inner()
        .business;
    assert_eq!(got.as_ref(), Some(&created));
    let list = ListBusinessesRequest::default();
    let listed = gate
        .catalog
        .list_businesses(list.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (listed.businesses, listed.next_page_token.as_str()),
        (vec![created.clone()], "")
    );

    gate.server.advance(Duration::from_secs(1));
    // The whole of it is replaced: what is left out takes its default.
    let update = UpdateBusinessRequest {
        business: Some(acme()),
    };
    let updated = gate
        .catalog
        .update_business(update)
        .await
        .unwrap()
        .into_inner()
        .business
        .unwrap();
    assert_eq!(updated.create_time, created.create_time);
    assert_ne!(updated.update_time, created.update_time);
    assert_eq!(updated.default_jurisdiction, "");
    assert_eq!(updated.opt_out_scope(), OptOutScope::BusinessEverything);
    assert!(updated.template_classes.is_empty());

    gate.server.restart().await;
    gate.catalog = gate.server.catalog();
    let listed = gate
        .catalog
        .list_businesses(list)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(listed.businesses, [updated]);
}

#[tokio::test]
async fn creating_again_is_harmless_with_the_same_content_only() {
    let mut gate = Gate::of_purposes().await;
    let first = gate.create_sender(sender("1001")).await.unwrap();
    assert_eq!(gate.create_sender(sender("1001")).await.unwrap(), first);
    // Also as it was given back, with its output-only fields.
    assert_eq!(gate.create_sender(first.clone()).await.unwrap(), first);
    let other = Sender {
        display_name: "Shop".into(),
        ..sender("1001")
    };
    failed(gate.create_sender(other).await, Code::AlreadyExists);

    let other = Business {
        display_name: "Other".into(),
        ..acme()
    };
    failed(
        gate.catalog.create_business(create(other)).await,
        Code::AlreadyExists,
    );
    let other = Purpose {
        dpv_purpose: "Marketing".into(),
        ..purpose("offers", MessageClass::Marketing)
    };
    failed(gate.create_purpose(other).await, Code::AlreadyExists);

    let first = gate.create_notice(notice(1, "en")).await.unwrap();
    assert_eq!(gate.create_notice(notice(1, "en")).await.unwrap(), first);
    let other = Notice {
        signup_ids: vec!["form".into()],
        ..notice(1, "en")
    };
    failed(gate.create_notice(other).await, Code::AlreadyExists);
}

#[tokio::test]
async fn a_sender_that_was_stopped_stays_so_when_the_file_is_applied_again() {
    let mut server = TestServer::start(Backend::Sqlite).await;
    let stopped = Sender {
        sender_id: "1002".into(),
        held: true,
        held_reason: "blocked by Meta".into(),
        aliases: vec!["shop-de".into()],
        ..Sender::default()
    };
    let update = UpdateSenderRequest {
        business_id: "acme".into(),
        sender: Some(stopped),
    };
    server.catalog().update_sender(update).await.unwrap();
    // The file of the start names this sender, and says neither.
    server.restart().await;
    let ask = GetSenderRequest {
        business_id: "acme".into(),
        sender_id: "shop-de".into(),
    };
    let sender = server.catalog().get_sender(ask).await.unwrap();
    let sender = sender.into_inner().sender.unwrap();
    assert_eq!(
        (sender.held, sender.held_reason.as_str()),
        (true, "blocked by Meta")
    );
    assert_eq!(sender.aliases, ["shop-de"]);
}

#[tokio::test]
async fn a_sender_answers_to_its_aliases_and_can_be_held() {
    let mut gate = Gate::of_purposes().await;
    let shop = Sender {
        aliases: vec!["shop-de".into()],
        ..sender("1001")
    };
    let created = gate.create_sender(shop.clone()).await.unwrap();
    assert_eq!(created.business_id, "acme");
    assert_eq!(gate.get_sender("shop-de").await.unwrap(), created);

    let check = CheckConsentRequest {
        business_id: "acme".into(),
        recipient: Some(Recipient {
            address: Some(recipient::Address::PhoneNumber("+4915112345678".into())),
        }),
        purpose: "offers".into(),
        message_class: MessageClass::Marketing.into(),
        sender_id: "shop-de".into(),
        ..CheckConsentRequest::default()
    };
    assert!(!gate.reasons(&check).await.contains(&Reason::SenderHeld));
    let held = Sender {
        held: true,
        held_reason: "blocked by Meta".into(),
        ..shop.clone()
    };
    let held = gate.update_sender(held).await.unwrap();
    assert_eq!(
        (held.held, held.held_reason.as_str()),
        (true, "blocked by Meta")
    );
    assert_eq!(gate.reasons(&check).await[0], Reason::SenderHeld);
    gate.update_sender(shop).await.unwrap();
    assert!(!gate.reasons(&check).await.contains(&Reason::SenderHeld));
}

#[tokio::test]
async fn a_purpose_may_only_become_stricter() {
    let mut gate = Gate::of_purposes().await;
    refused(
        gate.update_purpose(purpose("offers", MessageClass::Utility))
            .await,
        &["purpose.message_class"],
    );
    let stricter = purpose("orders", MessageClass::Marketing);
    let updated = gate.update_purpose(stricter).await.unwrap();
    assert_eq!(updated.message_class(), MessageClass::Marketing);
    let get = GetPurposeRequest {
        business_id: "acme".into(),
        key: "orders".into(),
    };
    let got = gate
        .catalog
        .get_purpose(get)
        .await
        .unwrap()
        .into_inner()
        .purpose;
    assert_eq!(got, Some(updated));
}

#[tokio::test]
async fn a_purpose_says_what_holds_where_nothing_was_said() {
    let mut gate = Gate::of_acme().await;
    let created = gate
        .create_purpose(purpose("offers", MessageClass::Marketing))
        .await
        .unwrap();
    assert_eq!(
        (created.consent_required, created.confirmation_required),
        (Some(true), Some(false))
    );
    let accepted: Vec<ConsentType> = created.accepted_consent_types().collect();
    assert_eq!(
        accepted,
        [ConsentType::ExplicitlyExpressed, ConsentType::Expressed]
    );
    assert_eq!((created.validity, created.frequency_cap), (None, None));
}

#[tokio::test]
async fn a_notice_is_judged_by_the_business_and_its_purposes() {
    let mut gate = Gate::of_purposes().await;
    let created = gate.create_notice(notice(1, "en")).await.unwrap();
    assert_eq!(created.purposes, ["offers", "orders"]);
    assert_eq!((created.sha256.len(), created.processing_version), (32, 1));

    let silent = Notice {
        text: "Write STOP.".into(),
        ..notice(2, "en")
    };
    refused(gate.create_notice(silent).await, &["notice.text"; 4]);
    // A fault names the purpose by the caller's index, though they are kept sorted.
    let unknown = Notice {
        purposes: vec!["orders".into(), "gifts".into()],
        ..notice(2, "en")
    };
    refused(gate.create_notice(unknown).await, &["notice.purposes[1]"]);
    let raised = Notice {
        processing_version: 2,
        ..notice(2, "en")
    };
    gate.create_notice(raised).await.unwrap();
    refused(
        gate.create_notice(notice(3, "en")).await,
        &["notice.processing_version"],
    );
}

#[tokio::test]
async fn the_highest_version_of_a_language_answers_to_version_0() {
    let mut gate = Gate::of_purposes().await;
    for (version, language) in [(1, "en"), (2, "en"), (3, "de")] {
        gate.create_notice(notice(version, language)).await.unwrap();
    }
    assert_eq!(gate.get_notice(0, "en").await.unwrap().version, 2);
    assert_eq!(gate.get_notice(1, "en").await.unwrap().version, 1);
    failed(gate.get_notice(3, "en").await, Code::NotFound);
    failed(gate.get_notice(0, "fr").await, Code::NotFound);
    refused(gate.get_notice(-1, "en").await, &["version"]);

    let first = gate.list_notices(2, "").await.unwrap();
    let names: Vec<_> = first
        .notices
        .iter()
        .map(|n| (n.version, n.language.as_str()))
        .collect();
    assert_eq!(names, [(1, "en"), (2, "en")]);
    let second = gate.list_notices(2, &first.next_page_token).await.unwrap();
    assert_eq!(
        (second.notices[0].version, second.next_page_token.as_str()),
        (3, "")
    );
    let other = ListNoticesRequest {
        business_id: "acme".into(),
        notice_id: "other".into(),
        ..ListNoticesRequest::default()
    };
    let none = gate
        .catalog
        .list_notices(other.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(none, ListNoticesResponse::default());
    let foreign = ListNoticesRequest {
        page_token: first.next_page_token,
        ..other
    };
    refused(gate.catalog.list_notices(foreign).await, &["page_token"]);
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let mut gate = Gate::of_acme().await;
    failed(gate.get_sender("1001").await, Code::NotFound);
    failed(gate.update_sender(sender("1001")).await, Code::NotFound);
    failed(
        gate.update_purpose(purpose("offers", MessageClass::Marketing))
            .await,
        Code::NotFound,
    );
    failed(gate.get_notice(1, "en").await, Code::NotFound);

    let business_id = || "nobody".to_owned();
    let catalog = &mut gate.catalog;
    let get = GetBusinessRequest {
        business_id: business_id(),
    };
    failed(catalog.get_business(get).await, Code::NotFound);
    let business = Some(Business {
        business_id: business_id(),
        ..acme()
    });
    failed(
        catalog
            .update_business(UpdateBusinessRequest { business })
            .await,
        Code::NotFound,
    );
    let create = CreateSenderRequest {
        business_id: business_id(),
        sender: Some(sender("1")),
    };
    failed(catalog.create_sender(create).await, Code::NotFound);
    let get = GetSenderRequest {
        business_id: business_id(),
        sender_id: "1".into(),
    };
    failed(catalog.get_sender(get).await, Code::NotFound);
    let list = ListSendersRequest {
        business_id: business_id(),
        ..ListSendersRequest::default()
    };
    failed(catalog.list_senders(list).await, Code::NotFound);
    let new = purpose("offers", MessageClass::Marketing);
    let create = CreatePurposeRequest {
        business_id: business_id(),
        purpose: Some(new),
    };
    failed(catalog.create_purpose(create).await, Code::NotFound);
    let get = GetPurposeRequest {
        business_id: business_id(),
        key: "offers".into(),
    };
    failed(catalog.get_purpose(get).await, Code::NotFound);
    let list = ListPurposesRequest {
        business_id: business_id(),
        ..ListPurposesRequest::default()
    };
    failed(catalog.list_purposes(list).await, Code::NotFound);
    let create = CreateNoticeRequest {
        business_id: business_id(),
        notice: Some(notice(1, "en")),
    };
    failed(catalog.create_notice(create).await, Code::NotFound);
    let list = ListNoticesRequest {
        business_id: business_id(),
        ..ListNoticesRequest::default()
    };
    failed(catalog.list_notices(list).await, Code::NotFound);
}

#[tokio::test]
async fn every_violated_field_is_named_at_once_and_nothing_is_kept() {
    let mut gate = Gate::of_acme().await;
    let bad = Business {
        opt_out_scope: 99,
        ..Business::default()
    };
    refused(
        gate.catalog.create_business(create(bad)).await,
        &[
            "business.business_id",
            "business.opt_out_scope",
            "business.display_name",
        ],
    );
    refused(
        gate.catalog
            .create_sender(CreateSenderRequest::default())
            .await,
        &["business_id", "sender"],
    );
    let bad = Purpose {
        message_class: 99,
        validity: Some(prost_types::Duration {
            seconds: 0,
            nanos: 1,
        }),
        frequency_cap: Some(FrequencyCap {
            messages: 1,
            per: None,
        }),
        ..purpose("offers", MessageClass::Marketing)
    };
    refused(
        gate.create_purpose(bad).await,
        &[
            "purpose.message_class",
            "purpose.validity",
            "purpose.frequency_cap.per",
        ],
    );
    let list = ListPurposesRequest {
        business_id: "acme".into(),
        ..ListPurposesRequest::default()
    };
    let listed = gate.catalog.list_purposes(list).await.unwrap().into_inner();
    assert_eq!(listed, ListPurposesResponse::default());
}

#[tokio::test]
async fn a_refusal_of_the_longest_names_still_reaches_the_caller() {
    let mut gate = Gate::start().await;
    let template = |number: usize| format!("{number:04}{}", "\u{1F512}".repeat(508));
    let bad = Business {
        template_classes: (0..40).map(|number| (template(number), 99)).collect(),
        ..acme()
    };
    let status = gate.catalog.create_business(create(bad)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.get_details_bad_request().is_some());
}

#[tokio::test]
async fn pages_follow_each_other_and_only_within_their_list() {
    let mut gate = Gate::of_purposes().await;
    for id in ["c", "a", "e", "b", "d"] {
        gate.create_sender(sender(id)).await.unwrap();
    }
    let (mut token, mut seen) = (String::new(), Vec::new());
    loop {
        let page = gate.list_senders(2, &token).await.unwrap();
        seen.extend(page.senders.into_iter().map(|sender| sender.sender_id));
        if page.next_page_token.is_empty() {
            break;
        }
        token = page.next_page_token;
    }
    assert_eq!(seen, ["a", "b", "c", "d", "e"]);
    let foreign = ListPurposesRequest {
        business_id: "acme".into(),
        page_size: 1,
        page_token: token,
    };
    refused(gate.catalog.list_purposes(foreign).await, &["page_token"]);
    refused(
        gate.list_senders(-1, "nonsense").await,
        &["page_size", "page_token"],
    );
}

#[tokio::test]
async fn a_list_of_the_largest_businesses_fits_through_a_client_with_default_limits() {
    let mut gate = Gate::start().await;
    // Two megabytes each, where a client takes four.
    let template = |number: usize| format!("{number:04}{}", "\u{1F512}".repeat(508));
    let classes = (0..1_000).map(|number| (template(number), MessageClass::Marketing.into()));
    let largest = Business {
        template_classes: classes.collect(),
        ..acme()
    };
    for business_id in ["a", "b", "c"] {
        let business = Business {
            business_id: business_id.into(),
            ..largest.clone()
        };
        gate.catalog
            .create_business(create(business))
            .await
            .unwrap();
    }
    let (mut page_token, mut seen) = (String::new(), Vec::new());
    loop {
        let list = ListBusinessesRequest {
            page_size: 1_000,
            page_token,
        };
        let page = gate
            .catalog
            .list_businesses(list)
            .await
            .unwrap()
            .into_inner();
        seen.extend(
            page.businesses
                .into_iter()
                .map(|business| business.business_id),
        );
        if page.next_page_token.is_empty() {
            break;
        }
        page_token = page.next_page_token;
    }
    assert_eq!(seen, ["a", "b", "c"]);
}
