//! Applying a catalogue file: creates what is missing, updates what differs, refuses what may not
//! change, and says which line is at fault. Applying the same file again changes nothing.

use super::file::{BusinessDraft, CatalogFile, Drafted};
use super::{Catalog, Done, Error};

/// What became of one resource of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    pub line: usize,
    /// Kind and name, as `purpose acme/offers`.
    pub what: String,
    pub done: Done,
}

/// Why a file was not applied to its end. What stood before the line is applied.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {what}: {source}")]
pub struct Refused {
    pub line: usize,
    pub what: String,
    pub source: Error,
}

impl Catalog {
    /// Applies a file in its order.
    pub async fn apply(&self, file: &CatalogFile) -> Result<Vec<Applied>, Refused> {
        let mut applied = Vec::new();
        for draft in &file.businesses {
            self.apply_business(draft, &mut applied).await?;
        }
        Ok(applied)
    }

    async fn apply_business(
        &self,
        draft: &BusinessDraft,
        applied: &mut Vec<Applied>,
    ) -> Result<(), Refused> {
        let id = &draft.business.value.business_id;
        let business = draft.business.value.clone();
        let done = match self.find(id).await {
            Err(source) => Err(source),
            Ok(None) => self.create_business(business).await.map(|(_, done)| done),
            Ok(Some(_)) => self.update_business(business).await.map(|(_, done)| done),
        };
        note(&draft.business, format!("business {id}"), done, applied)?;
        for sender in &draft.senders {
            let draft = &sender.value;
            let name = &draft.sender.sender_id;
            let what = format!("sender {id}/{name}");
            let known = self.known(id);
            let stored = known
                .as_ref()
                .and_then(|known| known.catalog().senders.get(name));
            let done = match stored {
                Some(stored) => self.update_sender(id, draft.over(stored)).await,
                None => self.create_sender(id, draft.sender.clone()).await,
            };
            note(sender, what, done.map(|(_, done)| done), applied)?;
        }
        for purpose in &draft.purposes {
            let what = format!("purpose {id}/{}", purpose.value.key);
            let known = self
                .known(id)
                .is_some_and(|known| known.catalog().purposes.contains_key(&purpose.value.key));
            let value = purpose.value.clone();
            let done = match known {
                true => self.update_purpose(id, value).await,
                false => self.create_purpose(id, value).await,
            };
            note(purpose, what, done.map(|(_, done)| done), applied)?;
        }
        for notice in &draft.notices {
            let what = format!("notice {id}/{}", notice.value.name);
            let done = self.create_notice(id, notice.value.clone()).await;
            note(notice, what, done.map(|(_, done)| done), applied)?;
        }
        Ok(())
    }
}

fn note<T>(
    drafted: &Drafted<T>,
    what: String,
    done: Result<Done, Error>,
    applied: &mut Vec<Applied>,
) -> Result<(), Refused> {
    let line = drafted.line;
    match done {
        Ok(done) => {
            applied.push(Applied { line, what, done });
            Ok(())
        }
        Err(source) => Err(Refused { line, what, source }),
    }
}
