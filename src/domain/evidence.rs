//! Evidence that counts: what makes a recorded act no consent, and which evidence is missing.
//!
//! Refusing here is kinder than denying later: the developer of a form learns at once what is wrong
//! with it. Every fault is reported, not only the first. Sources: GDPR Art. 4(11) and 7; EDPB
//! 05/2020; CJEU C-673/17 (Planet49, pre-ticked boxes) and C-61/19 (Orange Romania, proof); Meta's
//! opt-in requirements for WhatsApp; the evidence columns of the policy file.

use std::fmt;

use super::address::Address;
use super::catalog::Purpose;
use super::event::{Declarations, Terms};
use super::facts::evidence_of;
use super::id::JurisdictionCode;
use super::phone::{self, Existence};
use super::place;
use super::rules::Rules;
use super::time::Timestamp;
use super::vocabulary::{ConsentType, EvidenceField};

/// Why evidence was refused; the machine-readable reason of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalReason {
    PreTickedBox,
    BundledWithTerms,
    ImpliedNotAccepted,
    SourceProhibited,
    OtherChannelConsent,
    NoticeRequired,
    NoticeDoesNotCoverPurpose,
    EvidenceMissing,
    PhoneNumberInvalid,
}

impl RefusalReason {
    /// The word of the contract.
    pub const fn word(self) -> &'static str {
        match self {
            Self::PreTickedBox => "PRE_TICKED_BOX",
            Self::BundledWithTerms => "BUNDLED_WITH_TERMS",
            Self::ImpliedNotAccepted => "IMPLIED_NOT_ACCEPTED",
            Self::SourceProhibited => "SOURCE_PROHIBITED",
            Self::OtherChannelConsent => "OTHER_CHANNEL_CONSENT",
            Self::NoticeRequired => "NOTICE_REQUIRED",
            Self::NoticeDoesNotCoverPurpose => "NOTICE_DOES_NOT_COVER_PURPOSE",
            Self::EvidenceMissing => "EVIDENCE_MISSING",
            Self::PhoneNumberInvalid => "PHONE_NUMBER_INVALID",
        }
    }
}

/// One fault of a record, with the field of the request where it lies. `recipient` stands for
/// whichever of its fields the address came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub field: String,
    pub reason: RefusalReason,
    pub message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

fn refusal(field: &str, reason: RefusalReason, message: impl Into<String>) -> Refusal {
    Refusal {
        field: field.into(),
        reason,
        message: message.into(),
    }
}

/// Judges a grant before it is recorded: everything that is wrong with it. Each purpose comes with
/// its place in the request.
pub fn judge_grant(
    address: &Address,
    terms: &Terms,
    notice_purposes: Option<&[super::id::PurposeKey]>,
    purposes: &[(usize, &Purpose)],
    rules: &Rules,
    at: Timestamp,
) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    if phone::existence(address) == Existence::Invalid {
        refusals.push(refusal(
            "recipient",
            RefusalReason::PhoneNumberInvalid,
            "is not a number that any numbering plan has; record the number in international form",
        ));
    }
    judge_declarations(&terms.declarations, rules, &mut refusals);
    judge_notice(terms, notice_purposes, purposes, &mut refusals);
    judge_type(address, terms, purposes, rules, at, &mut refusals);
    refusals
}

fn judge_declarations(declared: &Declarations, rules: &Rules, refusals: &mut Vec<Refusal>) {
    if declared.default_unticked == Some(false) {
        refusals.push(refusal(
            "declarations.default_unticked",
            RefusalReason::PreTickedBox,
            "a box that was ticked beforehand is no consent",
        ));
    }
    if declared.separate_from_terms == Some(false) {
        refusals.push(refusal(
            "declarations.separate_from_terms",
            RefusalReason::BundledWithTerms,
            "consent that comes with accepting terms is not freely given",
        ));
    }
    if declared.number_entered_by_subject == Some(false) {
        refusals.push(refusal(
            "declarations.number_entered_by_subject",
            RefusalReason::SourceProhibited,
            "the person did not give this number: bought, rented or collected lists carry no consent",
        ));
    }
    if declared.whatsapp_named == Some(false) && rules.catalog.business.whatsapp_must_be_named {
        refusals.push(refusal(
            "declarations.whatsapp_named",
            RefusalReason::OtherChannelConsent,
            "the consent was given for another channel, and this business asks that WhatsApp is named",
        ));
    }
}

