//! `ConsentService`: what senders, BSP adapters and sign-up forms call.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::Services;
use super::admission::{Pass, admit_known};
use super::convert::{answer, check, explain, inbound, report, write};
use super::layer::{self, deadline};
use super::proto::{self, consent_service_server};
use super::shed::Shedding;
use super::status;
use super::stream::{self, Answers, Bounded};
use super::usage::{self, Meter, Usage};
use crate::auth::{Admitted, Gate};
use crate::consents::Consents;
use crate::domain::caller::Permission;
use crate::domain::id::CallerName;

/// The service over the use cases.
#[derive(Debug, Clone)]
pub struct ConsentService {
    consents: Consents,
    gate: Gate,
    shedding: Shedding,
    usage: Usage,
    /// Cancelled when the server ends: streams end then, too.
    stop: CancellationToken,
}

impl ConsentService {
    pub fn new(
        services: &Services,
        shedding: Shedding,
        usage: Usage,
        stop: CancellationToken,
    ) -> Self {
        Self {
            consents: services.consents.clone(),
            gate: services.gate.clone(),
            shedding,
            usage,
            stop,
        }
    }

    /// Whoever may do this, and has not used up what it may do in a second.
    async fn metered<T: Sync>(
        &self,
        request: &Request<T>,
        permission: Permission,
        business: Option<&str>,
        people: usize,
    ) -> Result<(Arc<Meter>, Admitted), Status> {
        let admitted = admit_known(&self.gate, request, permission, business).await?;
        let meter = self.usage.of(&admitted);
        meter.spend(people)?;
        Ok((meter, admitted))
    }

    /// As [`Self::writer`], of what can only give consent or free somebody to be written to.
    async fn metered_writer<T: Sync>(
        &self,
        request: &Request<T>,
        business: &str,
    ) -> Result<Option<CallerName>, Status> {
        let metered = self.metered(request, Permission::Record, Some(business), 1);
        let (_, admitted) = metered.await?;
        Ok(admitted.name().cloned())
    }

