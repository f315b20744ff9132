//! What a message asks for, and the act that follows from it for the person as the ledger knows one.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{Done, InboundReport};
use crate::catalog::Compiled;
use crate::consents::append::{Draft, Write, Written};
use crate::consents::confirm::{Confirming, Senders, confirmation, waiting};
use crate::consents::identity::Said;
use crate::consents::record::derived_jurisdiction;
use crate::consents::{Consents, Error};
use crate::domain::catalog::{Notice, OptOutScope, Purpose};
use crate::domain::event::{
    Act, Declarations, Lift, NoticeShown, Reached, Restriction, Scope, Suppression, Terms, sorted,
};
use crate::domain::evidence::{RefusalReason, judge_grant};
use crate::domain::facts::{Coverage, Facts};
use crate::domain::id::{PurposeKey, SenderId};
use crate::domain::keywords::{Keyword, Match, Message, ScopeHint, Words};
use crate::domain::phone;
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{
    ConsentType, EvidenceField, EvidenceFields, InboundAction, InboundKind, IndicationMethod,
    RestrictionKind, SuppressionBasis, WithdrawalMethod,
};
use crate::ledger::Recorded;

/// What a report asks for, by itself.
#[derive(Debug, Clone, Copy)]
pub(super) enum Intent<'w> {
    OptOut {
        keyword: &'w Keyword,
        hint: Option<ScopeHint>,
    },
    PossibleRevocation {
        keyword: &'w Keyword,
    },
    /// A yes, or that messages are wanted. Confirms what waits, and nothing else.
    Yes {
        keyword: &'w Keyword,
    },
    /// A no, where something waits.
    No {
        keyword: &'w Keyword,
    },
    Help {
        keyword: &'w Keyword,
    },
    PlatformStop,
    PlatformResume,
    SignUp,
    Nothing,
}

impl<'w> Intent<'w> {
    pub(super) fn of(report: &InboundReport, words: &'w Words) -> Self {
        let message = match report.kind {
            InboundKind::Text | InboundKind::Other => Message::Text(&report.text),
            InboundKind::Button => Message::Button {
                payload: &report.payload,
                text: &report.text,
            },
            InboundKind::PreferenceStop => return Self::PlatformStop,
            InboundKind::PreferenceResume => return Self::PlatformResume,
            InboundKind::PlatformSignup => return Self::SignUp,
            InboundKind::Call | InboundKind::IdentityChanged => return Self::Nothing,
        };
        match words.classify(message) {
            Match::OptOut {
                keyword,
                scope_hint,
            } => Self::OptOut {
                keyword,
                hint: scope_hint,
            },
            Match::PossibleRevocation { keyword } => Self::PossibleRevocation { keyword },
            Match::OptIn { keyword } | Match::Confirm { keyword } => Self::Yes { keyword },
            Match::Decline { keyword } => Self::No { keyword },
            Match::Help { keyword } => Self::Help { keyword },
            Match::None => Self::Nothing,
        }
    }

    /// A business template does not open the window, nor does an opt-out, nor what may be one.
    pub(super) fn opens_window(&self, kind: InboundKind) -> bool {
        let is_message = match kind {
            InboundKind::Text | InboundKind::Button | InboundKind::Other | InboundKind::Call => {
                true
            }
            InboundKind::PreferenceStop
            | InboundKind::PreferenceResume
            | InboundKind::PlatformSignup
            | InboundKind::IdentityChanged => false,
        };
        let ends = matches!(self, Self::OptOut { .. } | Self::PossibleRevocation { .. });
        is_message && !ends
    }

    /// Whether no act can follow from it, but that the address answers.
    pub(super) fn asks_for_nothing(&self, kind: InboundKind) -> bool {
        let says_nothing = match self {
            Self::Help { .. } | Self::Nothing => true,
            Self::OptOut { .. }
            | Self::PossibleRevocation { .. }
            | Self::Yes { .. }
            | Self::No { .. }
            | Self::PlatformStop
            | Self::PlatformResume
            | Self::SignUp => false,
        };
        says_nothing && kind != InboundKind::IdentityChanged
    }

