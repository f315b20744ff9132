//! `LedgerService`: what auditors and data protection officers call.

use tonic::{Request, Response, Status};

use super::admission::admit;
use super::proto::{self, ledger_service_server};
use super::status;
use crate::auth::Gate;
use crate::domain::caller::Permission;

/// The service; erasure follows.
#[derive(Debug, Clone)]
pub struct LedgerService {
    gate: Gate,
}

impl LedgerService {
    pub fn new(gate: Gate) -> Self {
        Self { gate }
    }
}

#[tonic::async_trait]
impl ledger_service_server::LedgerService for LedgerService {
    async fn erase_subject(
        &self,
        request: Request<proto::EraseSubjectRequest>,
    ) -> Result<Response<proto::EraseSubjectResponse>, Status> {
        let business = &request.get_ref().business_id;
        admit(&self.gate, &request, Permission::Operate, business).await?;
        Err(status::unimplemented("EraseSubject"))
    }
}
