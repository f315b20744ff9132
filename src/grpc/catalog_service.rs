//! `CatalogService`: what the operator calls.
//!
//! Reads go through to the ledger first: they are what a caller settles
//! an unknown outcome with, so they must not answer from before it.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::admission::{admit, admit_known};
use super::convert::catalog as convert;
use super::layer::{self, Deadline, deadline};
use super::proto::{self, catalog_service_server};
use super::status;
use crate::auth::Gate;
use crate::catalog::{self, Catalog, Compiled};
use crate::consents;
use crate::domain::caller::Permission;
use crate::domain::id::{BusinessId, NoticeRef};

/// The service over the catalogue.
#[derive(Debug, Clone)]
pub struct CatalogService {
    catalog: Arc<Catalog>,
    gate: Gate,
}

type Answer<T> = Result<Response<T>, Status>;

impl CatalogService {
    pub fn new(catalog: Arc<Catalog>, gate: Gate) -> Self {
        Self { catalog, gate }
    }

    async fn admit<T: Sync>(&self, request: &Request<T>, business: &str) -> Result<(), Status> {
        admit(&self.gate, request, Permission::Catalogue, business).await
    }

    async fn read_through(&self, deadline: Deadline) -> Result<(), Status> {
        layer::read(deadline, async {
            self.catalog
                .catch_up()
                .await
                .map_err(|error| status::of_catalog(error, ""))
        })
        .await
    }

    /// A business as it stands in the ledger.
    async fn business(
        &self,
        deadline: Deadline,
        business: &BusinessId,
    ) -> Result<Arc<Compiled>, Status> {
        self.read_through(deadline).await?;
        self.catalog
            .known(business)
            .ok_or_else(|| missing("business", business))
    }

    /// Changes the catalogue; faults are named as fields of `resource`.
    async fn write<T, C>(
        &self,
        deadline: Deadline,
        resource: &'static str,
        change: impl FnOnce(Arc<Catalog>) -> C,
    ) -> Result<T, Status>
    where
        T: Send + 'static,
        C: Future<Output = Result<T, catalog::Error>> + Send + 'static,
    {
        let change = change(Arc::clone(&self.catalog));
        let call = async move {
            change
                .await
                .map_err(|error| status::of_catalog(error, resource))
        };
        let late = "the deadline passed before the change was confirmed; it may have been made: \
                    read the resource back before repeating it";
        layer::write_saying(deadline, late, call).await
    }
}

fn of(error: &consents::Error) -> Status {
    status::of(error)
}

fn missing(kind: &str, name: impl Display) -> Status {
    let what = format!("{kind} `{name}`");
    status::not_found(catalog::Error::NotFound { what }.to_string())
}

#[tonic::async_trait]
impl catalog_service_server::CatalogService for CatalogService {
    async fn create_business(
        &self,
        request: Request<proto::CreateBusinessRequest>,
    ) -> Answer<proto::CreateBusinessResponse> {
        let business = request.get_ref().business.as_ref();
        let business = business.map_or("", |business| &business.business_id);
        self.admit(&request, business).await?;
        let deadline = deadline(&request);
        let business = convert::read_business(request.into_inner().business).map_err(|e| of(&e))?;
        let stored = self.write(deadline, "business", |catalog| async move {
            let (stored, _) = catalog.create_business(business).await?;
            Ok(convert::write_business(&stored))
        });
        Ok(Response::new(proto::CreateBusinessResponse {
            business: Some(stored.await?),
        }))
    }

    async fn get_business(
        &self,
        request: Request<proto::GetBusinessRequest>,
    ) -> Answer<proto::GetBusinessResponse> {
        self.admit(&request, &request.get_ref().business_id).await?;
        let deadline = deadline(&request);
        let business = convert::get_business(request.get_ref()).map_err(|e| of(&e))?;
        let known = self.business(deadline, &business).await?;
        let business = Some(convert::write_business(&known.catalog().business));
        Ok(Response::new(proto::GetBusinessResponse { business }))
    }

    async fn list_businesses(
        &self,
        request: Request<proto::ListBusinessesRequest>,
    ) -> Answer<proto::ListBusinessesResponse> {
        let caller = admit_known(&self.gate, &request, Permission::Catalogue, None).await?;
        let deadline = deadline(&request);
        let page = convert::list_businesses(request.get_ref()).map_err(|e| of(&e))?;
        self.read_through(deadline).await?;
        let known = self.catalog.businesses();
        let all = known.iter().map(|known| &known.catalog().business);
        let seen = all.filter(|business| caller.sees(business.business_id.as_str()));
        let (businesses, next_page_token) = page.cut(
            seen.map(|business| (&business.business_id, business)),
            convert::write_business,
        );
        Ok(Response::new(proto::ListBusinessesResponse {
            businesses,
            next_page_token,
        }))
    }

