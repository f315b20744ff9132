//! `catalog apply`: what is missing is created, what differs is updated, what is the same is left.
//!
//! It looks at everything first: a notice that would change, which no server accepts, is refused
//! with its line before anything is done. Other refusals are the server's; what was done before one
//! stays done, and applying the corrected file goes on from there.

use std::path::Path;

use anyhow::Context;

use super::draft::{Draft, Resource};
use super::stored::{self, ByName};
use crate::cli::client::Client;
use crate::cli::json::Object;
use crate::cli::output::{Format, Output};
use crate::cli::{Exit, table};
use crate::grpc::proto::{
    CreateBusinessRequest, CreateNoticeRequest, CreatePurposeRequest, CreateSenderRequest,
    UpdateBusinessRequest, UpdatePurposeRequest, UpdateSenderRequest,
};

/// What is to be done about a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Create,
    Update,
    Leave,
}

impl Step {
    fn done(self) -> &'static str {
        match self {
            Self::Create => "created",
            Self::Update => "updated",
            Self::Leave => "unchanged",
        }
    }
}

pub(super) async fn apply(
    client: &Client,
    file: &Path,
    drafts: &[Draft],
    dry_run: bool,
    output: &mut Output,
) -> anyhow::Result<Exit> {
    let mut known = ByName::new();
    let mut last = None;
    for draft in drafts {
        if last != Some(&draft.business_id) {
            if let Some(stored) = stored::find(client, &draft.business_id).await? {
                stored.index(&mut known);
            }
            last = Some(&draft.business_id);
        }
    }
    let drafts = &completed(drafts, &known);
    let steps = plan(file, drafts, &known)?;
    if !dry_run {
        for (draft, step) in drafts.iter().zip(&steps) {
            take(client, draft, *step).await.with_context(|| {
                format!("{}:{}: {}", file.display(), draft.line, draft.resource)
            })?;
        }
    }
    match output.format {
        Format::Table => output.text(text(drafts, &steps, dry_run))?,
        Format::Json => output.json(&json(drafts, &steps, dry_run))?,
    }
    Ok(Exit::Done)
}

/// The drafts with what the file does not say of what is stored.
fn completed(drafts: &[Draft], known: &ByName) -> Vec<Draft> {
    let drafts = drafts.iter();
    drafts
        .map(|draft| match known.get(&draft.name()) {
            Some(stored) => draft.over(stored),
            None => draft.clone(),
        })
        .collect()
}

/// What to do about each draft, or every notice that would have to change.
fn plan(file: &Path, drafts: &[Draft], known: &ByName) -> anyhow::Result<Vec<Step>> {
    let mut refused = Vec::new();
    let mut steps = Vec::new();
    for draft in drafts {
        steps.push(match known.get(&draft.name()) {
            None => Step::Create,
            Some(stored) if draft.resource.says_the_same(stored) => Step::Leave,
            Some(Resource::Notice(_)) => {
                refused.push(format!(
                    "{}:{}: {} exists with other content; notices never change: raise its version",
                    file.display(),
                    draft.line,
                    draft.resource
                ));
                Step::Leave
            }
            Some(_) => Step::Update,
        });
    }
    anyhow::ensure!(
        refused.is_empty(),
        "nothing was applied\n  {}",
        refused.join("\n  ")
    );
    Ok(steps)
}

async fn take(client: &Client, draft: &Draft, step: Step) -> Result<(), tonic::Status> {
    let mut catalog = client.catalog();
    let business_id = draft.business_id.clone();
    match (step, draft.resource.clone()) {
        (Step::Leave, _) => {}
        (Step::Create, Resource::Business(business)) => {
            let request = CreateBusinessRequest {
                business: Some(business),
            };
            catalog.create_business(client.request(request)).await?;
        }
        (Step::Update, Resource::Business(business)) => {
            let request = UpdateBusinessRequest {
                business: Some(business),
            };
            catalog.update_business(client.request(request)).await?;
        }
        (Step::Create, Resource::Sender(sender)) => {
            let request = CreateSenderRequest {
                business_id,
                sender: Some(sender),
            };
            catalog.create_sender(client.request(request)).await?;
        }
        (Step::Update, Resource::Sender(sender)) => {
            let request = UpdateSenderRequest {
                business_id,
                sender: Some(sender),
            };
            catalog.update_sender(client.request(request)).await?;
        }
        (Step::Create, Resource::Purpose(purpose)) => {
            let request = CreatePurposeRequest {
                business_id,
                purpose: Some(purpose),
            };
            catalog.create_purpose(client.request(request)).await?;
        }
        (Step::Update, Resource::Purpose(purpose)) => {
            let request = UpdatePurposeRequest {
                business_id,
                purpose: Some(purpose),
            };
            catalog.update_purpose(client.request(request)).await?;
        }
        // A notice is never planned to be updated; created anew it would be refused.
        (Step::Create | Step::Update, Resource::Notice(notice)) => {
            let request = CreateNoticeRequest {
                business_id,
                notice: Some(notice),
            };
            catalog.create_notice(client.request(request)).await?;
        }
    }
    Ok(())
}

