//! A catalogue file in the words of the contract: what is to be sent, with the line that asks for
//! it.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, anyhow};

use crate::catalog::file::{self, BusinessDraft, CatalogFile};
use crate::grpc::convert::catalog as wire;
use crate::grpc::proto;

/// One resource of the catalogue.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Resource {
    Business(proto::Business),
    Sender(proto::Sender),
    Purpose(proto::Purpose),
    Notice(proto::Notice),
}

/// Kind and name, as in `purpose offers`.
impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Business(business) => write!(f, "business {}", business.business_id),
            Self::Sender(sender) => write!(f, "sender {}", sender.sender_id),
            Self::Purpose(purpose) => write!(f, "purpose {}", purpose.key),
            Self::Notice(notice) => {
                write!(
                    f,
                    "notice {} v{} ({})",
                    notice.notice_id, notice.version, notice.language
                )
            }
        }
    }
}

impl Resource {
    /// Whether the two say the same: what the server sets is left aside, and a field that is unset
    /// equals its default.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        self.clone().normal() == other.clone().normal()
    }

    fn normal(self) -> Self {
        match self {
            Self::Business(mut business) => {
                (business.create_time, business.update_time) = (None, None);
                business.whatsapp_must_be_named.get_or_insert(true);
                if business.opt_out_scope == 0 {
                    business.opt_out_scope = proto::OptOutScope::BusinessEverything.into();
                }
                Self::Business(business)
            }
            Self::Sender(mut sender) => {
                (sender.create_time, sender.update_time) = (None, None);
                sender.business_id.clear();
                sender.aliases.sort();
                Self::Sender(sender)
            }
            Self::Purpose(mut purpose) => {
                (purpose.create_time, purpose.update_time) = (None, None);
                purpose.business_id.clear();
                purpose.confirmation_required.get_or_insert(false);
                purpose.consent_required.get_or_insert(true);
                let types = &mut purpose.accepted_consent_types;
                if types.is_empty() {
                    types.extend([1, 2]);
                }
                types.sort_unstable();
                Self::Purpose(purpose)
            }
            Self::Notice(mut notice) => {
                notice.create_time = None;
                notice.business_id.clear();
                notice.sha256.clear();
                notice.processing_version = notice.processing_version.max(1);
                notice.purposes.sort();
                notice.signup_ids.sort();
                Self::Notice(notice)
            }
        }
    }
}

/// A resource as the file asks for it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Draft {
    pub(super) line: usize,
    pub(super) business_id: String,
    pub(super) resource: Resource,
    pub(super) unsaid: Unsaid,
}

/// What the file does not say of a sender, and what therefore stays as the server has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Unsaid {
    pub(super) held: bool,
    pub(super) aliases: bool,
}

impl Draft {
    /// What it is known by: its business, its kind and its name.
    pub(super) fn name(&self) -> (String, String) {
        (self.business_id.clone(), self.resource.to_string())
    }

    /// The draft with what stays as it is stored: an update replaces the whole sender.
    pub(super) fn over(&self, stored: &Resource) -> Self {
        let mut draft = self.clone();
        if let (Resource::Sender(sender), Resource::Sender(stored)) = (&mut draft.resource, stored)
        {
            if self.unsaid.held {
                sender.held = stored.held;
                sender.held_reason.clone_from(&stored.held_reason);
            }
            if self.unsaid.aliases {
                sender.aliases.clone_from(&stored.aliases);
            }
        }
        draft
    }
}

/// Reads a file, in the order in which it can be applied.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<Draft>> {
    let name = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read `{name}`"))?;
    let parsed = file::parse(&text).map_err(|mistakes| {
        let lines = mistakes
            .as_slice()
            .iter()
            .map(|mistake| format!("\n  {mistake}"));
        anyhow!(
            "`{name}` is no valid catalogue:{}",
            lines.collect::<String>()
        )
    })?;
    Ok(drafts(&parsed))
}

