//! Each reason of a decision in one plain sentence, for people.

use super::table;
use super::words::word;
use crate::grpc::proto::Reason;

/// Reasons on the wire, each with what it means.
pub(super) fn list(reasons: &[i32]) -> String {
    let names: Vec<String> = reasons
        .iter()
        .map(|reason| word::<Reason>(*reason))
        .collect();
    let meanings = reasons.iter().map(|reason| sentence(*reason).to_owned());
    table::list(names.iter().map(String::as_str).zip(meanings))
}

/// What a reason on the wire means.
pub(super) fn sentence(reason: i32) -> &'static str {
    let Ok(reason) = Reason::try_from(reason) else {
        return "A reason that this version of the command line does not know.";
    };
    match reason {
        Reason::Unspecified => "The server gave no reason.",
        Reason::ConsentGiven => "A valid consent covers this purpose, sender and address.",
        Reason::ConsentNotRequired => "This purpose needs no consent.",
        Reason::ServiceWindowOpen => "The person wrote or called within the last 24 hours.",
        Reason::ConsentRequestPermitted => "The person may be asked for consent.",
        Reason::OptOutConfirmationPermitted => "The opt-out may be confirmed, this once.",
        Reason::NoConsent => "No consent was ever recorded for this purpose, sender and address.",
        Reason::ConfirmationPending => "The person agreed and has still to confirm it.",
        Reason::Withdrawn => "The person withdrew consent.",
        Reason::Refused => "The person was asked and declined.",
        Reason::Expired => "The consent's time is over.",
        Reason::Revoked => "The consent was ended by somebody other than the person.",
        Reason::Invalidated => "A court or authority found the consent invalid.",
        Reason::Suppressed => "The person is suppressed, whatever they consented to.",
        Reason::PlatformStopped => "The person stopped this business in WhatsApp.",
        Reason::NoticeOutdated => "What the person agreed to has changed since: ask again.",
        Reason::EvidenceIncomplete => "Evidence that the person's country requires is missing.",
        Reason::ConfirmationRequired => {
            "A confirmation (double opt-in) is required and did not come in time."
        }
        Reason::IdentityUnverified => "The number may belong to somebody else now.",
        Reason::PossibleRevocation => {
            "The person wrote what may be an opt-out: a human should read it."
        }
        Reason::ServiceWindowClosed => {
            "The person has not written or called within the last 24 hours."
        }
        Reason::PlatformProhibited => "WhatsApp does not deliver this class of message there.",
        Reason::SenderHeld => "The operator holds this sender.",
        Reason::Unreachable => "The address was not reachable on WhatsApp lately.",
        Reason::AskLimit => "Consent may not be asked for again, not yet, or not this way.",
        Reason::RegistryStale => "A do-not-contact registry must be consulted first.",
        Reason::QuietHours => "It is outside the permitted hours where the person is.",
        Reason::FrequencyCap => "The person has had as many messages as is permitted.",
        Reason::PlatformLimited => "WhatsApp limits marketing to this person for a day.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::words::Word;

    #[test]
    fn every_reason_has_a_sentence_of_its_own() {
        let mut sentences: Vec<_> = Reason::every()
            .into_iter()
            .map(|r| sentence(r.into()))
            .collect();
        assert!(sentences.iter().all(|sentence| sentence.ends_with('.')));
        sentences.sort_unstable();
        sentences.dedup();
        assert_eq!(sentences.len(), Reason::every().len());
        assert!(sentence(999).contains("does not know"));
    }
}
