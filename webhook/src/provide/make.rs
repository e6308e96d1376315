//! The calls: a RoleBinding that is applied, a Secret that is created.

use contract::objects;
use k8s_openapi::api::core::v1::{ObjectReference, Secret};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client};
use rand::TryRng as _;
use rand::rngs::SysRng;
use serde_json::{Value, json};
use tracing::debug;

use super::needs::{Key, Needs, Problem};
use crate::kubernetes::{CallError, call};

/// Whoever makes what is needed.
#[derive(Clone)]
pub(crate) struct Maker {
    client: Client,
    recorder: Recorder,
}

impl Maker {
    pub(crate) fn new(client: Client) -> Self {
        let reporter = Reporter { controller: objects::WEBHOOK_MANAGER.to_owned(), instance: None };
        Self { recorder: Recorder::new(client.clone(), reporter), client }
    }

    /// Makes what isn't there. What fails doesn't keep the rest from being made.
    pub(crate) async fn provide(&self, key: &Key, needs: &Needs) -> Vec<Problem> {
        let name = objects::companion(&key.name);
        let binding = self.bind(key, needs, &name).await.err().map(|error| why_no_binding(&error));
        let secret = match needs.secret {
            true => self.create_secret(key, &name).await.err(),
            false => None,
        };
        let problem = |object, why: String| Problem { object, name: name.clone(), why };
        let binding = binding.map(|why| problem("RoleBinding", why));
        binding.into_iter().chain(secret.map(|why| problem("Secret", why))).collect()
    }

    /// Says on the StatefulSet what it lacks.
    pub(crate) async fn tell(&self, key: &Key, uid: &str, problems: &[Problem]) {
        let note = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let event = Event {
            type_: EventType::Warning,
            reason: "NotProvidedFor".to_owned(),
            // The API server takes no more than 1 KiB.
            note: Some(note.chars().take(1000).collect()),
            action: "Provide".to_owned(),
            secondary: None,
        };
        let about = ObjectReference {
            api_version: Some("apps/v1".to_owned()),
            kind: Some("StatefulSet".to_owned()),
            name: Some(key.name.clone()),
            namespace: Some(key.namespace.clone()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        if let Err(error) = call(self.recorder.publish(&event, &about)).await {
            debug!(error = error.to_string(), "failed to write an Event");
        }
    }

    /// Not by force: a binding that somebody else has made otherwise is theirs.
    async fn bind(&self, key: &Key, needs: &Needs, name: &str) -> Result<(), CallError> {
        let bindings: Api<RoleBinding> = Api::namespaced(self.client.clone(), &key.namespace);
        let params = PatchParams::apply(objects::WEBHOOK_MANAGER);
        let patch = Patch::Apply(binding(key, needs, name));
        match call(bindings.patch(name, &params, &patch)).await {
            // Another replica made it at the same moment.
            Err(error) if error.status().is_some_and(kube::core::Status::is_already_exists) => {
                call(bindings.patch(name, &params, &patch)).await.map(drop)
            }
            done => done.map(drop),
        }
    }

    /// One that is there already is neither read nor changed.
    async fn create_secret(&self, key: &Key, name: &str) -> Result<(), String> {
        let secret = secret(name, || random().map_err(|error| format!("no randomness: {error}")))?;
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &key.namespace);
        let params =
            PostParams { field_manager: Some(objects::WEBHOOK_MANAGER.to_owned()), ..PostParams::default() };
        match call(secrets.create(&params, &secret)).await {
            Ok(_) => Ok(()),
            Err(error) if error.status().is_some_and(kube::core::Status::is_already_exists) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn why_no_binding(error: &CallError) -> String {
    match error.code() {
        409 => format!("somebody else made it otherwise, and it is left as it is: {error}"),
        422 => format!("there is one that binds another role, and it is left as it is: delete it ({error})"),
        _ => error.to_string(),
    }
}

/// What our RoleBindings carry, and no other.
pub(crate) const BINDING_LABELS: [(&str, &str); 2] =
    [("app.kubernetes.io/name", "couchdiscover"), ("app.kubernetes.io/component", "agent")];

/// It goes with its StatefulSet: without it nobody needs the role.
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

/// It stays when its StatefulSet goes, as the volumes do: the nodes of the next one must still know each other. Both
/// keys are in it whichever is needed now, since none can be added to a Secret that may not be read.
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

/// 256 bits from the operating system, in letters that every shell and every Erlang takes as they are.
fn random() -> Result<String, rand::rngs::SysError> {
    let mut bytes = [0; 32];
    SysRng.try_fill_bytes(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_secrets_of_256_bits_are_never_the_same() {
        let secret = secret("db-couchdiscover", random).unwrap();
        let data = secret.string_data.unwrap();
        let [cookie, auth] = [objects::ERLANG_COOKIE_KEY, objects::AUTH_SECRET_KEY].map(|key| &data[key]);
        assert_ne!(cookie, auth);
        for text in [cookie, auth] {
            assert!(text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        }
        assert_eq!(secret.metadata.owner_references, None);
    }

    #[test]
    fn a_binding_names_its_owner_and_the_one_role() {
        let key = Key { namespace: "shop".to_owned(), name: "db".to_owned() };
        let needs =
            Needs { uid: "u-1".to_owned(), account: "couch".to_owned(), secret: false, injected: true };
        insta::assert_snapshot!(binding(&key, &needs, "db-couchdiscover"), @r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","metadata":{"name":"db-couchdiscover","namespace":"shop","labels":{"app.kubernetes.io/name":"couchdiscover","app.kubernetes.io/component":"agent"},"ownerReferences":[{"apiVersion":"apps/v1","kind":"StatefulSet","name":"db","uid":"u-1"}]},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"couchdiscover-agent"},"subjects":[{"kind":"ServiceAccount","name":"couch","namespace":"shop"}]}"#);
    }
}
