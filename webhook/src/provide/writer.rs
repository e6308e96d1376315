//! The calls: applying a RoleBinding, creating a Secret, reporting an Event.

use contract::objects;
use contract::text::{MESSAGE_LIMIT, one_line};
use k8s_openapi::api::core::v1::{ObjectReference, Secret};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client};
use rand::TryRng as _;
use rand::rngs::{SysError, SysRng};
use serde_json::{Value, json};
use tracing::debug;

use super::error::{ProvideCause, ProvideError, ProvidedKind};
use super::needs::{Key, Needs};
use crate::kubernetes::{ApiError, call};
use contract::error::chain;

/// Writes the objects that StatefulSets need.
#[derive(Clone)]
pub(crate) struct Writer {
    client: Client,
    recorder: Recorder,
}

impl Writer {
    pub(crate) fn new(client: Client) -> Self {
        let reporter = Reporter { controller: objects::WEBHOOK_MANAGER.to_owned(), instance: None };
        Self { recorder: Recorder::new(client.clone(), reporter), client }
    }

    /// Creates the objects that are missing, and returns the failures. One failure does not stop the other object.
    pub(crate) async fn provide(&self, key: &Key, needs: &Needs) -> Vec<ProvideError> {
        let name = objects::companion(&key.name);
        let mut errors = vec![];
        if let Err(error) = self.apply_binding(key, needs, &name).await {
            let cause = ProvideCause::of_binding(error, key, &name);
            errors.push(ProvideError { kind: ProvidedKind::RoleBinding, name: name.clone(), cause });
        }
        if needs.secret
            && let Err(cause) = self.create_secret(key, &name).await
        {
            errors.push(ProvideError { kind: ProvidedKind::Secret, name, cause });
        }
        errors
    }

    /// Reports the problems as an Event on the StatefulSet.
    pub(crate) async fn report(&self, key: &Key, uid: &str, problems: &[String]) {
        let event = Event {
            type_: EventType::Warning,
            reason: "NotProvidedFor".to_owned(),
            note: Some(one_line(&problems.join("; "), MESSAGE_LIMIT).into_owned()),
            action: "Provide".to_owned(),
            secondary: None,
        };
        let regarding = ObjectReference {
            api_version: Some("apps/v1".to_owned()),
            kind: Some("StatefulSet".to_owned()),
            name: Some(key.name.clone()),
            namespace: Some(key.namespace.clone()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        // kube's Recorder counts a repeated Event in one object, for which the webhook's role has `patch`.
        if let Err(error) = call(self.recorder.publish(&event, &regarding)).await {
            debug!(error = chain(&error), "failed to write an Event");
        }
    }

    async fn apply_binding(&self, key: &Key, needs: &Needs, name: &str) -> Result<(), ApiError> {
        let bindings: Api<RoleBinding> = Api::namespaced(self.client.clone(), &key.namespace);
        // Without force: a binding that another manager has made with other values stays as it is.
        let params = PatchParams::apply(objects::WEBHOOK_MANAGER);
        let patch = Patch::Apply(binding(key, needs, name));
        match call(bindings.patch(name, &params, &patch)).await {
            // Another replica created it at the same moment.
            Err(error) if error.is_already_exists() => {
                call(bindings.patch(name, &params, &patch)).await.map(drop)
            }
            result => result.map(drop),
        }
    }

    /// An existing Secret is neither read nor changed.
    async fn create_secret(&self, key: &Key, name: &str) -> Result<(), ProvideCause> {
        let secret = secret(name, random_hex)?;
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &key.namespace);
        let params =
            PostParams { field_manager: Some(objects::WEBHOOK_MANAGER.to_owned()), ..PostParams::default() };
        match call(secrets.create(&params, &secret)).await {
            // One that exists stays as it is: running nodes may use its cookie.
            Err(error) if !error.is_already_exists() => Err(error.into()),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// The labels of the RoleBindings that are provided, which no other RoleBinding carries.
pub(crate) const BINDING_LABELS: [(&str, &str); 2] =
    [("app.kubernetes.io/name", "couchdiscover"), ("app.kubernetes.io/component", "agent")];

/// Renders the RoleBinding. The StatefulSet owns it: without its pods the role is not needed.
fn binding(key: &Key, needs: &Needs, name: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {
            "name": name,
            "namespace": key.namespace,
            "labels": { BINDING_LABELS[0].0: BINDING_LABELS[0].1, BINDING_LABELS[1].0: BINDING_LABELS[1].1 },
            "ownerReferences": [
                { "apiVersion": "apps/v1", "kind": "StatefulSet", "name": key.name, "uid": needs.uid },
            ],
        },
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": objects::AGENT_CLUSTER_ROLE,
        },
        "subjects": [{ "kind": "ServiceAccount", "name": needs.account, "namespace": key.namespace }],
    })
}

/// Renders the Secret, which has no owner: it stays when the StatefulSet is deleted, as the volumes do, since the nodes
/// of the next StatefulSet must still authenticate to each other.
///
/// It always contains both keys: none can be added later, because the webhook may not read Secrets.
fn secret<E>(name: &str, mut random: impl FnMut() -> Result<String, E>) -> Result<Secret, E> {
    let label = ("app.kubernetes.io/name".to_owned(), "couchdiscover".to_owned());
    let data = [
        (objects::ERLANG_COOKIE_KEY.to_owned(), random()?),
        (objects::AUTH_SECRET_KEY.to_owned(), random()?),
    ];
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some([label].into()),
            ..ObjectMeta::default()
        },
        string_data: Some(data.into()),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    })
}

/// Returns 256 bits from the operating system in hexadecimal, which needs no quotes in a shell or in Erlang.
fn random_hex() -> Result<String, SysError> {
    let mut bytes = [0; 32];
    SysRng.try_fill_bytes(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_keys_of_a_secret_are_256_random_bits() {
        let secret = secret("db-couchdiscover", random_hex).unwrap();
        let data = secret.string_data.unwrap();
        let [cookie, auth] = [objects::ERLANG_COOKIE_KEY, objects::AUTH_SECRET_KEY].map(|key| &data[key]);
        assert_ne!(cookie, auth);
        for text in [cookie, auth] {
            assert!(text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        }
        assert_eq!(secret.metadata.owner_references, None);
    }

    #[test]
    fn a_binding_names_its_owner_and_the_agents_role() {
        let key = Key { namespace: "shop".to_owned(), name: "db".to_owned() };
        let needs =
            Needs { uid: "u-1".to_owned(), account: "couch".to_owned(), secret: false, injected: true };
        insta::assert_snapshot!(binding(&key, &needs, "db-couchdiscover"), @r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","metadata":{"name":"db-couchdiscover","namespace":"shop","labels":{"app.kubernetes.io/name":"couchdiscover","app.kubernetes.io/component":"agent"},"ownerReferences":[{"apiVersion":"apps/v1","kind":"StatefulSet","name":"db","uid":"u-1"}]},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"couchdiscover-agent"},"subjects":[{"kind":"ServiceAccount","name":"couch","namespace":"shop"}]}"#);
    }
}
