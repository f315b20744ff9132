//! Enums of the wire and of the domain. Every match is exhaustive, so that a new word of either
//! does not compile until somebody decides what it is.

use super::{Fields, proto};
use crate::domain::vocabulary as domain;

/// Both directions between a wire enum and a domain enum of the same words.
macro_rules! same_words {
    ($(#[$doc:meta])* $read:ident, $write:ident, $wire:ty, $domain:ty { $($wire_word:ident = $domain_word:ident),+ $(,)? }) => {
        $(#[$doc])*
        pub fn $read(wire: $wire) -> Option<$domain> {
            match wire {
                <$wire>::Unspecified => None,
                $(<$wire>::$wire_word => Some(<$domain>::$domain_word),)+
            }
        }

        pub fn $write(word: $domain) -> $wire {
            match word { $(<$domain>::$domain_word => <$wire>::$wire_word),+ }
        }
    };
}

same_words!(read_class, write_class, proto::MessageClass, domain::MessageClass {
    Marketing = Marketing,
    Utility = Utility,
    Authentication = Authentication,
    Service = Service,
    ConsentRequest = ConsentRequest,
    OptOutConfirmation = OptOutConfirmation,
});

same_words!(read_type, write_type, proto::ConsentType, domain::ConsentType {
    ExplicitlyExpressed = ExplicitlyExpressed,
    Expressed = Expressed,
    Implied = Implied,
});

same_words!(read_basis, write_basis, proto::ImpliedBasis, domain::ImpliedBasis {
    Purchase = Purchase,
    Inquiry = Inquiry,
    MembershipEnd = MembershipEnd,
    ContractEnd = ContractEnd,
    Donation = Donation,
    VolunteerWork = VolunteerWork,
});

same_words!(read_erasure, write_erasure, proto::ErasureBasis, domain::ErasureBasis {
    SubjectRequest = SubjectRequest,
    RetentionEnded = RetentionEnded,
    AuthorityOrder = AuthorityOrder,
});

same_words!(read_method, write_method, proto::IndicationMethod, domain::IndicationMethod {
    UntickedCheckbox = UntickedCheckbox,
    Button = Button,
    FormSubmission = FormSubmission,
    InAppPrompt = InAppPrompt,
    QrCode = QrCode,
    ConfirmationLink = ConfirmationLink,
    InboundMessage = InboundMessage,
    Keyword = Keyword,
    Ivr = Ivr,
    VerbalRecorded = VerbalRecorded,
    Paper = Paper,
    PlatformSignup = PlatformSignup,
    Import = Import,
});

same_words!(read_inbound, write_inbound, proto::InboundKind, domain::InboundKind {
    Text = Text,
    Button = Button,
    Other = Other,
    PreferenceStop = PreferenceStop,
    PreferenceResume = PreferenceResume,
    PlatformSignup = PlatformSignup,
    Call = Call,
    IdentityChanged = IdentityChanged,
});

same_words!(read_action, write_action, proto::InboundAction, domain::InboundAction {
    None = None,
    Withdrew = Withdrew,
    Confirmed = Confirmed,
    PossibleRevocation = PossibleRevocation,
    Help = Help,
    Linked = Linked,
    Granted = Granted,
    Resumed = Resumed,
});

same_words!(read_withdrawal, write_withdrawal, proto::WithdrawalMethod, domain::WithdrawalMethod {
    Keyword = Keyword,
    Button = Button,
    PreferenceCenter = PreferenceCenter,
    PlatformPreference = PlatformPreference,
    DeliveryError = DeliveryError,
    Email = Email,
    Phone = Phone,
    InPerson = InPerson,
    Authority = Authority,
    Operator = Operator,
    Import = Import,
});

same_words!(read_state, write_state, proto::ConsentState, domain::ConsentState {
    Unknown = Unknown,
    Requested = Requested,
    RequestDeferred = RequestDeferred,
    PendingConfirmation = PendingConfirmation,
    Given = Given,
    RenewedConsentGiven = RenewedConsentGiven,
    Refused = Refused,
    Withdrawn = Withdrawn,
    Revoked = Revoked,
    Invalidated = Invalidated,
    Expired = Expired,
});

same_words!(read_registry_result, write_registry_result, proto::RegistryResult, domain::RegistryResult {
    NotListed = NotListed,
    Listed = Listed,
    NoData = NoData,
});

pub fn write_decision(decision: domain::Decision) -> proto::Decision {
    match decision {
        domain::Decision::Allow => proto::Decision::Allow,
        domain::Decision::Deny => proto::Decision::Deny,
        domain::Decision::Defer => proto::Decision::Defer,
    }
}

pub fn write_effect(effect: domain::Effect) -> proto::Effect {
    match effect {
        domain::Effect::Applied => proto::Effect::Applied,
        domain::Effect::Unchanged => proto::Effect::Unchanged,
        domain::Effect::Superseded => proto::Effect::Superseded,
    }
}

/// `None` for what AddSuppression does not take.
pub fn read_suppression(basis: proto::SuppressionBasis) -> Option<domain::SuppressionBasis> {
    use proto::SuppressionBasis as W;
    match basis {
        W::Unspecified | W::PossibleRevocation => None,
        W::Objection => Some(domain::SuppressionBasis::Objection),
        W::PlatformStop => Some(domain::SuppressionBasis::PlatformStop),
        W::NationalRegistry => Some(domain::SuppressionBasis::NationalRegistry),
        W::ReassignedNumber => Some(domain::SuppressionBasis::ReassignedNumber),
        W::Complaint => Some(domain::SuppressionBasis::Complaint),
        W::CourtOrder => Some(domain::SuppressionBasis::CourtOrder),
        W::WrongNumber => Some(domain::SuppressionBasis::WrongNumber),
    }
}

pub fn write_suppression(basis: domain::SuppressionBasis) -> proto::SuppressionBasis {
    use domain::SuppressionBasis as B;
    match basis {
        B::Objection => proto::SuppressionBasis::Objection,
        B::PlatformStop => proto::SuppressionBasis::PlatformStop,
        B::NationalRegistry => proto::SuppressionBasis::NationalRegistry,
        B::ReassignedNumber => proto::SuppressionBasis::ReassignedNumber,
        B::Complaint => proto::SuppressionBasis::Complaint,
        B::CourtOrder => proto::SuppressionBasis::CourtOrder,
        B::WrongNumber => proto::SuppressionBasis::WrongNumber,
        B::PossibleRevocation => proto::SuppressionBasis::PossibleRevocation,
    }
}

pub fn write_reason(reason: domain::Reason) -> proto::Reason {
    use domain::Reason as R;
    use proto::Reason as W;
    match reason {
        R::ConsentGiven => W::ConsentGiven,
        R::ConsentNotRequired => W::ConsentNotRequired,
        R::ServiceWindowOpen => W::ServiceWindowOpen,
        R::ConsentRequestPermitted => W::ConsentRequestPermitted,
        R::OptOutConfirmationPermitted => W::OptOutConfirmationPermitted,
        R::SenderHeld => W::SenderHeld,
        R::Suppressed => W::Suppressed,
        R::PlatformStopped => W::PlatformStopped,
        R::Withdrawn => W::Withdrawn,
        R::Refused => W::Refused,
        R::Revoked => W::Revoked,
        R::Invalidated => W::Invalidated,
        R::PossibleRevocation => W::PossibleRevocation,
        R::IdentityUnverified => W::IdentityUnverified,
        R::NoConsent => W::NoConsent,
        R::ConfirmationPending => W::ConfirmationPending,
        R::ConfirmationRequired => W::ConfirmationRequired,
        R::Expired => W::Expired,
        R::NoticeOutdated => W::NoticeOutdated,
        R::EvidenceIncomplete => W::EvidenceIncomplete,
        R::RegistryStale => W::RegistryStale,
        R::ServiceWindowClosed => W::ServiceWindowClosed,
        R::PlatformProhibited => W::PlatformProhibited,
        R::Unreachable => W::Unreachable,
        R::AskLimit => W::AskLimit,
        R::QuietHours => W::QuietHours,
        R::FrequencyCap => W::FrequencyCap,
        R::PlatformLimited => W::PlatformLimited,
    }
}

/// The spelling's word; empty where there is only one.
pub fn write_spelling(spelling: crate::domain::address::Spelling) -> &'static str {
    use crate::domain::address::Spelling as S;
    match spelling {
        S::Verbatim => "",
        S::Mexico52 => "52",
        S::Mexico521 => "521",
        S::Brazil8 => "without the ninth digit",
        S::Brazil9 => "with the ninth digit",
        S::Argentina54 => "54",
        S::Argentina549 => "549",
        S::Russia7 => "7",
        S::Russia8 => "8",
    }
}

impl Fields {
    /// An enum that may be left out. A number that this version does not know is refused.
    pub fn optional_enum<W: TryFrom<i32>, T>(
        &mut self,
        field: &str,
        number: i32,
        read: impl FnOnce(W) -> Option<T>,
    ) -> Option<Option<T>> {
        match W::try_from(number) {
            Ok(wire) => Some(read(wire)),
            Err(_) => {
                self.refuse(
                    field,
                    format!("has the number {number}, which is not known"),
                );
                None
            }
        }
    }

    /// An enum that must be given.
    pub fn required_enum<W: TryFrom<i32>, T>(
        &mut self,
        field: &str,
        number: i32,
        read: impl FnOnce(W) -> Option<T>,
    ) -> Option<T> {
        let read = self.optional_enum(field, number, read)?;
        if read.is_none() {
            self.refuse(field, "is required");
        }
        read
    }
}
