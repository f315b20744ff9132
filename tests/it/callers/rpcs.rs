//! Every method of the contract: which permission it needs, and what everybody else is told.

use consentgate::domain::caller::Permission::{self, *};
use consentgate::grpc;
use consentgate::grpc::proto::stream_check_consent_request::Payload;
use consentgate::grpc::proto::{
    ListBusinessesResponse, StreamCheckConsentRequest, StreamCheckQuestion,
};
use prost::Message;
use tonic::Code;

use super::issuer::{self, Issuer};
use super::{Visible, bearer, call, caller, make, visible};
use crate::harness::{Backend, TestServer};
use crate::process::every_call::request_of;

/// What each method needs. The contract's comments say the same.
const NEEDS: &[(&str, Permission)] = &[
    ("ConsentService/CheckConsent", Check),
    ("ConsentService/BatchCheckConsent", Check),
    ("ConsentService/StreamCheckConsent", Check),
    ("ConsentService/RecordConsent", Record),
    ("ConsentService/ConfirmConsent", Record),
    ("ConsentService/Withdraw", Withdraw),
    ("ConsentService/AddSuppression", Withdraw),
    ("ConsentService/LiftSuppression", Record),
    ("ConsentService/RecordRegistryCheck", Record),
    ("ConsentService/ReportInbound", Report),
    ("ConsentService/ReportSend", Report),
    ("ConsentService/ReportDelivery", Report),
    ("ConsentService/GetConsent", ReadHistory),
    ("ConsentService/ListConsentEvents", ReadHistory),
    ("ConsentService/ExplainConsent", ReadHistory),
    ("CatalogService/CreateBusiness", Catalogue),
    ("CatalogService/GetBusiness", Catalogue),
    ("CatalogService/ListBusinesses", Catalogue),
    ("CatalogService/UpdateBusiness", Catalogue),
    ("CatalogService/CreateSender", Catalogue),
    ("CatalogService/GetSender", Catalogue),
    ("CatalogService/ListSenders", Catalogue),
    ("CatalogService/UpdateSender", Catalogue),
    ("CatalogService/CreatePurpose", Catalogue),
    ("CatalogService/GetPurpose", Catalogue),
    ("CatalogService/ListPurposes", Catalogue),
    ("CatalogService/UpdatePurpose", Catalogue),
    ("CatalogService/CreateNotice", Catalogue),
    ("CatalogService/GetNotice", Catalogue),
    ("CatalogService/ListNotices", Catalogue),
    ("LedgerService/EraseSubject", Operate),
];

/// These name no business.
const NAMES_NO_BUSINESS: [&str; 1] = ["CatalogService/ListBusinesses"];

/// A request that names `business` wherever a business is named.
fn asking_of(rpc: &str, business: &str) -> Vec<u8> {
    if rpc == "ConsentService/StreamCheckConsent" {
        // What opens a stream is the question, and a message carries that or recipients.
        let question = StreamCheckQuestion {
            business_id: business.into(),
            purpose: "offers".into(),
            ..StreamCheckQuestion::default()
        };
        let payload = Some(Payload::Question(question));
        return StreamCheckConsentRequest { payload }.encode_to_vec();
    }
    request_of(&format!("consentgate.v1.{rpc}"), |field| {
        let text = match field {
            "business_id" => business,
            "purpose" | "purposes" | "key" => "offers",
            "sender_id" => "1001",
            "phone_number" => "+14155550100",
            "wa_id" => "14155550100",
            "business_scoped_user_id" => "US.13491208655302741918",
            "language" => "en",
            "page_token" | "token" | "filter" => "",
            _ => "x",
        };
        text.to_owned()
    })
}

fn path(rpc: &str) -> String {
    format!("consentgate.v1.{rpc}")
}

#[test]
fn every_method_of_the_contract_has_a_case_here() {
    let mut cases: Vec<_> = NEEDS.iter().map(|(rpc, _)| path(rpc)).collect();
    let mut contract = grpc::methods();
    cases.sort();
    contract.sort();
    assert_eq!(cases, contract, "each needs a permission, and a case");
}

/// Whom the table below is tried with: what each shows.
struct Callers {
    /// May do everything, for another business.
    rival: String,
    /// By permission: who may do this alone, and who may do all but this.
    by_permission: Vec<(String, String)>,
}

impl Callers {
    /// Of these credentials, in the order of [`wanted`].
    fn of(mut shown: Vec<String>) -> Self {
        let rival = shown.remove(0);
        let pairs = shown.chunks_exact(2);
        let by_permission = pairs.map(|pair| (pair[0].clone(), pair[1].clone()));
        Self {
            rival,
            by_permission: by_permission.collect(),
        }
    }

