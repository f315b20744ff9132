//! `LedgerService`: what auditors and data protection officers call.

use tonic::{Request, Response, Status};

use super::proto::{self, ledger_service_server};
use super::status;

/// The service; erasure follows.
#[derive(Debug, Clone, Default)]
pub struct LedgerService;

#[tonic::async_trait]
impl ledger_service_server::LedgerService for LedgerService {
    async fn erase_subject(
        &self,
        _: Request<proto::EraseSubjectRequest>,
    ) -> Result<Response<proto::EraseSubjectResponse>, Status> {
        Err(status::unimplemented("EraseSubject"))
    }
}