    async fn update_business(
        &self,
        request: Request<proto::UpdateBusinessRequest>,
    ) -> Answer<proto::UpdateBusinessResponse> {
        let business = request.get_ref().business.as_ref();
        let business = business.map_or("", |business| &business.business_id);
        self.admit(&request, business).await?;
        let deadline = deadline(&request);
        let business = convert::read_business(request.into_inner().business).map_err(|e| of(&e))?;
        let stored = self.write(deadline, "business", |catalog| async move {
            let (stored, _) = catalog.update_business(business).await?;
            Ok(convert::write_business(&stored))
        });
        Ok(Response::new(proto::UpdateBusinessResponse {
            business: Some(stored.await?),
        }))
    }

    async fn create_sender(
        &self,
        request: Request<proto::CreateSenderRequest>,
    ) -> Answer<proto::CreateSenderResponse> {
        self.admit(&request, &request.get_ref().business_id).await?;
        let deadline = deadline(&request);
        let request = request.into_inner();
        let (business, sender) =
            convert::read_sender(&request.business_id, request.sender).map_err(|e| of(&e))?;
        let stored = self.write(deadline, "sender", |catalog| async move {
            let (stored, _) = catalog.create_sender(&business, sender).await?;
            Ok(convert::write_sender(&business, &stored))
        });
        Ok(Response::new(proto::CreateSenderResponse {
            sender: Some(stored.await?),
        }))
    }

    async fn get_sender(
        &self,
        request: Request<proto::GetSenderRequest>,
    ) -> Answer<proto::GetSenderResponse> {
        self.admit(&request, &request.get_ref().business_id).await?;
        let deadline = deadline(&request);
        let (business, name) = convert::get_sender(request.get_ref()).map_err(|e| of(&e))?;
        let known = self.business(deadline, &business).await?;
        let sender = known
            .catalog()
            .sender(&name)
            .ok_or_else(|| missing("sender", &name))?;
        let sender = Some(convert::write_sender(&business, sender));
        Ok(Response::new(proto::GetSenderResponse { sender }))
    }

    async fn list_senders(
        &self,
        request: Request<proto::ListSendersRequest>,
    ) -> Answer<proto::ListSendersResponse> {
        self.admit(&request, &request.get_ref().business_id).await?;
        let deadline = deadline(&request);
        let (business, page) = convert::list_senders(request.get_ref()).map_err(|e| of(&e))?;
        let known = self.business(deadline, &business).await?;
        let all = known.catalog().senders.iter();
        let (senders, next_page_token) =
            page.cut(all, |sender| convert::write_sender(&business, sender));
        Ok(Response::new(proto::ListSendersResponse {
            senders,
            next_page_token,
        }))
    }

    async fn update_sender(
        &self,
        request: Request<proto::UpdateSenderRequest>,
    ) -> Answer<proto::UpdateSenderResponse> {
        self.admit(&request, &request.get_ref().business_id).await?;
        let deadline = deadline(&request);
        let request = request.into_inner();
        let (business, sender) =
            convert::read_sender(&request.business_id, request.sender).map_err(|e| of(&e))?;
        let stored = self.write(deadline, "sender", |catalog| async move {
            let (stored, _) = catalog.update_sender(&business, sender).await?;
            Ok(convert::write_sender(&business, &stored))
        });
        Ok(Response::new(proto::UpdateSenderResponse {
            sender: Some(stored.await?),
        }))
    }

    async fn create_purpose(
        &self,
        request: Request<proto::CreatePurposeRequest>,
    ) -> Answer<proto::CreatePurposeResponse> {
        self.admit(&request, &request.get_ref().business_id).await?;
        let deadline = deadline(&request);
        let request = request.into_inner();
        let (business, purpose) =
            convert::read_purpose(&request.business_id, request.purpose).map_err(|e| of(&e))?;
        let stored = self.write(deadline, "purpose", |catalog| async move {
            let (stored, _) = catalog.create_purpose(&business, purpose).await?;
            Ok(convert::write_purpose(&business, &stored))
        });
        Ok(Response::new(proto::CreatePurposeResponse {
            purpose: Some(stored.await?),
        }))
    }