fn judge_notice(
    terms: &Terms,
    notice_purposes: Option<&[super::id::PurposeKey]>,
    purposes: &[(usize, &Purpose)],
    refusals: &mut Vec<Refusal>,
) {
    let Some(shown) = &terms.notice else {
        if terms.consent_type != ConsentType::Implied {
            refusals.push(refusal(
                "notice",
                RefusalReason::NoticeRequired,
                "name the notice that the person was shown: notice_id, version and language",
            ));
        }
        return;
    };
    let covered = notice_purposes.unwrap_or_default();
    for (index, Purpose { key, .. }) in purposes {
        if !covered.contains(key) {
            refusals.push(refusal(
                &format!("purposes[{index}]"),
                RefusalReason::NoticeDoesNotCoverPurpose,
                format!(
                    "notice `{}` does not name the purpose `{key}`",
                    shown.notice
                ),
            ));
        }
    }
}

fn judge_type(
    address: &Address,
    terms: &Terms,
    purposes: &[(usize, &Purpose)],
    rules: &Rules,
    at: Timestamp,
    refusals: &mut Vec<Refusal>,
) {
    let codes = match &terms.jurisdiction {
        Some(code) => std::slice::from_ref(code),
        None => place::of(address).jurisdictions.as_slice(),
    };
    let requirements = rules.requirements_of(codes, at);
    let requirements = requirements.as_deref();
    let names: Vec<&str> = codes.iter().map(JurisdictionCode::as_str).collect();
    let place = match names.as_slice() {
        [] => "the strict default".to_owned(),
        names => names.join(" or "),
    };
    for (_, purpose) in purposes {
        let accepted = purpose.accepted_consent_types.contains(&terms.consent_type)
            && requirements.is_none_or(|required| terms.consent_type >= required.consent_type);
        if accepted {
            continue;
        }
        let message = format!(
            "{} consent does not suffice for the purpose `{}` in {place}",
            terms.consent_type, purpose.key
        );
        let reason = match terms.consent_type {
            ConsentType::Implied => RefusalReason::ImpliedNotAccepted,
            ConsentType::Expressed | ConsentType::ExplicitlyExpressed => {
                RefusalReason::EvidenceMissing
            }
        };
        refusals.push(refusal("consent_type", reason, message));
    }
    if let (Some(implied), Some(requirements)) = (terms.implied, requirements)
        && terms.consent_type == ConsentType::Implied
        && !requirements.implied_validity.contains_key(&implied.basis)
    {
        let message = format!("nothing is implied by {} in {place}", implied.basis);
        refusals.push(refusal(
            "implied_basis",
            RefusalReason::ImpliedNotAccepted,
            message,
        ));
    }
    let required = requirements
        .map(|required| required.evidence)
        .unwrap_or_default();
    for field in evidence_of(terms).missing(required).iter() {
        // A missing notice has a reason of its own.
        if field == EvidenceField::Notice {
            continue;
        }
        let message = format!("{place} requires this as evidence of consent");
        refusals.push(refusal(
            &path_of(field),
            RefusalReason::EvidenceMissing,
            message,
        ));
    }
}