fn drafts(file: &CatalogFile) -> Vec<Draft> {
    file.businesses.iter().flat_map(of_business).collect()
}

fn of_business(draft: &BusinessDraft) -> Vec<Draft> {
    let id = &draft.business.value.business_id;
    let place = |line, resource: Resource| Draft {
        line,
        business_id: id.to_string(),
        resource: resource.normal(),
        unsaid: Unsaid::default(),
    };
    let business = &draft.business;
    let business = place(
        business.line,
        Resource::Business(wire::write_business(&business.value)),
    );
    let senders = draft.senders.iter();
    let senders = senders.map(|d| {
        let sender = wire::write_sender(id, &d.value.sender);
        let unsaid = Unsaid {
            held: !d.value.says_held,
            aliases: !d.value.says_aliases,
        };
        Draft {
            unsaid,
            ..place(d.line, Resource::Sender(sender))
        }
    });
    let purposes = draft.purposes.iter();
    let purposes =
        purposes.map(|d| place(d.line, Resource::Purpose(wire::write_purpose(id, &d.value))));
    let notices = draft.notices.iter();
    let notices =
        notices.map(|d| place(d.line, Resource::Notice(wire::write_notice(id, &d.value))));
    std::iter::once(business)
        .chain(senders)
        .chain(purposes)
        .chain(notices)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_read_in_the_order_in_which_it_can_be_applied() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/acme/catalog.toml");
        let drafts = read(Path::new(path)).unwrap();
        assert_eq!(drafts[0].resource.to_string(), "business acme");
        let rank = |draft: &Draft| match draft.resource {
            Resource::Business(_) => 0,
            Resource::Sender(_) => 1,
            Resource::Purpose(_) => 2,
            Resource::Notice(_) => 3,
        };
        for of_one in drafts.chunk_by(|one, next| one.business_id == next.business_id) {
            assert!(of_one.is_sorted_by_key(rank), "{}", of_one[0].business_id);
            assert_eq!(rank(&of_one[0]), 0, "{}", of_one[0].business_id);
        }
        assert!(drafts.iter().all(|draft| draft.line > 0));
    }

    #[test]
    fn a_mistake_names_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("catalog.toml");
        fs::write(
            &path,
            "[[business]]\nbusiness_id = \"acme\"\ndisplay_name = 3\n",
        )
        .unwrap();
        let refused = read(&path).unwrap_err().to_string();
        assert!(
            refused.contains("catalog.toml") && refused.contains("line 3"),
            "{refused}"
        );
        assert!(read(&directory.path().join("none")).is_err());
    }

    #[test]
    fn what_the_server_fills_in_is_no_difference() {
        let asked = Resource::Business(proto::Business {
            business_id: "acme".to_owned(),
            ..proto::Business::default()
        });
        let stored = Resource::Business(proto::Business {
            business_id: "acme".to_owned(),
            whatsapp_must_be_named: Some(true),
            opt_out_scope: proto::OptOutScope::BusinessEverything.into(),
            create_time: Some(prost_types::Timestamp {
                seconds: 5,
                nanos: 0,
            }),
            ..proto::Business::default()
        });
        assert!(asked.says_the_same(&stored));

        let purpose = |types: &[i32]| {
            Resource::Purpose(proto::Purpose {
                accepted_consent_types: types.to_vec(),
                ..proto::Purpose::default()
            })
        };
        assert!(purpose(&[]).says_the_same(&purpose(&[2, 1])));
        assert!(!purpose(&[]).says_the_same(&purpose(&[1])));

        let notice = |text: &str, version| {
            Resource::Notice(proto::Notice {
                text: text.to_owned(),
                processing_version: version,
                sha256: text.as_bytes().to_vec(),
                ..proto::Notice::default()
            })
        };
        assert!(notice("a", 0).says_the_same(&notice("a", 1)));
        assert!(!notice("a", 1).says_the_same(&notice("b", 1)));
    }
}
