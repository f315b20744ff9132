//! The closed vocabularies of the contract: message classes, consent types, methods, reasons.
//!
//! State names are those of W3C DPV 2 (`consent_status`), field names those of ISO/IEC TS 27560,
//! channel words WhatsApp's own. Every word has one spelling in storage, which never changes, and a
//! word that is not known is an error, never a default.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A closed list of words: the Rust name, the stored word, and a small code for compact storage.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $code:literal $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as it is stored and shown.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The code in compact storage.
            pub const fn code(self) -> u8 {
                match self { $(Self::$variant => $code),+ }
            }

            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }

            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

words!(
    /// What a message is, by WhatsApp's template categories, and two classes of our own.
    MessageClass {
        /// Promotions, offers, invitations; mixed content counts as this.
        Marketing = 1 "MARKETING",
        /// Tied to an agreed transaction or subscription.
        Utility = 2 "UTILITY",
        /// One-time passcodes.
        Authentication = 3 "AUTHENTICATION",
        /// Free-form, only while the 24-hour customer service window is open.
        Service = 4 "SERVICE",
        /// Asks for consent; in several laws a regulated message of its own (CASL, POPIA).
        ConsentRequest = 5 "CONSENT_REQUEST",
        /// The one confirmation after an opt-out (47 CFR 64.1200(a)(12)).
        OptOutConfirmation = 6 "OPT_OUT_CONFIRMATION",
    }
);

impl MessageClass {
    /// MARKETING > UTILITY > AUTHENTICATION > SERVICE: a message of several contents has the
    /// strictest class. The two classes of our own are taken as asked and compare with none.
    #[must_use]
    pub fn stricter(self, other: Self) -> Self {
        match (self, other) {
            (Self::ConsentRequest | Self::OptOutConfirmation, _) => self,
            (_, Self::ConsentRequest | Self::OptOutConfirmation) => other,
            _ => {
                if self.code() <= other.code() {
                    self
                } else {
                    other
                }
            }
        }
    }
}

words!(
    /// How far the act went (DPV `ConsentType`), weakest first.
    ConsentType {
        /// Inferred from a relation, not expressed; see [`ImpliedBasis`].
        Implied = 1 "IMPLIED",
        /// Expressed by some act.
        Expressed = 2 "EXPRESSED",
        /// Expressed by an act made for this consent alone.
        ExplicitlyExpressed = 3 "EXPLICITLY_EXPRESSED",
    }
);

words!(
    /// From what an implied consent follows (CASL s. 10(9), 10(10), 10(13)).
    ImpliedBasis {
        Purchase = 1 "PURCHASE",
        Inquiry = 2 "INQUIRY",
        MembershipEnd = 3 "MEMBERSHIP_END",
        ContractEnd = 4 "CONTRACT_END",
        Donation = 5 "DONATION",
        VolunteerWork = 6 "VOLUNTEER_WORK",
    }
);

words!(
    /// Why a person's data are erased (GDPR Art. 17(1)).
    ErasureBasis {
        /// The person asked for it.
        SubjectRequest = 1 "SUBJECT_REQUEST",
        /// The data are no longer needed.
        RetentionEnded = 2 "RETENTION_ENDED",
        /// A court or authority ordered it.
        AuthorityOrder = 3 "AUTHORITY_ORDER",
    }
);

words!(
    /// How consent was expressed (DPV `hasIndicationMethod`).
    IndicationMethod {
        UntickedCheckbox = 1 "UNTICKED_CHECKBOX",
        Button = 2 "BUTTON",
        FormSubmission = 3 "FORM_SUBMISSION",
        InAppPrompt = 4 "IN_APP_PROMPT",
        QrCode = 5 "QR_CODE",
        ConfirmationLink = 6 "CONFIRMATION_LINK",
        InboundMessage = 7 "INBOUND_MESSAGE",
        Keyword = 8 "KEYWORD",
        Ivr = 9 "IVR",
        VerbalRecorded = 10 "VERBAL_RECORDED",
        Paper = 11 "PAPER",
        PlatformSignup = 12 "PLATFORM_SIGNUP",
        Import = 13 "IMPORT",
    }
);

words!(
    /// How an opt-out reached the business.
    WithdrawalMethod {
        Keyword = 1 "KEYWORD",
        Button = 2 "BUTTON",
        PreferenceCenter = 3 "PREFERENCE_CENTER",
        PlatformPreference = 4 "PLATFORM_PREFERENCE",
        DeliveryError = 5 "DELIVERY_ERROR",
        Email = 6 "EMAIL",
        Phone = 7 "PHONE",
        InPerson = 8 "IN_PERSON",
        Authority = 9 "AUTHORITY",
        Operator = 10 "OPERATOR",
        Import = 11 "IMPORT",
    }
);

