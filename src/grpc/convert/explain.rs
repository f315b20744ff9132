//! The answer of ExplainConsent.

use super::{answer, enums, proto, wire_time};
use crate::consents::explain::Explained;
use crate::domain::decide::explain::{Outcome, Step};

pub fn explained(explained: Explained) -> proto::ExplainConsentResponse {
    let Explained {
        verdict,
        explanation,
        events,
        class,
        at,
        policy_version,
        token,
    } = explained;
    let jurisdictions = explanation.jurisdictions.iter();
    let zones = explanation.zones.iter();
    proto::ExplainConsentResponse {
        decision: enums::write_decision(verdict.decision).into(),
        reasons: answer::reasons(&verdict),
        not_before: verdict.not_before.map(wire_time),
        consent_event_id: answer::event_id(&verdict),
        steps: explanation.steps.into_iter().map(step).collect(),
        events: events.into_iter().map(answer::event).collect(),
        message_class: enums::write_class(class).into(),
        jurisdictions: jurisdictions.map(ToString::to_string).collect(),
        time_zones: zones.map(ToString::to_string).collect(),
        at: Some(wire_time(at)),
        policy_version: policy_version.to_string(),
        consistency_token: token,
    }
}

fn step(step: Step) -> proto::ExplainStep {
    let (passed, applies) = match step.outcome {
        Outcome::Passed => (true, true),
        Outcome::Failed => (false, true),
        Outcome::NotApplicable => (true, false),
    };
    proto::ExplainStep {
        rule: step.rule.name().to_owned(),
        passed,
        reason: step
            .reason
            .map_or(0, |reason| enums::write_reason(reason).into()),
        detail: step.detail,
        event_id: step.event.map(|id| id.to_string()).unwrap_or_default(),
        source: step.sources.join("\n"),
        applies,
        remedy: step.remedy,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::proto::DESCRIPTORS;
    use crate::domain::decide::explain::Rule;
    use prost::Message;
    use prost_types::FileDescriptorSet;

    /// The names that the contract lists at `ExplainStep.rule`, in their order.
    fn named() -> Vec<String> {
        let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
        let infos = files.file.iter().flat_map(|file| &file.source_code_info);
        let comments = infos
            .flat_map(|info| &info.location)
            .map(|location| location.leading_comments());
        let mut of_rules = comments.filter(|comment| comment.contains("Name of the rule."));
        let comment = of_rules.next().expect("the field has its comment");
        let lines = comment.lines().map(str::trim);
        lines
            .filter_map(|line| Some(line.strip_prefix("- `")?.split_once('`')?.0.to_owned()))
            .collect()
    }

    #[test]
    fn the_contract_names_the_rules_that_there_are_in_their_order() {
        assert_eq!(named(), Rule::ALL.map(|rule| rule.name().to_owned()));
    }
}