    async fn get_purpose(
        &self,
        request: Request<proto::GetPurposeRequest>,
    ) -> Answer<proto::GetPurposeResponse> {
        self.admit(&request, &request.get_ref().business_id).await?;
        let deadline = deadline(&request);
        let (business, key) = convert::get_purpose(request.get_ref()).map_err(|e| of(&e))?;
        let known = self.business(deadline, &business).await?;
        let purpose = known
            .catalog()
            .purposes
            .get(&key)
            .ok_or_else(|| missing("purpose", &key))?;
        let purpose = Some(convert::write_purpose(&business, purpose));
        Ok(Response::new(proto::GetPurposeResponse { purpose }))
    }

    async fn list_purposes(
        &self,
        request: Request<proto::ListPurposesRequest>,
    ) -> Answer<proto::ListPurposesResponse> {
        self.admit(&request, &request.get_ref().business_id).await?;
        let deadline = deadline(&request);
        let (business, page) = convert::list_purposes(request.get_ref()).map_err(|e| of(&e))?;
        let known = self.business(deadline, &business).await?;
        let all = known.catalog().purposes.iter();
        let (purposes, next_page_token) =
            page.cut(all, |purpose| convert::write_purpose(&business, purpose));
        Ok(Response::new(proto::ListPurposesResponse {
            purposes,
            next_page_token,
        }))
    }

    async fn update_purpose(
        &self,
        request: Request<proto::UpdatePurposeRequest>,
    ) -> Answer<proto::UpdatePurposeResponse> {
        self.admit(&request, &request.get_ref().business_id).await?;
        let deadline = deadline(&request);
        let request = request.into_inner();
        let (business, purpose) =
            convert::read_purpose(&request.business_id, request.purpose).map_err(|e| of(&e))?;
        let stored = self.write(deadline, "purpose", |catalog| async move {
            let (stored, _) = catalog.update_purpose(&business, purpose).await?;
            Ok(convert::write_purpose(&business, &stored))
        });
        Ok(Response::new(proto::UpdatePurposeResponse {
            purpose: Some(stored.await?),
        }))
    }

    async fn create_notice(
        &self,
        request: Request<proto::CreateNoticeRequest>,
    ) -> Answer<proto::CreateNoticeResponse> {
        self.admit(&request, &request.get_ref().business_id).await?;
        let deadline = deadline(&request);
        let request = request.into_inner();
        let convert::NewNotice {
            business,
            notice,
            as_given,
        } = convert::read_notice(&request.business_id, request.notice).map_err(|e| of(&e))?;
        let stored = self.write(deadline, "notice", |catalog| async move {
            let stored = catalog.create_notice(&business, notice).await;
            let (stored, _) = stored.map_err(|error| as_given.restore(error))?;
            Ok(convert::write_notice(&business, &stored))
        });
        Ok(Response::new(proto::CreateNoticeResponse {
            notice: Some(stored.await?),
        }))
    }

    async fn get_notice(
        &self,
        request: Request<proto::GetNoticeRequest>,
    ) -> Answer<proto::GetNoticeResponse> {
        self.admit(&request, &request.get_ref().business_id).await?;
        let deadline = deadline(&request);
        let (business, wanted) = convert::get_notice(request.get_ref()).map_err(|e| of(&e))?;
        let known = self.business(deadline, &business).await?;
        let notice = wanted
            .of(known.catalog())
            .ok_or_else(|| missing("notice", &wanted))?;
        let notice = Some(convert::write_notice(&business, notice));
        Ok(Response::new(proto::GetNoticeResponse { notice }))
    }

    async fn list_notices(
        &self,
        request: Request<proto::ListNoticesRequest>,
    ) -> Answer<proto::ListNoticesResponse> {
        self.admit(&request, &request.get_ref().business_id).await?;
        let deadline = deadline(&request);
        let convert::ListedNotices {
            business,
            notice_id,
            page,
        } = convert::list_notices(request.get_ref()).map_err(|e| of(&e))?;
        let known = self.business(deadline, &business).await?;
        let wanted = |name: &NoticeRef| notice_id.as_ref().is_none_or(|id| name.notice_id == *id);
        let all = known
            .catalog()
            .notices
            .iter()
            .filter(|(name, _)| wanted(name));
        let (notices, next_page_token) =
            page.cut(all, |notice| convert::write_notice(&business, notice));
        Ok(Response::new(proto::ListNoticesResponse {
            notices,
            next_page_token,
        }))
    }
}
