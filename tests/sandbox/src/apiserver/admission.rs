//! Mutating webhooks: which are asked, what they are asked, and what becomes of their answer. Pure; the calls are
//! made elsewhere.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::merge;
use super::select::label_selector_matches;
use super::status::ApiError;
use super::verbs::{Draft, Operation, scale};

/// One entry of a `MutatingWebhookConfiguration`.
#[derive(Debug, Clone)]
pub(crate) struct Hook {
    spec: Value,
}

/// What happens when a webhook can't be asked, or answers nonsense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailurePolicy {
    /// The user's request fails.
    Fail,
    /// The webhook is passed over.
    Ignore,
}

/// What a webhook said, once believed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) patch: Option<Value>,
    pub(crate) warnings: Vec<String>,
    pub(crate) audit: Value,
}

/// Why a webhook's answer doesn't let the request pass.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Refusal {
    /// It said no: that counts under either failure policy.
    Denied {
        /// What the user gets.
        error: Box<ApiError>,
        /// These are shown all the same.
        warnings: Vec<String>,
        /// As the answer had them.
        audit: Value,
    },
    /// The answer is no answer: the failure policy decides.
    Broken(String),
}

impl Hook {
    /// All entries of a configuration, in order.
    pub(crate) fn all_of(configuration: &Value) -> Vec<Self> {
        let hooks = configuration["webhooks"].as_array().into_iter().flatten();
        hooks.map(|spec| Self { spec: spec.clone() }).collect()
    }

    pub(crate) fn name(&self) -> &str {
        self.spec["name"].as_str().unwrap_or_default()
    }

    pub(crate) fn failure_policy(&self) -> FailurePolicy {
        match self.spec["failurePolicy"].as_str() {
            Some("Ignore") => FailurePolicy::Ignore,
            Some(_) | None => FailurePolicy::Fail,
        }
    }

    pub(crate) fn timeout_seconds(&self) -> u64 {
        self.spec["timeoutSeconds"].as_u64().unwrap_or(10)
    }

    pub(crate) fn client_config(&self) -> &Value {
        &self.spec["clientConfig"]
    }

    /// Rules and selectors. `matchConditions` are CEL, which isn't imitated: they are taken as true.
    pub(crate) fn wants(&self, draft: &Draft, namespace_labels: &Value) -> bool {
        let rules = self.spec["rules"].as_array();
        let (object, old) = shown(draft);
        let selector = &self.spec["objectSelector"];
        let labels_of = |object: &Value| object["metadata"]["labels"].clone();
        rules.is_some_and(|rules| rules.iter().any(|rule| rule_covers(rule, draft)))
            && (label_selector_matches(selector, &labels_of(&object))
                || old.as_ref().is_some_and(|old| label_selector_matches(selector, &labels_of(old))))
            && (draft.target.namespace.is_none()
                || label_selector_matches(&self.spec["namespaceSelector"], namespace_labels))
    }

    /// The answer to a review, checked as `k8s.io/apiserver/pkg/admission/plugin/webhook/request` checks it.
    pub(crate) fn judge(&self, uid: &str, answer: &Value) -> Result<Verdict, Refusal> {
        let broken = |why: String| Refusal::Broken(format!("received invalid webhook response: {why}"));
        if answer["apiVersion"] != "admission.k8s.io/v1" || answer["kind"] != "AdmissionReview" {
            let found = format!("{}, Kind={}", text(&answer["apiVersion"]), text(&answer["kind"]));
            return Err(broken(format!(
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {found}"
            )));
        }
        let response = &answer["response"];
        if response.is_null() {
            return Err(broken("webhook response was absent".to_owned()));
        }
        if response["uid"] != uid {
            return Err(broken(format!("expected response.uid={uid:?}, got {:?}", text(&response["uid"]))));
        }
        let warnings = strings(&response["warnings"]);
        if response["allowed"] != true {
            let audit = response["auditAnnotations"].clone();
            return Err(Refusal::Denied {
                error: Box::new(self.denied(&response["status"])),
                warnings,
                audit,
            });
        }
        let patch = match (&response["patch"], &response["patchType"]) {
            (Value::Null, Value::Null) => None,
            (Value::Null, _) => {
                return Err(broken("webhook returned response.patchType but not response.patch".to_owned()));
            }
            (_, Value::Null) => {
                return Err(broken("webhook returned response.patch but not response.patchType".to_owned()));
            }
            (patch, kind) if kind == "JSONPatch" => Some(decoded(patch).map_err(broken)?),
            (_, kind) => {
                let why = format!("webhook returned invalid response.patchType of {:?}", text(kind));
                return Err(broken(why));
            }
        };
        Ok(Verdict { patch, warnings, audit: response["auditAnnotations"].clone() })
    }