fn text(drafts: &[Draft], steps: &[Step], dry_run: bool) -> String {
    let rows = drafts.iter().zip(steps).map(|(draft, step)| {
        [
            draft.business_id.clone(),
            draft.resource.to_string(),
            step.done().to_owned(),
        ]
    });
    let result = if dry_run { "would be" } else { "result" };
    table::table(["business", "resource", result], rows)
}

fn json(drafts: &[Draft], steps: &[Step], dry_run: bool) -> Object {
    let resources = drafts.iter().zip(steps).map(|(draft, step)| {
        Object::new()
            .with("business_id", &draft.business_id)
            .with("resource", draft.resource.to_string())
            .with("line", i64::try_from(draft.line).unwrap_or(i64::MAX))
            .with("result", step.done())
    });
    Object::new()
        .list("resources", resources)
        .with("dry_run", dry_run)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::catalog::draft::Unsaid;
    use crate::grpc::proto::{Notice, Sender};

    fn sender(id: &str, held: bool) -> Resource {
        Resource::Sender(Sender {
            sender_id: id.to_owned(),
            held,
            ..Sender::default()
        })
    }

    fn notice(text: &str) -> Resource {
        Resource::Notice(Notice {
            notice_id: "signup".to_owned(),
            version: 3,
            language: "de".to_owned(),
            text: text.to_owned(),
            ..Notice::default()
        })
    }

    fn draft(line: usize, resource: Resource) -> Draft {
        Draft {
            line,
            business_id: "acme".to_owned(),
            resource,
            unsaid: Unsaid::default(),
        }
    }

    fn known(resources: Vec<Resource>) -> ByName {
        let named = resources.into_iter();
        named
            .map(|resource| (("acme".to_owned(), resource.to_string()), resource))
            .collect()
    }

    #[test]
    fn what_is_missing_is_created_and_what_differs_updated() {
        let drafts = [
            draft(1, sender("a", false)),
            draft(2, sender("b", true)),
            draft(3, sender("c", true)),
            draft(4, notice("Ja")),
        ];
        let known = known(vec![sender("b", false), sender("c", true), notice("Ja")]);
        let steps = plan(Path::new("catalog.toml"), &drafts, &known).unwrap();
        assert_eq!(
            steps,
            [Step::Create, Step::Update, Step::Leave, Step::Leave]
        );
        assert_eq!(
            text(&drafts, &steps, false),
            "BUSINESS  RESOURCE               RESULT\n\
             acme      sender a               created\n\
             acme      sender b               updated\n\
             acme      sender c               unchanged\n\
             acme      notice signup v3 (de)  unchanged"
        );
    }

    #[test]
    fn what_the_file_does_not_say_of_a_sender_stays_as_it_is() {
        let stored = Sender {
            sender_id: "a".to_owned(),
            held: true,
            held_reason: "blocked".to_owned(),
            aliases: vec!["shop".to_owned()],
            ..Sender::default()
        };
        let known = known(vec![Resource::Sender(stored.clone())]);
        let named = Sender {
            sender_id: "a".to_owned(),
            display_name: "A".to_owned(),
            ..Sender::default()
        };
        let over = |held, aliases| {
            let draft = Draft {
                unsaid: Unsaid { held, aliases },
                ..draft(1, Resource::Sender(named.clone()))
            };
            completed(&[draft], &known).remove(0).resource
        };
        let both = Sender {
            display_name: "A".to_owned(),
            ..stored
        };
        assert_eq!(over(true, true), Resource::Sender(both));
        assert_eq!(over(false, false), Resource::Sender(named.clone()));
    }

    #[test]
    fn a_notice_that_would_change_is_refused_with_its_line() {
        let drafts = [draft(1, sender("a", false)), draft(12, notice("Nein"))];
        let refused = plan(
            Path::new("catalog.toml"),
            &drafts,
            &known(vec![notice("Ja")]),
        );
        assert_eq!(
            refused.unwrap_err().to_string(),
            "nothing was applied\n  catalog.toml:12: notice signup v3 (de) exists with other content; \
             notices never change: raise its version"
        );
    }

    #[test]
    fn the_result_reads_as_json() {
        let drafts = [draft(7, sender("a", false))];
        assert_eq!(
            serde_json::to_string(&json(&drafts, &[Step::Create], true)).unwrap(),
            r#"{"resources":[{"business_id":"acme","resource":"sender a","line":7,"result":"created"}],"dry_run":true}"#
        );
    }
}
