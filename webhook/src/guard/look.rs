//! The calls: the Lease, the StatefulSet of a Scale, the webhook's own permission, and the target size.

use std::time::Duration;

use contract::{keys, objects, workload};
use inject::guard::Evidence;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{GetParams, Patch, PatchParams, PostParams, Request};
use kube::{Api, Client};
use serde_json::{Value, json};
use thiserror::Error;
use tokio::sync::OnceCell;

use crate::kubernetes::{ApiError, ConnectError, Kubernetes, connect};

/// A failure to read or write a fact.
#[derive(Debug, Error)]
pub(crate) enum LookError {
    /// The client could not be created.
    #[error("the Kubernetes API cannot be called")]
    Connect(#[from] ConnectError),
    /// The program is configured not to call the API.
    #[error("the webhook does not call the Kubernetes API")]
    Off,
    /// The calls took too long together.
    #[error("the API server did not answer within {0:?}")]
    OutOfTime(Duration),
    /// A call failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// A request could not be built: the name is none that Kubernetes accepts.
    #[error("the request is not valid")]
    Request(#[from] kube::core::request::Error),
}

impl LookError {
    /// `true` if the object has another version than the change was for.
    pub(crate) fn is_conflict(&self) -> bool {
        match self {
            Self::Api(error) => error.code() == 409,
            Self::Connect(_) | Self::Off | Self::OutOfTime(_) | Self::Request(_) => false,
        }
    }
}

/// Reads facts with a client that is created at the first request.
#[derive(Debug)]
pub(crate) struct Look {
    kubernetes: Kubernetes,
    client: OnceCell<ClientCell>,
}

/// `kube::Client` has no debug form.
struct ClientCell(Client);

impl std::fmt::Debug for ClientCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Look {
    pub(super) fn new(kubernetes: Kubernetes) -> Self {
        Self { kubernetes, client: OnceCell::new() }
    }

    /// Uses a client that exists.
    pub(crate) fn of(client: Client) -> Self {
        Self { kubernetes: Kubernetes::Off, client: OnceCell::new_with(Some(ClientCell(client))) }
    }

    /// Changes a StatefulSet by a merge patch.
    pub(crate) async fn patch(&self, namespace: &str, name: &str, change: &Value) -> Result<(), LookError> {
        let params = PatchParams {
            field_manager: Some(objects::WEBHOOK_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let client = self.client().await?;
        let request = Request::new(stateful_sets(namespace)).patch(name, &params, &Patch::Merge(change))?;
        client.request_text(request).await.map_err(ApiError::from)?;
        Ok(())
    }

    /// The records on the Lease of a StatefulSet.
    pub(crate) async fn evidence(&self, namespace: &str, set: &str) -> Result<Evidence, LookError> {
        let leases: Api<Lease> = Api::namespaced(self.client().await?, namespace);
        let lease = leases.get_opt(&objects::companion(set)).await.map_err(ApiError::from)?;
        let annotations = lease.and_then(|lease| lease.metadata.annotations).unwrap_or_default();
        Ok(Evidence::read(|key| annotations.get(key).map(String::as_str)))
    }

    /// A StatefulSet as JSON; `None` if it does not exist.
    pub(super) async fn stateful_set(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<String>, LookError> {
        let client = self.client().await?;
        let request = Request::new(stateful_sets(namespace)).get(name, &GetParams::default())?;
        match client.request_text(request).await.map_err(ApiError::from) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.code() == 404 => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns `true` if the webhook may change the StatefulSet.
    pub(super) async fn may_change(&self, namespace: &str, name: &str) -> Result<bool, LookError> {
        let attributes = ResourceAttributes {
            group: Some("apps".to_owned()),
            resource: Some(workload::PLURAL.to_owned()),
            verb: Some("patch".to_owned()),
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..SelfSubjectAccessReviewSpec::default()
        };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let reviews: Api<SelfSubjectAccessReview> = Api::all(self.client().await?);
        let answer = reviews.create(&PostParams::default(), &review).await.map_err(ApiError::from)?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    /// Sets the target size of a StatefulSet.
    pub(super) async fn set_target(&self, namespace: &str, name: &str, target: u32) -> Result<(), LookError> {
        let change = json!({ "metadata": { "annotations": { keys::TARGET_SIZE: target.to_string() } } });
        self.patch(namespace, name, &change).await
    }

    async fn client(&self) -> Result<Client, LookError> {
        let connecting = self.client.get_or_try_init(async || match connect(&self.kubernetes).await? {
            Some(client) => Ok(ClientCell(client)),
            None => Err(LookError::Off),
        });
        connecting.await.map(|ClientCell(client)| client.clone())
    }
}

fn stateful_sets(namespace: &str) -> String {
    format!("/apis/{}/namespaces/{namespace}/{}", workload::API_VERSION, workload::PLURAL)
}