    /// `ToStatusErr` of `k8s.io/apiserver/pkg/admission/plugin/webhook/errors`.
    fn denied(&self, status: &Value) -> ApiError {
        let code = status["code"].as_u64().and_then(|c| u16::try_from(c).ok()).unwrap_or(0).max(400);
        let said_no = format!("admission webhook {:?} denied the request", self.name());
        let message = match (text(&status["message"]), text(&status["reason"])) {
            ("", "") => format!("{said_no} without explanation"),
            ("", reason) => format!("{said_no}: {reason}"),
            (message, _) => format!("{said_no}: {message}"),
        };
        ApiError::Denied { code, reason: text(&status["reason"]).to_owned(), message }
    }
}

impl Draft {
    /// The review that a webhook is sent.
    pub(crate) fn review(&self, uid: &str, user: &Value) -> Value {
        let resource = &self.target.resource;
        let (object, old) = shown(self);
        let is_scale = self.target.subresource.as_deref() == Some("scale");
        let kind = if is_scale {
            json!({"group": "autoscaling", "version": "v1", "kind": "Scale"})
        } else {
            json!({"group": resource.group, "version": resource.version, "kind": resource.kind()})
        };
        let resource =
            json!({"group": resource.group, "version": resource.version, "resource": resource.plural});
        let mut request = json!({"uid": uid, "kind": kind, "resource": resource});
        if let Some(subresource) = &self.target.subresource {
            request["subResource"] = json!(subresource);
        }
        request["requestKind"] = kind;
        request["requestResource"] = resource;
        if let Some(subresource) = &self.target.subresource {
            request["requestSubResource"] = json!(subresource);
        }
        request["name"] = json!(self.key.name);
        if let Some(namespace) = &self.target.namespace {
            request["namespace"] = json!(namespace);
        }
        let options = match self.operation {
            Operation::Create => "CreateOptions",
            Operation::Update => "UpdateOptions",
            Operation::Delete => "DeleteOptions",
        };
        request["operation"] = json!(self.operation.word());
        request["userInfo"] = user.clone();
        request["object"] = if self.operation == Operation::Delete { Value::Null } else { object };
        request["oldObject"] = old.unwrap_or(Value::Null);
        request["dryRun"] = json!(self.dry_run);
        request["options"] = json!({"kind": options, "apiVersion": "meta.k8s.io/v1"});
        if !self.field_manager.is_empty() && self.operation != Operation::Delete {
            request["options"]["fieldManager"] = json!(self.field_manager);
            request["options"]["fieldValidation"] = json!("Strict");
        }
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request})
    }

    /// A patch that doesn't apply fails the request, whatever the failure policy says.
    pub(crate) fn change(&mut self, patch: &Value) -> Result<(), ApiError> {
        let internal = |message: String| ApiError::Internal { message };
        if self.operation == Operation::Delete {
            let name = self.key.name.clone();
            return Err(internal(format!(
                "admission webhook attempted to modify the object \"{name}\", which is not supported for this operation"
            )));
        }
        let applied = merge::json_patch(shown(self).0, patch).map_err(internal)?;
        if self.target.subresource.as_deref() == Some("scale") {
            self.new["spec"]["replicas"] = json!(applied["spec"]["replicas"].as_u64().unwrap_or(0));
        } else {
            self.new = applied;
        }
        Ok(())
    }
}

