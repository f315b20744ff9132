//! The catalogue on the wire: what is asked of it, and the resources and pages of the answers.

mod page;
mod read;
mod write;

use super::{Fields, proto};
use crate::catalog;
use crate::consents::Error;
use crate::domain::catalog::{Business, BusinessCatalog, Notice, Purpose, Sender};
use crate::domain::id::{BusinessId, Language, NoticeId, NoticeRef, PurposeKey, SenderId};

pub use page::Page;
pub use write::{write_business, write_notice, write_purpose, write_sender};

pub fn read_business(wire: Option<proto::Business>) -> Result<Business, Error> {
    let mut fields = Fields::default();
    let business = wire.map(|wire| read::business(&mut fields, wire));
    read::required(&mut fields, "business", business.is_some());
    fields.finish(business)
}

pub fn read_sender(
    business_id: &str,
    wire: Option<proto::Sender>,
) -> Result<(BusinessId, Sender), Error> {
    let mut fields = Fields::default();
    let business = fields.business(business_id);
    let sender = wire.map(|wire| read::sender(&mut fields, wire));
    read::required(&mut fields, "sender", sender.is_some());
    fields.finish(business.zip(sender))
}

pub fn read_purpose(
    business_id: &str,
    wire: Option<proto::Purpose>,
) -> Result<(BusinessId, Purpose), Error> {
    let mut fields = Fields::default();
    let business = fields.business(business_id);
    let purpose = wire.map(|wire| read::purpose(&mut fields, wire));
    read::required(&mut fields, "purpose", purpose.is_some());
    fields.finish(business.zip(purpose))
}

/// A notice to create. Its purposes are sorted; a fault names them as the caller did.
#[derive(Debug)]
pub struct NewNotice {
    pub business: BusinessId,
    pub notice: Notice,
    pub as_given: GivenOrder,
}

/// The order in which a caller named the purposes of a notice.
#[derive(Debug, Clone)]
pub struct GivenOrder {
    sorted: Vec<PurposeKey>,
    given: Vec<PurposeKey>,
}

impl GivenOrder {
    /// The same faults, with the caller's index where they name a purpose by its sorted one.
    pub fn restore(&self, error: catalog::Error) -> catalog::Error {
        let catalog::Error::Invalid { mut faults } = error else {
            return error;
        };
        for fault in &mut faults {
            if let Some(index) = self.given_index(&fault.field) {
                fault.field = format!("purposes[{index}]");
            }
        }
        catalog::Error::Invalid { faults }
    }

    fn given_index(&self, field: &str) -> Option<usize> {
        let index = field.strip_prefix("purposes[")?.strip_suffix(']')?;
        let key = self.sorted.get(index.parse::<usize>().ok()?)?;
        self.given.iter().position(|given| given == key)
    }
}

pub fn read_notice(business_id: &str, wire: Option<proto::Notice>) -> Result<NewNotice, Error> {
    let mut fields = Fields::default();
    let business = fields.business(business_id);
    let notice = wire.map(|wire| read::notice(&mut fields, wire));
    read::required(&mut fields, "notice", notice.is_some());
    let (business, mut notice) = fields.finish(business.zip(notice))?;
    let given = notice.purposes.clone();
    notice.purposes.sort();
    let sorted = notice.purposes.clone();
    Ok(NewNotice {
        business,
        notice,
        as_given: GivenOrder { sorted, given },
    })
}

pub fn get_business(request: &proto::GetBusinessRequest) -> Result<BusinessId, Error> {
    let mut fields = Fields::default();
    let business = fields.business(&request.business_id);
    fields.finish(business)
}

pub fn get_sender(request: &proto::GetSenderRequest) -> Result<(BusinessId, SenderId), Error> {
    let mut fields = Fields::default();
    let business = fields.business(&request.business_id);
    let sender = fields.name("sender_id", &request.sender_id, SenderId::parse);
    fields.finish(business.zip(sender))
}