words!(
    /// What ended or refused a consent; each is a state of DPV.
    RestrictionKind {
        /// By the person, before it was given (`ConsentRefused`).
        Refused = 1 "REFUSED",
        /// By the person (`ConsentWithdrawn`).
        Withdrawn = 2 "WITHDRAWN",
        /// By somebody other than the person (`ConsentRevoked`).
        Revoked = 3 "REVOKED",
        /// By a court or authority (`ConsentInvalidated`).
        Invalidated = 4 "INVALIDATED",
    }
);

words!(
    /// Why somebody must not be written to, whatever they consented to.
    SuppressionBasis {
        Objection = 1 "OBJECTION",
        PlatformStop = 2 "PLATFORM_STOP",
        NationalRegistry = 3 "NATIONAL_REGISTRY",
        ReassignedNumber = 4 "REASSIGNED_NUMBER",
        Complaint = 5 "COMPLAINT",
        CourtOrder = 6 "COURT_ORDER",
        WrongNumber = 7 "WRONG_NUMBER",
        /// A message that may be an opt-out: marketing pauses until a person has looked at it.
        PossibleRevocation = 8 "POSSIBLE_REVOCATION",
    }
);

impl SuppressionBasis {
    /// Whether the person made it, so that only a later explicit act of the person lifts it.
    pub const fn is_made_by_subject(self) -> bool {
        match self {
            Self::Objection | Self::Complaint | Self::PlatformStop => true,
            Self::NationalRegistry
            | Self::ReassignedNumber
            | Self::CourtOrder
            | Self::WrongNumber
            | Self::PossibleRevocation => false,
        }
    }

    /// Whether it ends what was consented to before, and leaves later consent alone: whose number
    /// it is, or what a message meant, is settled by the next act of the person.
    pub const fn voids_only(self) -> bool {
        match self {
            Self::ReassignedNumber | Self::WrongNumber | Self::PossibleRevocation => true,
            Self::Objection
            | Self::PlatformStop
            | Self::NationalRegistry
            | Self::Complaint
            | Self::CourtOrder => false,
        }
    }
}

words!(
    /// What a do-not-contact registry answered.
    RegistryResult {
        /// The registry does not list the number, or has it as not reassigned.
        NotListed = 1 "NOT_LISTED",
        /// The registry lists the number, or has it as reassigned.
        Listed = 2 "LISTED",
        /// The registry has no data on the number: it counts as not consulted.
        NoData = 3 "NO_DATA",
    }
);

words!(
    /// Which kind of address a subject has. A person has at most one of each kind at a time.
    AddressKind {
        PhoneNumber = 1 "PHONE_NUMBER",
        /// WhatsApp's business-scoped user id.
        UserId = 2 "USER_ID",
        /// The one that the businesses of one parent share (`CC.ENT.…`).
        ParentUserId = 3 "PARENT_USER_ID",
    }
);

words!(
    /// What a failed delivery says of the address. None of them is an opt-out, all of them pass.
    FailureKind {
        /// Not on WhatsApp, terms not accepted, a client too old (131026).
        Undeliverable = 1 "UNDELIVERABLE",
        /// WhatsApp itself holds marketing to this person back (131049, 130472).
        Limited = 2 "LIMITED",
        /// The keys of the recipient's device are not those that were known (137000): perhaps
        /// somebody else has the number now.
        IdentityMismatch = 3 "IDENTITY_MISMATCH",
    }
);

words!(
    /// What a person sent, or WhatsApp said of a person.
    InboundKind {
        Text = 1 "TEXT",
        Button = 2 "BUTTON",
        /// Any other message; its caption, if it has one, is read.
        Other = 3 "OTHER",
        /// The person stopped marketing from this number in WhatsApp.
        PreferenceStop = 4 "PREFERENCE_STOP",
        /// The person resumed it.
        PreferenceResume = 5 "PREFERENCE_RESUME",
        /// The person signed up by one of Meta's in-app sign-ups.
        PlatformSignup = 6 "PLATFORM_SIGNUP",
        Call = 7 "CALL",
        /// WhatsApp announced another number or user id.
        IdentityChanged = 8 "IDENTITY_CHANGED",
    }
);

words!(
    /// What a report did.
    InboundAction {
        None = 1 "NONE",
        Withdrew = 2 "WITHDREW",
        Confirmed = 3 "CONFIRMED",
        PossibleRevocation = 4 "POSSIBLE_REVOCATION",
        Help = 5 "HELP",
        Linked = 6 "LINKED",
        Granted = 7 "GRANTED",
        Resumed = 8 "RESUMED",
    }
);

words!(
    /// Whose clock an event's time comes from. Two clocks never compare exactly.
    TimeSource {
        /// The caller's systems.
        Caller = 1 "CALLER",
        /// WhatsApp's own timestamp.
        Platform = 2 "PLATFORM",
        /// Ours: the caller gave no time, or one in the future.
        Gate = 3 "GATE",
    }
);