/// Where a field of evidence stands in the request.
fn path_of(field: EvidenceField) -> String {
    match field {
        EvidenceField::EventTime | EvidenceField::IndicationMethod | EvidenceField::Notice => {
            field.word().into()
        }
        EvidenceField::DefaultUnticked
        | EvidenceField::SeparateFromTerms
        | EvidenceField::WhatsappNamed
        | EvidenceField::NumberEnteredBySubject => format!("declarations.{field}"),
        EvidenceField::SourceUrl
        | EvidenceField::FormId
        | EvidenceField::MessageId
        | EvidenceField::IpAddress
        | EvidenceField::UserAgent
        | EvidenceField::SignupId
        | EvidenceField::CallId
        | EvidenceField::Attachments
        | EvidenceField::Statement => format!("evidence.{field}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::tests::{at, purpose, terms};
    use crate::domain::event::{Implied, NoticeShown};
    use crate::domain::id::{Language, NoticeId, NoticeRef};
    use crate::domain::policy::tests::{lenient, policy};
    use crate::domain::rules::tests::{catalog, purpose_of, rules, rules_with};
    use crate::domain::vocabulary::{EvidenceFields, ImpliedBasis, MessageClass};

    fn shown() -> NoticeShown {
        NoticeShown {
            notice: NoticeRef {
                notice_id: NoticeId::parse("signup").unwrap(),
                version: 1,
                language: Language::parse("en").unwrap(),
            },
            sha256: String::new(),
            processing_version: 1,
        }
    }

    fn faults(terms: &Terms, rules: &Rules) -> Vec<(String, &'static str)> {
        let address = Address::from_phone_number("+4915112345678").unwrap();
        let purposes = terms.purposes.iter();
        let purposes: Vec<_> = purposes
            .map(|key| purpose_of(key.as_str(), MessageClass::Marketing))
            .collect();
        let placed: Vec<_> = purposes.iter().enumerate().collect();
        judge_grant(
            &address,
            terms,
            Some(&[purpose("offers")]),
            &placed,
            rules,
            at(1),
        )
        .into_iter()
        .map(|refusal| (refusal.field, refusal.reason.word()))
        .collect()
    }

    fn sound() -> Terms {
        Terms {
            notice: Some(shown()),
            ..terms("offers")
        }
    }

    #[test]
    fn a_sound_grant_is_not_refused() {
        assert_eq!(faults(&sound(), &rules()), []);
    }

    #[test]
    fn every_declaration_that_denies_consent_has_its_own_reason() {
        let mut terms = sound();
        terms.declarations = Declarations {
            default_unticked: Some(false),
            separate_from_terms: Some(false),
            whatsapp_named: Some(false),
            number_entered_by_subject: Some(false),
        };
        let words: Vec<_> = faults(&terms, &rules())
            .into_iter()
            .map(|(_, word)| word)
            .collect();
        assert_eq!(
            words,
            [
                "PRE_TICKED_BOX",
                "BUNDLED_WITH_TERMS",
                "SOURCE_PROHIBITED",
                "OTHER_CHANNEL_CONSENT"
            ]
        );
    }

    #[test]
    fn naming_whatsapp_is_a_setting_of_the_business() {
        let mut terms = sound();
        terms.declarations.whatsapp_named = Some(false);
        let mut lax = catalog();
        lax.business.whatsapp_must_be_named = false;
        assert_eq!(
            faults(&terms, &rules_with(lax, policy(&[("ZZ", lenient())]))),
            []
        );
    }

    #[test]
    fn a_grant_without_a_notice_or_with_one_that_does_not_cover_it_is_refused() {
        let without = terms("offers");
        assert_eq!(
            faults(&without, &rules()),
            [("notice".into(), "NOTICE_REQUIRED")]
        );
        let mut uncovered = sound();
        uncovered.purposes = vec![purpose("orders")];
        assert_eq!(
            faults(&uncovered, &rules()),
            [("purposes[0]".into(), "NOTICE_DOES_NOT_COVER_PURPOSE")]
        );
    }

    #[test]
    fn implied_consent_needs_a_basis_that_the_jurisdiction_knows() {
        let mut terms = terms("offers");
        terms.consent_type = ConsentType::Implied;
        terms.implied = Some(Implied {
            basis: ImpliedBasis::Inquiry,
            basis_time: at(0),
        });
        assert_eq!(
            faults(&terms, &rules()),
            [("implied_basis".into(), "IMPLIED_NOT_ACCEPTED")]
        );
        terms.implied = Some(Implied {
            basis: ImpliedBasis::Purchase,
            basis_time: at(0),
        });
        assert_eq!(faults(&terms, &rules()), []);
        let mut strict = lenient();
        strict.consent_type = ConsentType::Expressed;
        let strict = rules_with(catalog(), policy(&[("ZZ", strict)]));
        assert_eq!(
            faults(&terms, &strict),
            [("consent_type".into(), "IMPLIED_NOT_ACCEPTED")]
        );
    }

    #[test]
    fn a_type_that_is_too_weak_for_purpose_or_jurisdiction_is_blamed_on_the_type() {
        let mut terms = sound();
        terms.consent_type = ConsentType::Expressed;
        let blamed = [("consent_type".into(), "EVIDENCE_MISSING")];
        let mut strict = lenient();
        strict.consent_type = ConsentType::ExplicitlyExpressed;
        let strict = rules_with(catalog(), policy(&[("ZZ", strict)]));
        assert_eq!(faults(&terms, &strict), blamed);

        let mut choosy = purpose_of("offers", MessageClass::Marketing);
        choosy.accepted_consent_types = [ConsentType::ExplicitlyExpressed].into();
        let address = Address::from_phone_number("+4915112345678").unwrap();
        let covered = [purpose("offers")];
        let refusals = judge_grant(
            &address,
            &terms,
            Some(&covered),
            &[(0, &choosy)],
            &rules(),
            at(1),
        );
        let fields: Vec<_> = refusals.into_iter().map(|refusal| refusal.field).collect();
        assert_eq!(fields, ["consent_type"]);
    }

    #[test]
    fn missing_evidence_names_its_field() {
        let mut demanding = lenient();
        demanding.evidence = EvidenceFields::default()
            .with(EvidenceField::FormId)
            .with(EvidenceField::DefaultUnticked);
        let rules = rules_with(catalog(), policy(&[("ZZ", demanding)]));
        assert_eq!(
            faults(&sound(), &rules),
            [
                ("evidence.form_id".into(), "EVIDENCE_MISSING"),
                ("declarations.default_unticked".into(), "EVIDENCE_MISSING")
            ]
        );
    }
}
