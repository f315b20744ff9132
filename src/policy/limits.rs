//! How often, after which look-ups, and how it may be asked: `frequency_caps`, `registries` and
//! `asking` of a jurisdiction.
//!
//! What is written but could never take effect is refused: whoever reads it would rely on it.

use std::time::Duration;

use super::consent_types;
use super::document::{Place, Table};
use super::periods::{at_least, at_most};
use crate::domain::id::RegistryName;
use crate::domain::policy::{Asking, FrequencyCap, MOST_ASKS, RegistryKind, RegistryRule};
use crate::domain::vocabulary::ConsentType;

/// Never: what holds where the column is left out.
const NO_ASKING: Asking = Asking {
    max_total: 0,
    cooldown: Duration::ZERO,
    is_commercial: false,
};

/// `[{ messages = 3, per = "PT24H" }]`.
pub(super) fn frequency_caps(table: &mut Table<'_, '_>) -> Vec<FrequencyCap> {
    let mut caps: Vec<FrequencyCap> = Vec::new();
    for mut item in table.tables("frequency_caps") {
        let messages = item.required("messages", |t, key| count(t, key, 1));
        let per_seconds = item.required("per", |t, key| t.parsed(key, whole_seconds));
        if let (Some(messages), Some(per_seconds)) = (messages, per_seconds) {
            let cap = FrequencyCap {
                messages,
                per_seconds,
            };
            if let Some(other) = caps.iter().find(|other| idle_beside(&cap, other)) {
                item.mistake(
                    "",
                    format!(
                        "one of two counts for nothing: {} in {} seconds beside {} in {} seconds",
                        cap.messages, cap.per_seconds, other.messages, other.per_seconds
                    ),
                );
            }
            caps.push(cap);
        }
        item.finish();
    }
    caps.sort_unstable();
    caps
}

/// Whether one of the two never takes effect: it permits as many or more in less or the same time.
fn idle_beside(a: &FrequencyCap, b: &FrequencyCap) -> bool {
    a.messages.cmp(&b.messages) != a.per_seconds.cmp(&b.per_seconds)
        || a.per_seconds == b.per_seconds
}

fn whole_seconds(period: &str) -> Result<u64, &'static str> {
    // A longer time counts more messages: the stricter reading of a month.
    let length = at_least(period)?;
    if length.subsec_nanos() > 0 {
        return Err("must be whole seconds");
    }
    Ok(length.as_secs())
}

/// A whole number that is not below `least`.
fn count(table: &mut Table<'_, '_>, key: &str, least: u32) -> Option<u32> {
    let number = table.integer(key)?;
    let count = u32::try_from(number).ok().filter(|count| *count >= least);
    if count.is_none() {
        table.mistake(key, format!("must be at least {least}"));
    }
    count
}

/// `[{ name = "sg-dnc", kind = "do-not-contact", max_age = "P21D" }]`, each with where it stands.
pub(super) fn registries(
    table: &mut Table<'_, '_>,
    consent_type: Option<ConsentType>,
) -> Vec<(RegistryRule, Place)> {
    let kinds = RegistryKind::ALL.map(|kind| (kind.word(), kind));
    let mut rules: Vec<(RegistryRule, Place)> = Vec::new();
    for mut item in table.tables("registries") {
        let registry = item.required("name", |t, key| t.parsed(key, RegistryName::parse));
        let kind = item.required("kind", |t, key| t.word(key, &kinds));
        let max_age = item.required("max_age", |t, key| t.parsed(key, at_most));
        let unless_consent = item.word("unless_consent", &consent_types());
        if let (Some(firm), Some(required)) = (unless_consent, consent_type)
            && firm <= required
        {
            item.mistake(
                "unless_consent",
                format!(
                    "makes the look-up needless for every consent that counts, since \
                     `consent_type` asks for {required}"
                ),
            );
        }
        let place = item.place_of("name");
        if let (Some(registry), Some(kind), Some(max_age)) = (registry, kind, max_age) {
            if rules.iter().any(|(rule, _)| rule.registry == registry) {
                item.mistake("name", format!("names `{registry}` twice"));
            }
            let rule = RegistryRule {
                registry,
                kind,
                max_age,
                unless_consent,
            };
            rules.push((rule, place));
        }
        item.finish();
    }
    rules.sort_by(|(a, _), (b, _)| a.registry.cmp(&b.registry));
    rules
}

/// `{ max_total = 2, cooldown = "P12M", is_commercial = true }`.
pub(super) fn asking(table: &mut Table<'_, '_>) -> Asking {
    let Some(mut table) = table.table("asking") else {
        return NO_ASKING;
    };
    let max_total = table.required("max_total", |t, key| count(t, key, 0));
    let cooldown = table.parsed("cooldown", at_least);
    let is_commercial = table.flag("is_commercial");
    if let Some(max_total) = max_total {
        let has_cooldown = table.has_read("cooldown");
        if max_total > MOST_ASKS {
            let why = format!("must be at most {MOST_ASKS}: earlier asks are not remembered");
            table.mistake("max_total", why);
        } else if max_total > 1 && !has_cooldown {
            table.mistake("", "`cooldown` is missing: how long after one ask the next");
        } else if max_total <= 1 && has_cooldown {
            let why = format!("never holds where `max_total` is {max_total}");
            table.mistake("cooldown", why);
        }
        if max_total == 0 && is_commercial == Some(true) {
            table.mistake("is_commercial", "never holds where `max_total` is 0");
        }
    }
    table.finish();
    Asking {
        max_total: max_total.unwrap_or_default(),
        cooldown: cooldown.unwrap_or_default(),
        is_commercial: is_commercial.unwrap_or_default(),
    }
}