/// The new and the old object as the request's resource shows them.
fn shown(draft: &Draft) -> (Value, Option<Value>) {
    let old = draft.old.as_ref().filter(|_| draft.operation != Operation::Create);
    match draft.target.subresource.as_deref() {
        Some("scale") => (scale(&draft.new), old.map(scale)),
        Some(_) | None => (draft.new.clone(), old.cloned()),
    }
}

fn rule_covers(rule: &Value, draft: &Draft) -> bool {
    let resource = &draft.target.resource;
    let has = |field: &str, wanted: &str| strings(&rule[field]).iter().any(|r| r == wanted || r == "*");
    let resources = strings(&rule["resources"]);
    let named = resources.iter().any(|r| match (r.split_once('/'), &draft.target.subresource) {
        (None, None) => r == "*" || *r == resource.plural,
        (Some((plural, sub)), Some(wanted)) => {
            (plural == "*" || plural == resource.plural) && (sub == "*" || sub == wanted)
        }
        (Some((plural, sub)), None) => sub == "*" && (plural == "*" || plural == resource.plural),
        (None, Some(_)) => false,
    });
    let scope = match rule["scope"].as_str() {
        Some("Namespaced") => draft.target.namespace.is_some(),
        Some("Cluster") => draft.target.namespace.is_none(),
        Some(_) | None => true,
    };
    named
        && scope
        && has("operations", draft.operation.word())
        && has("apiGroups", &resource.group)
        && has("apiVersions", &resource.version)
}

fn decoded(patch: &Value) -> Result<Value, String> {
    // kube-rs writes the bytes as a list of numbers; the real decoder takes that, too.
    let bytes = match patch.as_array() {
        Some(numbers) => {
            numbers.iter().filter_map(|n| n.as_u64().and_then(|n| u8::try_from(n).ok())).collect()
        }
        None => STANDARD.decode(text(patch)).map_err(|e| e.to_string())?,
    };
    serde_json::from_slice(&bytes).map_err(|e| e.to_string())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook() -> Hook {
        Hook { spec: json!({"name": "a.b.c"}) }
    }

    fn answer(response: Value) -> Value {
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    }

    #[test]
    fn good_answers() {
        let patch = STANDARD.encode(r#"[{"op":"add","path":"/a","value":1}]"#);
        let said = answer(
            json!({"uid": "u", "allowed": true, "patch": patch, "patchType": "JSONPatch", "warnings": ["w"]}),
        );
        let verdict = hook().judge("u", &said).unwrap();
        assert_eq!(verdict.patch.unwrap()[0]["path"], "/a");
        assert_eq!(verdict.warnings, ["w"]);
        assert_eq!(hook().judge("u", &answer(json!({"uid": "u", "allowed": true}))).unwrap().patch, None);
    }

    #[test]
    fn broken_answers_are_for_the_failure_policy() {
        for (response, why) in [
            (json!({"uid": "x", "allowed": true}), "expected response.uid=\"u\", got \"x\""),
            (
                json!({"uid": "u", "allowed": true, "patch": "W10="}),
                "webhook returned response.patch but not response.patchType",
            ),
            (
                json!({"uid": "u", "allowed": true, "patch": "W10=", "patchType": "Merge"}),
                "webhook returned invalid response.patchType of \"Merge\"",
            ),
        ] {
            let wanted = Refusal::Broken(format!("received invalid webhook response: {why}"));
            assert_eq!(hook().judge("u", &answer(response)), Err(wanted));
        }
        assert!(matches!(hook().judge("u", &json!({})), Err(Refusal::Broken(_))));
    }

    #[test]
    fn denials_are_worded_as_the_real_ones() {
        let denied = |status: Value| match hook()
            .judge("u", &answer(json!({"uid": "u", "allowed": false, "status": status})))
        {
            Err(Refusal::Denied { error, .. }) => (error.code(), error.to_string()),
            other => panic!("{other:?}"),
        };
        let said_no = "admission webhook \"a.b.c\" denied the request";
        assert_eq!(denied(json!({"code": 422, "message": "no"})), (422, format!("{said_no}: no")));
        assert_eq!(denied(json!({"reason": "Invalid"})), (400, format!("{said_no}: Invalid")));
        assert_eq!(denied(Value::Null), (400, format!("{said_no} without explanation")));
    }
}