words!(
    /// State of (subject, purpose, sender): DPV's `consent_status`, and PENDING_CONFIRMATION.
    ConsentState {
        Unknown = 1 "UNKNOWN",
        Requested = 2 "REQUESTED",
        RequestDeferred = 3 "REQUEST_DEFERRED",
        PendingConfirmation = 4 "PENDING_CONFIRMATION",
        Given = 5 "GIVEN",
        RenewedConsentGiven = 6 "RENEWED_CONSENT_GIVEN",
        Refused = 7 "REFUSED",
        Withdrawn = 8 "WITHDRAWN",
        Revoked = 9 "REVOKED",
        Invalidated = 10 "INVALIDATED",
        Expired = 11 "EXPIRED",
    }
);

impl From<RestrictionKind> for ConsentState {
    fn from(kind: RestrictionKind) -> Self {
        match kind {
            RestrictionKind::Refused => Self::Refused,
            RestrictionKind::Withdrawn => Self::Withdrawn,
            RestrictionKind::Revoked => Self::Revoked,
            RestrictionKind::Invalidated => Self::Invalidated,
        }
    }
}

words!(
    /// What a recorded act did to one purpose.
    Effect {
        /// It is what counts now.
        Applied = 1 "APPLIED",
        /// A newer or equal act of the same kind counted already.
        Unchanged = 2 "UNCHANGED",
        /// Kept as evidence, but a restriction outweighs it.
        Superseded = 3 "SUPERSEDED",
    }
);

words!(
    /// May the message be sent?
    Decision {
        Allow = 1 "ALLOW",
        Deny = 2 "DENY",
        Defer = 3 "DEFER",
    }
);

words!(
    /// Why a decision fell as it did. The order is the order in which they decide.
    Reason {
        ConsentGiven = 1 "CONSENT_GIVEN",
        ConsentNotRequired = 2 "CONSENT_NOT_REQUIRED",
        ServiceWindowOpen = 3 "SERVICE_WINDOW_OPEN",
        ConsentRequestPermitted = 4 "CONSENT_REQUEST_PERMITTED",
        OptOutConfirmationPermitted = 5 "OPT_OUT_CONFIRMATION_PERMITTED",
        SenderHeld = 10 "SENDER_HELD",
        Suppressed = 11 "SUPPRESSED",
        PlatformStopped = 12 "PLATFORM_STOPPED",
        Withdrawn = 13 "WITHDRAWN",
        Refused = 14 "REFUSED",
        Revoked = 15 "REVOKED",
        Invalidated = 16 "INVALIDATED",
        PossibleRevocation = 17 "POSSIBLE_REVOCATION",
        IdentityUnverified = 18 "IDENTITY_UNVERIFIED",
        NoConsent = 19 "NO_CONSENT",
        ConfirmationPending = 20 "CONFIRMATION_PENDING",
        ConfirmationRequired = 21 "CONFIRMATION_REQUIRED",
        Expired = 22 "EXPIRED",
        NoticeOutdated = 23 "NOTICE_OUTDATED",
        EvidenceIncomplete = 24 "EVIDENCE_INCOMPLETE",
        RegistryStale = 25 "REGISTRY_STALE",
        ServiceWindowClosed = 26 "SERVICE_WINDOW_CLOSED",
        PlatformProhibited = 27 "PLATFORM_PROHIBITED",
        Unreachable = 28 "UNREACHABLE",
        AskLimit = 29 "ASK_LIMIT",
        QuietHours = 40 "QUIET_HOURS",
        FrequencyCap = 41 "FREQUENCY_CAP",
        PlatformLimited = 42 "PLATFORM_LIMITED",
    }
);

impl Reason {
    /// The only decision that a reason can carry.
    pub const fn decision(self) -> Decision {
        match self {
            Self::ConsentGiven
            | Self::ConsentNotRequired
            | Self::ServiceWindowOpen
            | Self::ConsentRequestPermitted
            | Self::OptOutConfirmationPermitted => Decision::Allow,
            Self::QuietHours | Self::FrequencyCap | Self::PlatformLimited => Decision::Defer,
            Self::SenderHeld
            | Self::Suppressed
            | Self::PlatformStopped
            | Self::Withdrawn
            | Self::Refused
            | Self::Revoked
            | Self::Invalidated
            | Self::PossibleRevocation
            | Self::IdentityUnverified
            | Self::NoConsent
            | Self::ConfirmationPending
            | Self::ConfirmationRequired
            | Self::Expired
            | Self::NoticeOutdated
            | Self::EvidenceIncomplete
            | Self::RegistryStale
            | Self::ServiceWindowClosed
            | Self::PlatformProhibited
            | Self::Unreachable
            | Self::AskLimit => Decision::Deny,
        }
    }
}