    fn keyword(&self) -> Option<&'w Keyword> {
        match self {
            Self::OptOut { keyword, .. }
            | Self::PossibleRevocation { keyword }
            | Self::Yes { keyword }
            | Self::No { keyword }
            | Self::Help { keyword } => Some(keyword),
            Self::PlatformStop | Self::PlatformResume | Self::SignUp | Self::Nothing => None,
        }
    }

    /// The answer where nothing was recorded.
    pub(super) fn idle(&self) -> Done {
        let action = match self {
            Self::Help { .. } => InboundAction::Help,
            Self::OptOut { .. }
            | Self::PossibleRevocation { .. }
            | Self::Yes { .. }
            | Self::No { .. }
            | Self::PlatformStop
            | Self::PlatformResume
            | Self::SignUp
            | Self::Nothing => InboundAction::None,
        };
        self.done(action)
    }

    fn done(&self, action: InboundAction) -> Done {
        let keyword = self.keyword();
        Done {
            action,
            keyword: keyword.map(|word| word.text.clone()).unwrap_or_default(),
            language: keyword
                .map(|word| word.language.to_string())
                .unwrap_or_default(),
            event_id: None,
        }
    }
}

impl Consents {
    pub(super) async fn carry_out(
        &self,
        write: &Write<'_>,
        report: &InboundReport,
        sender: Option<&SenderId>,
        said: Said,
        intent: &Intent<'_>,
    ) -> Result<Option<Written<Done>>, Error> {
        let history = match intent {
            Intent::Yes { .. } => {
                let address = &report.recipient.address;
                self.requests_of(&report.business, write.compiled, address)
                    .await?
            }
            _ => Vec::new(),
        };
        let context = Context {
            report,
            compiled: write.compiled,
            sender,
            said,
            history: &history,
        };
        // Known before the append, so that a message that asks for nothing costs no write.
        let subject = self.subject_ref(
            &report.business,
            &write.compiled.keys,
            &report.recipient.address,
        );
        let found = self.read_for_write(&subject).await?;
        if context.act(intent, &found.facts, self.now())?.is_none() {
            return Ok(None);
        }
        // Somebody else may have done meanwhile what was to be done.
        let idle = AtomicBool::new(false);
        let decided = self
            .append_with(
                write,
                found,
                |facts, now| {
                    let act = context.act(intent, facts, now)?;
                    let act = act.ok_or_else(|| {
                        idle.store(true, Ordering::Relaxed);
                        Error::Contended
                    })?;
                    Ok(Draft {
                        act,
                        event_time: said.at.min(now),
                        time_source: said.source,
                    })
                },
                |event, _| {
                    let action = action_of(&event.act);
                    Done {
                        event_id: Some(event.event_id),
                        ..intent.done(action)
                    }
                },
            )
            .await;
        match decided {
            Ok(written) => Ok(Some(written)),
            Err(_) if idle.load(Ordering::Relaxed) => Ok(None),
            Err(fault) => Err(fault),
        }
    }
}

/// What an act answers to the one who reported it.
fn action_of(act: &Act) -> InboundAction {
    match act {
        Act::Suppressed(suppression)
            if suppression.basis == SuppressionBasis::PossibleRevocation =>
        {
            InboundAction::PossibleRevocation
        }
        Act::Restricted(_) | Act::Suppressed(_) => InboundAction::Withdrew,
        Act::ConsentConfirmed(_) => InboundAction::Confirmed,
        Act::ConsentGiven(_) => InboundAction::Granted,
        Act::SuppressionLifted(_) => InboundAction::Resumed,
        Act::Linked(_) | Act::IdentityChanged(_) => InboundAction::Linked,
        Act::ConsentRequested(_)
        | Act::ConsentRequestDeferred(_)
        | Act::RegistryChecked(_)
        | Act::DeliveryFailed(_)
        | Act::Reached(_)
        | Act::Erased(_) => InboundAction::None,
    }
}