    fn of_permission(&self, permission: Permission) -> &(String, String) {
        let at = Permission::ALL.iter().position(|one| *one == permission);
        &self.by_permission[at.unwrap()]
    }
}

/// For which business with which permissions.
fn wanted() -> Vec<(&'static str, Vec<Permission>)> {
    let mut wanted = vec![("rival", Permission::ALL.to_vec())];
    for permission in Permission::ALL {
        wanted.push(("acme", vec![permission]));
        let others = Permission::ALL.into_iter().filter(|one| *one != permission);
        wanted.push(("acme", others.collect()));
    }
    wanted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_method_answers_those_alone_who_may_ask_it_of_this_business() {
    let (issuer, directory) = (Issuer::new("one"), tempfile::tempdir().unwrap());
    let mut server = TestServer::with(Backend::Sqlite, |config| {
        issuer::known(config, &directory, &issuer);
    })
    .await;
    server.stop().await;
    let tokens = wanted().into_iter();
    let tokens: Vec<_> = tokens
        .map(|(business, may)| caller(business, &may))
        .collect();
    let tokens = make(server.config(), &tokens).await;
    let now = server.now();
    let jwts = wanted().into_iter().map(|(business, may)| {
        let jwt = issuer.jwt(&issuer::claims("test", business, &may, now));
        format!("Bearer {jwt}")
    });
    let callers = [
        Callers::of(tokens.iter().map(|(text, _)| bearer(text)).collect()),
        Callers::of(jwts.collect()),
    ];
    let stranger = Issuer::new("one").jwt(&issuer::claims("test", "acme", &Permission::ALL, now));
    let stranger = format!("Bearer {stranger}");
    server.resume();
    let channel = server.channel();
    let (mut nobody, mut strangers) = (Vec::new(), Vec::new());

    for (rpc, permission) in NEEDS {
        let full = path(rpc);
        let refused = async |business: &str, authorization: &[&str]| {
            let asked = match business {
                "" => Vec::new(),
                business => asking_of(rpc, business),
            };
            let answer = call(&channel, &full, asked, authorization).await;
            visible(&answer.expect_err(rpc))
        };
        // Whoever may not call at all, whatever is asked, hears one thing.
        for business in ["acme", "rival", "nobody", "", "Not A Slug"] {
            nobody.push((*rpc, refused(business, &[]).await));
        }
        nobody.push((*rpc, refused("acme", &[&stranger]).await));
        for callers in &callers {
            let (only, all_but) = callers.of_permission(*permission);
            // So does whoever may call, and not this.
            for business in ["acme", "nobody", ""] {
                strangers.push((*rpc, refused(business, &[all_but]).await));
            }
            if !NAMES_NO_BUSINESS.contains(rpc) {
                for business in ["acme", "nobody", "", "Not A Slug"] {
                    strangers.push((*rpc, refused(business, &[&callers.rival]).await));
                }
                for business in ["rival", "nobody", ""] {
                    strangers.push((*rpc, refused(business, &[only]).await));
                }
            }
            let answered = call(&channel, &full, asking_of(rpc, "acme"), &[only]).await;
            if let Err(status) = answered {
                let code = status.code();
                let hears = !matches!(code, Code::Unauthenticated | Code::PermissionDenied);
                assert!(hears, "{rpc} with {permission}: {status}");
            }
        }
    }
    all_alike(&nobody, Code::Unauthenticated);
    all_alike(&strangers, Code::PermissionDenied);
}

/// Everybody was told the same, by which nothing can be learnt.
fn all_alike(told: &[(&str, Visible)], code: Code) {
    let (_, expected) = &told[0];
    assert_eq!(expected.0, code);
    for (rpc, seen) in told {
        assert_eq!(seen, expected, "{rpc}");
    }
}

#[tokio::test]
async fn the_list_of_businesses_has_the_callers_own_alone() {
    let mut server = TestServer::start(Backend::Sqlite).await;
    server.stop().await;
    let everybody = super::Wanted {
        businesses: consentgate::domain::caller::Businesses::All,
        ..caller("acme", &[Catalogue])
    };
    let wanted = [
        caller("acme", &[Catalogue]),
        caller("rival", &[Catalogue]),
        everybody,
    ];
    let tokens = make(server.config(), &wanted).await;
    server.resume();
    for ((token, _), expected) in tokens
        .iter()
        .zip([&["acme"][..], &["rival"], &["acme", "rival"]])
    {
        let rpc = path("CatalogService/ListBusinesses");
        let answer = call(&server.channel(), &rpc, Vec::new(), &[&bearer(token)]).await;
        let answer = ListBusinessesResponse::decode(answer.unwrap()[0].as_slice()).unwrap();
        let listed: Vec<_> = answer
            .businesses
            .iter()
            .map(|one| one.business_id.as_str())
            .collect();
        assert_eq!(listed, expected);
    }
}
