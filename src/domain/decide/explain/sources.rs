//! Where a rule comes from: entries of the policy, the business's catalogue, WhatsApp.

use super::Teller;
use crate::domain::facts::Grant;
use crate::domain::hours::Zone;
use crate::domain::id::JurisdictionCode;
use crate::domain::policy::{Basis, Entry, PlatformRule, Requirements};
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::MessageClass;

/// WhatsApp's own: 24 hours from the person's last message or call.
pub(super) const SERVICE_WINDOW: &str =
    "WhatsApp: customer service window of 24 hours after the person's last message or call";

/// WhatsApp's own: a failed delivery of this code.
pub(super) const PLATFORM_LIMIT: &str =
    "WhatsApp: error 131049, marketing to this person is held back for at least 24 hours";

/// WhatsApp's own: what a person's stop in WhatsApp means.
pub(super) const PLATFORM_STOP: &str =
    "WhatsApp: a person who stops a business's marketing resumes it only by their own act";

/// The law that knows one confirmation of an opt-out; a house rule everywhere else.
pub(super) const CONFIRMATION: &str =
    "house rule after 47 CFR 64.1200(a)(12): one confirmation, within five minutes";

impl<'a> Teller<'a> {
    /// The entries of the policy by which a grant, or without one the place, is judged.
    pub(super) fn entries(&self, grant: Option<&Grant>) -> Vec<(&'a JurisdictionCode, &'a Entry)> {
        let context = self.case.context();
        let codes = context.codes(grant);
        self.case.rules.entries_of(codes, self.case.at)
    }

    /// Those of them whose requirements decide.
    pub(super) fn cited(
        &self,
        grant: Option<&Grant>,
        decides: impl Fn(&Requirements) -> bool,
    ) -> Vec<String> {
        let entries = self.entries(grant).into_iter();
        entries
            .filter(|(_, entry)| decides(&entry.requirements))
            .map(|(code, entry)| cite(code, entry))
            .collect()
    }

    /// The purpose as the business made it.
    pub(super) fn catalogue(&self) -> String {
        format!("catalogue: purpose `{}`", self.case.question.purpose.key)
    }

    /// Whose entries were applied: those that judge the consent, if there is one to judge.
    pub(super) fn jurisdictions(&self) -> Vec<JurisdictionCode> {
        let grant = self.best.as_ref().map(|best| best.grant);
        let entries = self.entries(grant).into_iter();
        let mut codes: Vec<JurisdictionCode> = entries.map(|(code, _)| *code).collect();
        codes.sort();
        codes.dedup();
        codes
    }

    /// The zones on whose clocks the sending hours were read.
    pub(super) fn zones_that_matter(&self) -> Vec<Zone> {
        match self.verdict.clocks {
            Some(_) => self.case.zones(self.carrier()).to_vec(),
            None => Vec::new(),
        }
    }
}

/// `DE (law, since 2021-10-01): UWG §§ 7, 7a`.
pub(super) fn cite(code: &JurisdictionCode, entry: &Entry) -> String {
    let basis = match entry.source.basis {
        Basis::Law => "law",
        Basis::House => "house rule",
        Basis::Platform => "WhatsApp's rule",
    };
    let since = since(entry.effective_from);
    format!("{code} ({basis}{since}): {}", entry.source.citation)
}

/// `WhatsApp (MARKETING to numbers of US, since 2025-04-01): …`.
pub(super) fn cite_platform(class: MessageClass, rule: &PlatformRule) -> String {
    let since = since(rule.effective_from);
    let country = &rule.country;
    let citation = &rule.source.citation;
    format!("WhatsApp ({class} to numbers of {country}{since}): {citation}")
}

/// What holds from 1970 on has no beginning that says anything.
fn since(from: Timestamp) -> String {
    match jiff::Timestamp::from_microsecond(from.as_micros()) {
        Ok(instant) if from > Timestamp::EPOCH => instant.strftime(", since %Y-%m-%d").to_string(),
        Ok(_) | Err(_) => String::new(),
    }
}