    /// Who has something recorded, which is kept with it.
    async fn writer<T: Sync>(
        &self,
        request: &Request<T>,
        permission: Permission,
        business: &str,
    ) -> Result<Option<CallerName>, Status> {
        let admitted = admit_known(&self.gate, request, permission, Some(business)).await?;
        Ok(admitted.name().cloned())
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl consent_service_server::ConsentService for ConsentService {
    async fn check_consent(
        &self,
        request: Request<proto::CheckConsentRequest>,
    ) -> Answer<proto::CheckConsentResponse> {
        let business = &request.get_ref().business_id;
        let (meter, _) = self
            .metered(&request, Permission::Check, Some(business), 1)
            .await?;
        let deadline = deadline(&request);
        let (asked, recipient) = check::check(request.into_inner()).map_err(|e| status::of(&e))?;
        let checked = layer::read(deadline, async {
            self.consents
                .check(&asked, &recipient.address)
                .await
                .map_err(|e| status::of(&e))
        });
        let checked = checked.await?;
        meter.saw(1, usage::unknown([&checked.verdict]));
        Ok(Response::new(answer::checked(checked)))
    }

    /// Its deadline is kept where it is begun: see [`super::front`].
    async fn batch_check_consent(
        &self,
        request: Request<proto::BatchCheckConsentRequest>,
    ) -> Answer<proto::BatchCheckConsentResponse> {
        let business = &request.get_ref().business_id;
        let people = request.get_ref().recipients.len().max(1);
        let (meter, _) = self
            .metered(&request, Permission::Check, Some(business), people)
            .await?;
        let batch = check::batch(request.into_inner()).map_err(|e| status::of(&e))?;
        let _place = self.shedding.batch(batch.recipients.len())?;
        let (addresses, faults) = check::people(check::RECIPIENTS, batch.recipients).await;
        let checked = self.consents.check_many(&batch.asked, &addresses).await;
        let checked = checked.map_err(|e| status::of(&e))?;
        meter.saw(checked.verdicts.len(), usage::unknown(&checked.verdicts));
        Ok(Response::new(answer::batch_checked(checked, faults).await))
    }

    type StreamCheckConsentStream = Answers;

    /// Answers at once, before the question has come: some clients say nothing until they have heard
    /// that they are heard.
    async fn stream_check_consent(
        &self,
        request: Request<Streaming<proto::StreamCheckConsentRequest>>,
    ) -> Answer<Self::StreamCheckConsentStream> {
        let (meter, _) = self.metered(&request, Permission::Check, None, 1).await?;
        let pass = Pass::of(&self.gate, &request);
        let deadline = deadline(&request);
        let requests = pass.over(request.into_inner());
        let decides = Bounded {
            consents: self.consents.clone(),
            shedding: self.shedding.clone(),
            meter,
        };
        let answers = stream::answers(decides, requests, deadline, self.stop.clone());
        Ok(Response::new(answers))
    }

    async fn record_consent(
        &self,
        request: Request<proto::RecordConsentRequest>,
    ) -> Answer<proto::RecordConsentResponse> {
        let business = &request.get_ref().business_id;
        let caller = self.metered_writer(&request, business).await?;
        let deadline = deadline(&request);
        let record = write::record(request.into_inner()).map_err(|e| status::of(&e))?;
        let consents = self.consents.for_caller(caller);
        let call = async move { consents.record(record).await.map_err(|e| status::of(&e)) };
        let (records, consistency_token) =
            answer::recorded(layer::write_in_turn(deadline, &self.shedding, call).await?);
        let receipt = Vec::new();
        Ok(Response::new(proto::RecordConsentResponse {
            records,
            consistency_token,
            receipt,
        }))
    }

    async fn confirm_consent(
        &self,
        request: Request<proto::ConfirmConsentRequest>,
    ) -> Answer<proto::ConfirmConsentResponse> {
        let business = &request.get_ref().business_id;
        let caller = self.metered_writer(&request, business).await?;
        let deadline = deadline(&request);
        let confirm = write::confirm(request.into_inner()).map_err(|e| status::of(&e))?;
        let consents = self.consents.for_caller(caller);
        let call = async move { consents.confirm(confirm).await.map_err(|e| status::of(&e)) };
        let (records, consistency_token) =
            answer::recorded(layer::write_in_turn(deadline, &self.shedding, call).await?);
        let receipt = Vec::new();
        Ok(Response::new(proto::ConfirmConsentResponse {
            records,
            consistency_token,
            receipt,
        }))
    }

    async fn withdraw(
        &self,
        request: Request<proto::WithdrawRequest>,
    ) -> Answer<proto::WithdrawResponse> {
        let business = &request.get_ref().business_id;
        let caller = self
            .writer(&request, Permission::Withdraw, business)
            .await?;
        let deadline = deadline(&request);
        let withdraw = write::withdraw(request.into_inner()).map_err(|e| status::of(&e))?;
        let consents = self.consents.for_caller(caller);
        let call = async move {
            consents
                .withdraw(withdraw)
                .await
                .map_err(|e| status::of(&e))
        };
        Ok(Response::new(answer::withdrawn(
            layer::write(deadline, call).await?,
        )))
    }

    async fn add_suppression(
        &self,
        request: Request<proto::AddSuppressionRequest>,
    ) -> Answer<proto::AddSuppressionResponse> {
        let business = &request.get_ref().business_id;
        let caller = self
            .writer(&request, Permission::Withdraw, business)
            .await?;
        let deadline = deadline(&request);
        let suppress = write::suppress(request.into_inner()).map_err(|e| status::of(&e))?;
        let consents = self.consents.for_caller(caller);
        let call = async move {
            consents
                .suppress(suppress)
                .await
                .map_err(|e| status::of(&e))
        };
        Ok(Response::new(answer::suppressed(
            layer::write(deadline, call).await?,
        )))
    }

    async fn lift_suppression(
        &self,
        request: Request<proto::LiftSuppressionRequest>,
    ) -> Answer<proto::LiftSuppressionResponse> {
        let business = &request.get_ref().business_id;
        let caller = self.metered_writer(&request, business).await?;
        let deadline = deadline(&request);
        let lift = write::lift(request.into_inner()).map_err(|e| status::of(&e))?;
        let consents = self.consents.for_caller(caller);
        let call = async move { consents.lift(lift).await.map_err(|e| status::of(&e)) };
        Ok(Response::new(answer::lifted(
            layer::write_in_turn(deadline, &self.shedding, call).await?,
        )))
    }

    async fn record_registry_check(
        &self,
        request: Request<proto::RecordRegistryCheckRequest>,
    ) -> Answer<proto::RecordRegistryCheckResponse> {
        let business = &request.get_ref().business_id;
        let caller = self.writer(&request, Permission::Record, business).await?;
        let deadline = deadline(&request);
        let check = report::registry_check(request.into_inner()).map_err(|e| status::of(&e))?;
        let consents = self.consents.for_caller(caller);
        let call = async move {
            consents
                .record_registry_check(check)
                .await
                .map_err(|e| status::of(&e))
        };
        Ok(Response::new(report::registry_checked(
            layer::write(deadline, call).await?,
        )))
    }

    async fn report_inbound(
        &self,
        request: Request<proto::ReportInboundRequest>,
    ) -> Answer<proto::ReportInboundResponse> {
        let business = &request.get_ref().business_id;
        let caller = self.writer(&request, Permission::Report, business).await?;
        let deadline = deadline(&request);
        let report = inbound::report(request.into_inner()).map_err(|e| status::of(&e))?;
        let consents = self.consents.for_caller(caller);
        let call = async move {
            consents
                .report_inbound(report)
                .await
                .map_err(|e| status::of(&e))
        };
        Ok(Response::new(inbound::reported(
            layer::write(deadline, call).await?,
        )))
    }

    async fn report_send(
        &self,
        request: Request<proto::ReportSendRequest>,
    ) -> Answer<proto::ReportSendResponse> {
        let business = &request.get_ref().business_id;
        let caller = self.writer(&request, Permission::Report, business).await?;
        let deadline = deadline(&request);
        let send = report::send(request.into_inner()).map_err(|e| status::of(&e))?;
        let consents = self.consents.for_caller(caller);
        let call = async move { consents.report_send(send).await.map_err(|e| status::of(&e)) };
        Ok(Response::new(report::sent(
            layer::write_in_turn(deadline, &self.shedding, call).await?,
        )))
    }

    async fn report_delivery(
        &self,
        request: Request<proto::ReportDeliveryRequest>,
    ) -> Answer<proto::ReportDeliveryResponse> {
        let business = &request.get_ref().business_id;
        let caller = self.writer(&request, Permission::Report, business).await?;
        let deadline = deadline(&request);
        let failure = report::delivery(request.into_inner()).map_err(|e| status::of(&e))?;
        let consents = self.consents.for_caller(caller);
        let call = async move {
            consents
                .report_delivery(failure)
                .await
                .map_err(|e| status::of(&e))
        };
        Ok(Response::new(report::failed(
            layer::write(deadline, call).await?,
        )))
    }

    async fn get_consent(
        &self,
        request: Request<proto::GetConsentRequest>,
    ) -> Answer<proto::GetConsentResponse> {
        let business = &request.get_ref().business_id;
        self.metered(&request, Permission::ReadHistory, Some(business), 1)
            .await?;
        let deadline = deadline(&request);
        let get = check::get(request.into_inner()).map_err(|e| status::of(&e))?;
        let standings = layer::read(deadline, async {
            self.consents
                .standings(&get)
                .await
                .map_err(|e| status::of(&e))
        });
        Ok(Response::new(answer::standings(standings.await?)))
    }

    async fn list_consent_events(
        &self,
        request: Request<proto::ListConsentEventsRequest>,
    ) -> Answer<proto::ListConsentEventsResponse> {
        let business = &request.get_ref().business_id;
        self.metered(&request, Permission::ReadHistory, Some(business), 1)
            .await?;
        let deadline = deadline(&request);
        let list = check::list_events(request.into_inner()).map_err(|e| status::of(&e))?;
        layer::read(deadline, async {
            let page = self.consents.page(
                &list.business,
                &list.recipient,
                &list.page_token,
                list.page_size,
            );
            let (events, next_page_token) = page.await.map_err(|e| status::of(&e))?;
            let events = events.into_iter().map(answer::event).collect();
            Ok(Response::new(proto::ListConsentEventsResponse {
                events,
                next_page_token,
            }))
        })
        .await
    }

    async fn explain_consent(
        &self,
        request: Request<proto::ExplainConsentRequest>,
    ) -> Answer<proto::ExplainConsentResponse> {
        let business = &request.get_ref().business_id;
        self.metered(&request, Permission::ReadHistory, Some(business), 1)
            .await?;
        let deadline = deadline(&request);
        let asked = check::explain(request.into_inner()).map_err(|e| status::of(&e))?;
        let explained = layer::read(deadline, async {
            self.consents
                .explain(&asked)
                .await
                .map_err(|e| status::of(&e))
        });
        Ok(Response::new(explain::explained(explained.await?)))
    }
}
