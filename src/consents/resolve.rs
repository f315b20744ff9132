//! Names of a request to things of the catalogue. What is not in memory is read through before it
//! is refused: it may have been created a moment ago, by another instance.

use std::sync::Arc;

use super::error::reason;
use super::{Consents, Error, Violation};
use crate::catalog::{Compiled, Named};
use crate::domain::catalog::{Notice, Purpose, Sender};
use crate::domain::id::{BusinessId, NoticeRef, PurposeKey, SenderId};

impl Consents {
    /// The rules of a business.
    pub(super) async fn business(&self, business: &BusinessId) -> Result<Arc<Compiled>, Error> {
        match self.0.catalog.known(business) {
            Some(compiled) => Ok(compiled),
            None => self.0.catalog.find(business).await?.ok_or_else(|| {
                let message = format!("there is no business `{business}`");
                Error::invalid("business_id", reason::BUSINESS_UNKNOWN, message)
            }),
        }
    }

    /// The rules of a business, caught up if one of the names is not in memory.
    pub(super) async fn business_with(
        &self,
        business: &BusinessId,
        names: &[Named<'_>],
    ) -> Result<Arc<Compiled>, Error> {
        let compiled = self.business(business).await?;
        if names.iter().all(|name| name.is_in(compiled.catalog())) {
            return Ok(compiled);
        }
        self.0.catalog.catch_up().await?;
        self.business(business).await
    }

    /// The rules of a business that an opt-out was made to, caught up if the sender is not in memory.
    /// Nothing of the catalogue can refuse an opt-out, not even that it cannot be read now.
    pub(super) async fn business_for_opt_out(
        &self,
        business: &BusinessId,
        sender: Option<&SenderId>,
    ) -> Result<Arc<Compiled>, Error> {
        let compiled = self.business(business).await?;
        let unknown = sender.is_some_and(|name| compiled.catalog().sender(name).is_none());
        if unknown && self.0.catalog.catch_up().await.is_ok() {
            return self.business(business).await;
        }
        Ok(compiled)
    }
}

pub(super) fn purpose<'a>(
    compiled: &'a Compiled,
    key: &PurposeKey,
    field: &str,
) -> Result<&'a Purpose, Violation> {
    compiled.catalog().purposes.get(key).ok_or_else(|| {
        let message = format!("business has no purpose `{key}`");
        Violation::new(field, reason::PURPOSE_UNKNOWN, message)
    })
}

/// The sender's own id, also where an alias was named.
pub(super) fn sender<'a>(
    compiled: &'a Compiled,
    name: &SenderId,
    field: &str,
) -> Result<&'a Sender, Violation> {
    compiled.catalog().sender(name).ok_or_else(|| {
        let message = format!("business has no sender `{name}`");
        Violation::new(field, reason::SENDER_UNKNOWN, message)
    })
}

pub(super) fn notice<'a>(
    compiled: &'a Compiled,
    name: &NoticeRef,
) -> Result<&'a Notice, Violation> {
    compiled.catalog().notices.get(name).ok_or_else(|| {
        let message = format!("business has no notice {name}");
        Violation::new("notice", reason::NOTICE_UNKNOWN, message)
    })
}
