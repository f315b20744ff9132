//! Resources of the catalogue to the wire.

use data_encoding::HEXLOWER;

use super::super::{enums, proto, wire_duration, wire_time};
use crate::domain::catalog::{Business, Notice, OptOutScope, Purpose, Sender};
use crate::domain::id::BusinessId;
use crate::domain::vocabulary::MessageClass;

pub fn write_business(business: &Business) -> proto::Business {
    let class = |class: &MessageClass| i32::from(enums::write_class(*class));
    let scope = match business.opt_out_scope {
        OptOutScope::SenderMarketing => proto::OptOutScope::SenderMarketing,
        OptOutScope::SenderEverything => proto::OptOutScope::SenderEverything,
        OptOutScope::BusinessMarketing => proto::OptOutScope::BusinessMarketing,
        OptOutScope::BusinessEverything => proto::OptOutScope::BusinessEverything,
    };
    let jurisdiction = business.default_jurisdiction.as_ref();
    proto::Business {
        business_id: business.business_id.to_string(),
        display_name: business.display_name.clone(),
        default_jurisdiction: jurisdiction.map(ToString::to_string).unwrap_or_default(),
        whatsapp_must_be_named: Some(business.whatsapp_must_be_named),
        opt_out_scope: scope.into(),
        template_classes: business
            .template_classes
            .iter()
            .map(|(name, of)| (name.clone(), class(of)))
            .collect(),
        create_time: Some(wire_time(business.create_time)),
        update_time: Some(wire_time(business.update_time)),
    }
}

pub fn write_sender(business: &BusinessId, sender: &Sender) -> proto::Sender {
    proto::Sender {
        sender_id: sender.sender_id.to_string(),
        display_name: sender.display_name.clone(),
        phone_number: sender.phone_number.clone(),
        held: sender.held,
        held_reason: sender.held_reason.clone(),
        aliases: sender.aliases.iter().map(ToString::to_string).collect(),
        business_id: business.to_string(),
        create_time: Some(wire_time(sender.create_time)),
        update_time: Some(wire_time(sender.update_time)),
    }
}

pub fn write_purpose(business: &BusinessId, purpose: &Purpose) -> proto::Purpose {
    let types = purpose.accepted_consent_types.iter();
    proto::Purpose {
        key: purpose.key.to_string(),
        title: purpose.title.clone(),
        localized_titles: purpose
            .localized_titles
            .iter()
            .map(|(language, title)| (language.to_string(), title.clone()))
            .collect(),
        dpv_purpose: purpose.dpv_purpose.clone(),
        message_class: enums::write_class(purpose.message_class).into(),
        accepted_consent_types: types.map(|kind| enums::write_type(*kind).into()).collect(),
        validity: purpose.validity().map(wire_duration),
        confirmation_required: Some(purpose.confirmation_required),
        consent_required: Some(purpose.consent_required),
        requested_by_recipient: purpose.requested_by_recipient,
        frequency_cap: purpose.frequency_cap.map(|cap| proto::FrequencyCap {
            // INVARIANT: what the catalogue holds came through an i32.
            messages: i32::try_from(cap.messages).unwrap_or(i32::MAX),
            per: Some(wire_duration(cap.per())),
        }),
        business_id: business.to_string(),
        create_time: Some(wire_time(purpose.create_time)),
        update_time: Some(wire_time(purpose.update_time)),
    }
}

pub fn write_notice(business: &BusinessId, notice: &Notice) -> proto::Notice {
    proto::Notice {
        notice_id: notice.name.notice_id.to_string(),
        version: notice.name.version,
        language: notice.name.language.to_string(),
        text: notice.text.clone(),
        purposes: notice.purposes.iter().map(ToString::to_string).collect(),
        // INVARIANT: the catalogue holds only digests that it compared with the text.
        sha256: HEXLOWER
            .decode(notice.sha256.as_bytes())
            .unwrap_or_default(),
        privacy_notice_url: notice.privacy_notice_url.clone(),
        opt_out_instructions: notice.opt_out_instructions.clone(),
        processing_version: notice.processing_version,
        signup_ids: notice.signup_ids.clone(),
        business_id: business.to_string(),
        create_time: Some(wire_time(notice.create_time)),
    }
}