pub fn get_purpose(request: &proto::GetPurposeRequest) -> Result<(BusinessId, PurposeKey), Error> {
    let mut fields = Fields::default();
    let business = fields.business(&request.business_id);
    let key = fields.name("key", &request.key, PurposeKey::parse);
    fields.finish(business.zip(key))
}

/// Which notice is wanted: one version, or the highest of a language.
#[derive(Debug)]
pub struct WantedNotice {
    notice_id: NoticeId,
    version: Option<i32>,
    language: Language,
}

impl WantedNotice {
    pub fn of<'a>(&self, catalog: &'a BusinessCatalog) -> Option<&'a Notice> {
        let same = catalog.notices.values().filter(|notice| {
            let name = &notice.name;
            name.notice_id == self.notice_id
                && name.language == self.language
                && self.version.is_none_or(|version| name.version == version)
        });
        same.max_by_key(|notice| notice.name.version)
    }
}

/// As [`NoticeRef`] reads, and without the version where any would do.
impl std::fmt::Display for WantedNotice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.version {
            Some(version) => write!(f, "{} v{version} ({})", self.notice_id, self.language),
            None => write!(f, "{} ({})", self.notice_id, self.language),
        }
    }
}

pub fn get_notice(request: &proto::GetNoticeRequest) -> Result<(BusinessId, WantedNotice), Error> {
    let mut fields = Fields::default();
    let business = fields.business(&request.business_id);
    let notice_id = fields.name("notice_id", &request.notice_id, NoticeId::parse);
    if request.version < 0 {
        fields.refuse("version", "must not be negative; 0 is the highest there is");
    }
    let language = fields.name("language", &request.language, Language::parse);
    let version = (request.version != 0).then_some(request.version);
    let wanted = notice_id
        .zip(language)
        .map(|(notice_id, language)| WantedNotice {
            notice_id,
            version,
            language,
        });
    fields.finish(business.zip(wanted))
}

pub fn list_businesses(request: &proto::ListBusinessesRequest) -> Result<Page<BusinessId>, Error> {
    let mut fields = Fields::default();
    let list = vec!["businesses".to_owned()];
    let page = Page::read(&mut fields, list, request.page_size, &request.page_token);
    fields.finish(page)
}

pub fn list_senders(
    request: &proto::ListSendersRequest,
) -> Result<(BusinessId, Page<SenderId>), Error> {
    let mut fields = Fields::default();
    let business = fields.business(&request.business_id);
    let list = vec!["senders".to_owned(), request.business_id.clone()];
    let page = Page::read(&mut fields, list, request.page_size, &request.page_token);
    fields.finish(business.zip(page))
}

pub fn list_purposes(
    request: &proto::ListPurposesRequest,
) -> Result<(BusinessId, Page<PurposeKey>), Error> {
    let mut fields = Fields::default();
    let business = fields.business(&request.business_id);
    let list = vec!["purposes".to_owned(), request.business_id.clone()];
    let page = Page::read(&mut fields, list, request.page_size, &request.page_token);
    fields.finish(business.zip(page))
}

/// Notices of a business, of one id where that is asked.
#[derive(Debug)]
pub struct ListedNotices {
    pub business: BusinessId,
    pub notice_id: Option<NoticeId>,
    pub page: Page<NoticeRef>,
}

pub fn list_notices(request: &proto::ListNoticesRequest) -> Result<ListedNotices, Error> {
    let mut fields = Fields::default();
    let business = fields.business(&request.business_id);
    let notice_id = fields.optional_name("notice_id", &request.notice_id, NoticeId::parse);
    let list = vec![
        "notices".to_owned(),
        request.business_id.clone(),
        request.notice_id.clone(),
    ];
    let page = Page::read(&mut fields, list, request.page_size, &request.page_token);
    let listed = business.zip(notice_id).zip(page);
    fields.finish(listed.map(|((business, notice_id), page)| ListedNotices {
        business,
        notice_id,
        page,
    }))
}

#[cfg(test)]
mod tests;
