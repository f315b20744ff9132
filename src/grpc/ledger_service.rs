//! `LedgerService`: what auditors and data protection officers call.

use tonic::{Request, Response, Status};

use super::Services;
use super::admission::admit_known;
use super::convert::erase;
use super::layer::{self, deadline};
use super::proto::{self, ledger_service_server};
use super::status;
use crate::auth::Gate;
use crate::consents::Consents;
use crate::domain::caller::Permission;

/// The service over the use cases.
#[derive(Debug, Clone)]
pub struct LedgerService {
    consents: Consents,
    gate: Gate,
}

impl LedgerService {
    pub fn new(services: &Services) -> Self {
        Self {
            consents: services.consents.clone(),
            gate: services.gate.clone(),
        }
    }
}

#[tonic::async_trait]
impl ledger_service_server::LedgerService for LedgerService {
    async fn erase_subject(
        &self,
        request: Request<proto::EraseSubjectRequest>,
    ) -> Result<Response<proto::EraseSubjectResponse>, Status> {
        let business = Some(request.get_ref().business_id.as_str());
        let admitted = admit_known(&self.gate, &request, Permission::Operate, business).await?;
        let caller = admitted.name().cloned();
        let deadline = deadline(&request);
        let asked = erase::erase(request.into_inner()).map_err(|e| status::of(&e))?;
        let consents = self.consents.for_caller(caller);
        let call = async move { consents.erase(asked).await.map_err(|e| status::of(&e)) };
        Ok(Response::new(erase::erased(
            layer::write(deadline, call).await?,
        )))
    }
}
