//! Lists without end in messages that are not too large.

use consentgate::grpc::proto::CheckConsentRequest;
use prost::Message;
use tonic::Code;
use tonic::transport::Channel;
use tonic_types::StatusExt;

use super::{Attack, most_memory};
use crate::callers::call;
use crate::process::Place;

/// Two million entries of two bytes each: within the limit of four million bytes.
const ENTRIES: usize = 2_000_000;

/// What a call is refused with: the field, and how many entries it is told to have.
async fn refused(channel: &Channel, rpc: &str, message: Vec<u8>) -> (String, String) {
    let rpc = format!("consentgate.v1.ConsentService/{rpc}");
    let status = call(channel, &rpc, message, &[]).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let violated = status.get_details_bad_request().unwrap().field_violations;
    (violated[0].field.clone(), violated[0].description.clone())
}

#[tokio::test]
async fn a_list_of_millions_is_refused_by_its_name_before_it_is_in_memory() {
    let place = Place::sqlite();
    let gate = place.gate().await;
    let channel = gate.channel();
    let batch = [7 << 3 | 2, 0].repeat(ENTRIES);
    let purposes = [3 << 3 | 2, 0].repeat(ENTRIES);
    // The buffers of a large message, without the list.
    let large = CheckConsentRequest {
        purpose: "x".repeat(2 * ENTRIES),
        ..CheckConsentRequest::default()
    };
    let rpc = "consentgate.v1.ConsentService/CheckConsent";
    call(&channel, rpc, large.encode_to_vec(), &[])
        .await
        .unwrap_err();
    let (attack, peak) = (Attack::on(&gate), most_memory(&gate));
    let said = "has 2000000, the most is 10,000".to_owned();
    for _ in 0..5 {
        let found = refused(&channel, "BatchCheckConsent", batch.clone()).await;
        assert_eq!(found, ("recipients".to_owned(), said.clone()));
        let found = refused(&channel, "RecordConsent", purposes.clone()).await;
        assert_eq!(found, ("purposes".to_owned(), said.clone()));
    }
    // In memory a recipient takes at least 24 bytes: 48 MB for one such message.
    let grown = most_memory(&gate) - peak;
    assert!(grown < 24 << 10, "{grown} KiB more at its peak");
    let outcome =
        format!("lists of 2,000,000 entries: refused by field; {grown} KiB more at its peak");
    attack.survived(&gate, 24 << 10, &outcome).await;
    gate.stop().await;
}