impl From<RestrictionKind> for Reason {
    fn from(kind: RestrictionKind) -> Self {
        match kind {
            RestrictionKind::Refused => Self::Refused,
            RestrictionKind::Withdrawn => Self::Withdrawn,
            RestrictionKind::Revoked => Self::Revoked,
            RestrictionKind::Invalidated => Self::Invalidated,
        }
    }
}

words!(
    /// Fields of evidence that a jurisdiction may require of a grant.
    EvidenceField {
        SourceUrl = 0 "source_url",
        FormId = 1 "form_id",
        MessageId = 2 "message_id",
        IpAddress = 3 "ip_address",
        UserAgent = 4 "user_agent",
        SignupId = 5 "signup_id",
        CallId = 6 "call_id",
        Attachments = 7 "attachments",
        Statement = 8 "statement",
        EventTime = 9 "event_time",
        IndicationMethod = 10 "indication_method",
        Notice = 11 "notice",
        DefaultUnticked = 12 "default_unticked",
        SeparateFromTerms = 13 "separate_from_terms",
        WhatsappNamed = 14 "whatsapp_named",
        NumberEnteredBySubject = 15 "number_entered_by_subject",
    }
);

/// A set of [`EvidenceField`]s.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<EvidenceField>", into = "Vec<EvidenceField>")]
pub struct EvidenceFields(u32);

impl EvidenceFields {
    #[must_use]
    pub const fn with(self, field: EvidenceField) -> Self {
        Self(self.0 | (1 << field.code()))
    }

    pub const fn has(self, field: EvidenceField) -> bool {
        self.0 & (1 << field.code()) != 0
    }

    /// What `required` names and this set lacks.
    #[must_use]
    pub const fn missing(self, required: Self) -> Self {
        Self(required.0 & !self.0)
    }

    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = EvidenceField> {
        EvidenceField::ALL
            .iter()
            .copied()
            .filter(move |field| self.has(*field))
    }
}

impl fmt::Debug for EvidenceFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl From<Vec<EvidenceField>> for EvidenceFields {
    fn from(fields: Vec<EvidenceField>) -> Self {
        fields.into_iter().fold(Self::default(), Self::with)
    }
}

impl From<EvidenceFields> for Vec<EvidenceField> {
    fn from(fields: EvidenceFields) -> Self {
        fields.iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_is_named_twice_is_in_the_set_once() {
        let (notice, source) = (EvidenceField::Notice, EvidenceField::Statement);
        let twice = EvidenceFields::from(vec![notice, source, notice]);
        assert_eq!(twice, EvidenceFields::from(vec![source, notice]));
        assert_eq!(twice.and(twice), twice);
        let lacks = EvidenceFields::default().with(source).missing(twice);
        assert_eq!(Vec::from(lacks), [notice]);
    }

    #[test]
    fn every_word_and_every_code_leads_back_to_its_variant() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_word(reason.word()), Some(*reason));
            assert_eq!(Reason::from_code(reason.code()), Some(*reason));
        }
        for field in EvidenceField::ALL {
            assert_eq!(EvidenceField::from_code(field.code()), Some(*field));
        }
        assert_eq!(Reason::from_code(0), None);
        assert_eq!(Reason::from_code(255), None);
    }

    #[test]
    fn only_the_five_allowing_reasons_allow() {
        let allowing: Vec<_> = Reason::ALL
            .iter()
            .filter(|r| r.decision() == Decision::Allow)
            .map(|r| r.word())
            .collect();
        assert_eq!(
            allowing,
            [
                "CONSENT_GIVEN",
                "CONSENT_NOT_REQUIRED",
                "SERVICE_WINDOW_OPEN",
                "CONSENT_REQUEST_PERMITTED",
                "OPT_OUT_CONFIRMATION_PERMITTED"
            ]
        );
    }

    #[test]
    fn a_class_can_only_become_stricter() {
        use MessageClass as C;
        assert_eq!(C::Utility.stricter(C::Marketing), C::Marketing);
        assert_eq!(C::Marketing.stricter(C::Service), C::Marketing);
        assert_eq!(C::Service.stricter(C::Authentication), C::Authentication);
        assert_eq!(C::Marketing.stricter(C::ConsentRequest), C::ConsentRequest);
        assert_eq!(
            C::OptOutConfirmation.stricter(C::Marketing),
            C::OptOutConfirmation
        );
    }

    #[test]
    fn a_set_of_evidence_fields_knows_what_is_missing() {
        let has = EvidenceFields::default()
            .with(EvidenceField::Notice)
            .with(EvidenceField::IpAddress);
        let wants = EvidenceFields::default()
            .with(EvidenceField::Notice)
            .with(EvidenceField::FormId);
        assert_eq!(
            has.missing(wants).iter().collect::<Vec<_>>(),
            [EvidenceField::FormId]
        );
    }
}