struct Context<'a> {
    report: &'a InboundReport,
    compiled: &'a Compiled,
    sender: Option<&'a SenderId>,
    said: Said,
    history: &'a [Recorded],
}

impl Context<'_> {
    /// The act that follows, for a person of these facts.
    fn act(
        &self,
        intent: &Intent<'_>,
        facts: &Facts,
        now: Timestamp,
    ) -> Result<Option<Act>, Error> {
        let act = match intent {
            Intent::OptOut { hint, .. } => Some(self.opt_out(*hint)),
            Intent::PossibleRevocation { .. } => Some(self.possible_revocation()),
            Intent::Yes { .. } => {
                confirmation(&self.confirming(), self.compiled, facts, self.history, now)?
            }
            Intent::No { .. } => self.refusal(facts, now),
            Intent::PlatformStop => Some(self.platform_stop()),
            Intent::PlatformResume => self.resume(facts, now),
            Intent::SignUp => self.grant(now),
            Intent::Help { .. } | Intent::Nothing => None,
        };
        Ok(act.or_else(|| self.reached(intent, facts)))
    }

    fn setting(&self) -> OptOutScope {
        self.compiled.catalog().business.opt_out_scope
    }

    /// Whose messages an opt-out at this sender ends. A name that nobody has narrows nothing.
    fn narrowed(&self) -> Option<SenderId> {
        match self.setting().is_business_wide() {
            true => None,
            false => self.sender.cloned(),
        }
    }

    fn opt_out(&self, hint: Option<ScopeHint>) -> Act {
        let everything = match hint {
            Some(ScopeHint::Everything) => true,
            Some(ScopeHint::Marketing) => false,
            None => self.setting().is_everything(),
        };
        let method = match self.report.kind {
            InboundKind::Button => WithdrawalMethod::Button,
            _ => WithdrawalMethod::Keyword,
        };
        Act::Restricted(Restriction {
            kind: RestrictionKind::Withdrawn,
            scope: match everything {
                true => Scope::Everything,
                false => Scope::AllMarketing,
            },
            sender_id: self.narrowed(),
            withdrawal_method: Some(method),
            indication_method: None,
            notice: None,
            import_batch_id: None,
            received_by: self.sender.cloned(),
        })
    }

    fn possible_revocation(&self) -> Act {
        Act::Suppressed(Suppression {
            basis: SuppressionBasis::PossibleRevocation,
            scope: Scope::AllMarketing,
            sender_id: self.narrowed(),
            until: None,
            withdrawal_method: Some(WithdrawalMethod::Keyword),
            received_by: self.sender.cloned(),
        })
    }

    fn confirming(&self) -> Confirming<'_> {
        Confirming {
            address: &self.report.recipient.address,
            purposes: &[],
            senders: self.sender.map_or(Senders::Any, Senders::RepliedTo),
            event_time: self.said.at,
            indication_method: match self.report.kind {
                InboundKind::Button => IndicationMethod::Button,
                _ => IndicationMethod::Keyword,
            },
        }
    }

    /// A no refuses what waits to be confirmed, and nothing else.
    fn refusal(&self, facts: &Facts, now: Timestamp) -> Option<Act> {
        let confirming = self.confirming();
        let waiting = waiting(&confirming, self.compiled, facts, now);
        let purposes: Vec<PurposeKey> = waiting.iter().map(|grant| grant.purpose.clone()).collect();
        (!purposes.is_empty()).then(|| {
            Act::Restricted(Restriction {
                kind: RestrictionKind::Refused,
                scope: Scope::Purposes(sorted(purposes)),
                sender_id: None,
                withdrawal_method: None,
                indication_method: Some(confirming.indication_method),
                notice: None,
                import_batch_id: None,
                received_by: self.sender.cloned(),
            })
        })
    }

    /// WhatsApp's own stop of marketing from this number. What it means for the business's others is
    /// decided by the business's setting when it is asked.
    fn platform_stop(&self) -> Act {
        Act::Suppressed(Suppression {
            basis: SuppressionBasis::PlatformStop,
            scope: Scope::AllMarketing,
            sender_id: self.sender.cloned(),
            until: None,
            withdrawal_method: Some(WithdrawalMethod::PlatformPreference),
            received_by: None,
        })
    }

    /// Lifts what WhatsApp's stop at this number set; a stop that named no number if that is all.
    fn resume(&self, facts: &Facts, now: Timestamp) -> Option<Act> {
        let tolerance = self.compiled.rules.clock_tolerance;
        let stands = |sender: Option<&SenderId>| {
            facts.suppressions_at(now, tolerance).any(|suppressed| {
                suppressed.basis == SuppressionBasis::PlatformStop
                    && suppressed.coverage == Coverage::AllMarketing
                    && suppressed.sender.as_ref() == sender
            })
        };
        let own = self.sender.filter(|sender| stands(Some(sender)));
        (own.is_some() || stands(None)).then(|| {
            Act::SuppressionLifted(Lift {
                basis: SuppressionBasis::PlatformStop,
                scope: Scope::AllMarketing,
                sender_id: own.cloned(),
                lifts: None,
                indication_method: None,
            })
        })
    }

    /// The consent that a sign-up in WhatsApp stands for: to the purposes of the newest notice that
    /// names it, as far as rules let such a consent count.
    fn grant(&self, now: Timestamp) -> Option<Act> {
        let notice = self.notice_of_signup()?;
        let shown = NoticeShown {
            notice: notice.name.clone(),
            sha256: notice.sha256.clone(),
            processing_version: notice.processing_version,
        };
        let mut terms = Terms {
            purposes: Vec::new(),
            // The person signed up with this number.
            sender_id: self.sender.cloned(),
            consent_type: ConsentType::ExplicitlyExpressed,
            implied: None,
            indication_method: IndicationMethod::PlatformSignup,
            notice: Some(shown),
            declarations: Declarations::default(),
            evidence: self.evidence(),
            jurisdiction: derived_jurisdiction(&self.report.recipient.address),
            import_batch_id: None,
            policy_version: self.compiled.rules.version().to_string(),
            phone_metadata: phone::METADATA.to_owned(),
        };
        let purposes = notice
            .purposes
            .iter()
            .filter_map(|key| self.compiled.catalog().purposes.get(key))
            .filter(|purpose| self.suffices(&terms, notice, purpose, now));
        terms.purposes = sorted(purposes.map(|purpose| purpose.key.clone()).collect());
        (!terms.purposes.is_empty()).then_some(Act::ConsentGiven(terms))
    }

    fn notice_of_signup(&self) -> Option<&Notice> {
        let signup = &self.report.signup_id;
        let notices = self.compiled.catalog().notices.values();
        notices
            .filter(|notice| !signup.is_empty() && notice.signup_ids.contains(signup))
            .max_by_key(|notice| (notice.create_time, notice.name.version))
    }

    fn suffices(&self, terms: &Terms, notice: &Notice, purpose: &Purpose, now: Timestamp) -> bool {
        let of_one = Terms {
            purposes: vec![purpose.key.clone()],
            ..terms.clone()
        };
        let address = &self.report.recipient.address;
        let rules = &self.compiled.rules;
        let refusals = judge_grant(
            address,
            &of_one,
            Some(&notice.purposes),
            &[(0, purpose)],
            rules,
            now,
        );
        // WhatsApp vouches for the number, whatever the numbering plans know.
        refusals
            .iter()
            .all(|refusal| refusal.reason == RefusalReason::PhoneNumberInvalid)
    }

    fn evidence(&self) -> EvidenceFields {
        let fields = EvidenceFields::default().with(EvidenceField::SignupId);
        match self.report.message_id.is_empty() {
            true => fields,
            false => fields.with(EvidenceField::MessageId),
        }
    }

    /// That somebody answers ends a run of failed deliveries.
    fn reached(&self, intent: &Intent<'_>, facts: &Facts) -> Option<Act> {
        let sender = self.sender?;
        let answers = intent.opens_window(self.report.kind) && facts.has_failed_since(self.said.at);
        answers.then(|| {
            Act::Reached(Reached {
                sender_id: sender.clone(),
            })
        })
    }
}
