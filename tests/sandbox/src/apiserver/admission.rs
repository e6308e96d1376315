//! Mutating webhooks: selection by rules, the review that they get, and validation of their answer. Pure; the calls are
//! in [`super::hooks`].

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::merge;
use super::select::label_selector_matches;
use super::status::ApiError;
use super::verbs::{Draft, Operation, scale};
use crate::json::{items, lists, strings, text};

/// One entry of a `MutatingWebhookConfiguration`.
#[derive(Debug, Clone)]
pub(crate) struct Hook {
    spec: Value,
}

/// The effect of a failed call, or of an invalid answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailurePolicy {
    /// The user's request fails.
    Fail,
    /// The webhook is skipped.
    Ignore,
}

/// The valid answer of a webhook that allows the request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) patch: Option<Value>,
    pub(crate) warnings: Vec<String>,
    pub(crate) audit: Value,
}

/// A reason for a webhook not to let the request pass.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Refusal {
    /// The webhook denied the request, which is final under either failure policy.
    Denied { error: Box<ApiError>, warnings: Vec<String>, audit: Value },
    /// The call failed or its answer is invalid, so the failure policy decides.
    Broken(String),
}

impl Hook {
    /// All entries of a configuration, in order.
    pub(crate) fn all_of(configuration: &Value) -> Vec<Self> {
        let entries = items(&configuration["webhooks"]);
        entries.map(|spec| Self { spec: spec.clone() }).collect()
    }

    pub(crate) fn name(&self) -> &str {
        text(&self.spec["name"])
    }

    pub(crate) fn failure_policy(&self) -> FailurePolicy {
        match self.spec["failurePolicy"].as_str() {
            Some("Ignore") => FailurePolicy::Ignore,
            // The default of admissionregistration.k8s.io/v1.
            Some(_) | None => FailurePolicy::Fail,
        }
    }

    pub(crate) fn timeout_seconds(&self) -> u64 {
        self.spec["timeoutSeconds"].as_u64().unwrap_or(10)
    }

    pub(crate) fn client_config(&self) -> &Value {
        &self.spec["clientConfig"]
    }

    /// `true` if rules and selectors match. `matchConditions` are CEL, which isn't imitated: they count as true.
    pub(crate) fn applies_to(&self, draft: &Draft, namespace_labels: &Value) -> bool {
        let (object, old) = shown(draft);
        let selector = &self.spec["objectSelector"];
        items(&self.spec["rules"]).any(|rule| rule_covers(rule, draft))
            // A webhook also gets the update that removes the label it selects by.
            && (selects(selector, &object) || old.as_ref().is_some_and(|old| selects(selector, old)))
            // The namespace selector does not apply to cluster-scoped objects.
            && (draft.target.namespace.is_none()
                || label_selector_matches(&self.spec["namespaceSelector"], namespace_labels))
    }

    /// Validates the answer to a review, as `k8s.io/apiserver/pkg/admission/plugin/webhook/request` does.
    pub(crate) fn judge(&self, uid: &str, answer: &Value) -> Result<Verdict, Refusal> {
        if answer["apiVersion"] != "admission.k8s.io/v1" || answer["kind"] != "AdmissionReview" {
            let found = format!("{}, Kind={}", text(&answer["apiVersion"]), text(&answer["kind"]));
            return Err(invalid(format!(
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {found}"
            )));
        }
        let response = &answer["response"];
        if response.is_null() {
            return Err(invalid("webhook response was absent"));
        }
        if response["uid"] != uid {
            return Err(invalid(format!("expected response.uid={uid:?}, got {:?}", text(&response["uid"]))));
        }
        let warnings = strings(&response["warnings"]).map(str::to_owned).collect();
        let audit = response["auditAnnotations"].clone();
        if response["allowed"] != true {
            return Err(Refusal::Denied {
                error: Box::new(self.denied(&response["status"])),
                warnings,
                audit,
            });
        }
        let patch = patch_of(response).map_err(invalid)?;
        Ok(Verdict { patch, warnings, audit })
    }

    /// The error for the user, as `ToStatusErr` of `k8s.io/apiserver/pkg/admission/plugin/webhook/errors` words it.
    fn denied(&self, status: &Value) -> ApiError {
        // A denial is never a success: a missing code, or one below 400, becomes 400.
        let code = status["code"].as_u64().and_then(|c| u16::try_from(c).ok()).unwrap_or(0).max(400);
        let (message, reason) = (text(&status["message"]), text(&status["reason"]));
        let explanation = if message.is_empty() { reason } else { message };
        let denied = format!("admission webhook {:?} denied the request", self.name());
        let message = if explanation.is_empty() {
            format!("{denied} without explanation")
        } else {
            format!("{denied}: {explanation}")
        };
        ApiError::Denied { code, reason: reason.to_owned(), message }
    }
}

fn selects(selector: &Value, object: &Value) -> bool {
    label_selector_matches(selector, &object["metadata"]["labels"])
}

fn invalid(reason: impl AsRef<str>) -> Refusal {
    Refusal::Broken(format!("received invalid webhook response: {}", reason.as_ref()))
}

/// The decoded patch of a response; `None` if it changes nothing.
fn patch_of(response: &Value) -> Result<Option<Value>, String> {
    let (patch, kind) = (&response["patch"], &response["patchType"]);
    if patch.is_null() && kind.is_null() {
        return Ok(None);
    }
    if patch.is_null() {
        return Err("webhook returned response.patchType but not response.patch".to_owned());
    }
    if kind.is_null() {
        return Err("webhook returned response.patch but not response.patchType".to_owned());
    }
    if kind != "JSONPatch" {
        return Err(format!("webhook returned invalid response.patchType of {:?}", text(kind)));
    }
    decoded(patch).map(Some)
}

impl Draft {
    /// The `AdmissionReview` for a webhook.
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
        // These differ from the fields above only under `matchPolicy: Equivalent`, which is not imitated.
        request["requestKind"] = kind;
        request["requestResource"] = resource;
        if let Some(subresource) = &self.target.subresource {
            request["requestSubResource"] = json!(subresource);
        }
        request["name"] = json!(self.key.name);
        if let Some(namespace) = &self.target.namespace {
            request["namespace"] = json!(namespace);
        }
        request["operation"] = json!(self.operation.word());
        request["userInfo"] = user.clone();
        // A deletion has only an old object.
        request["object"] = if self.operation == Operation::Delete { Value::Null } else { object };
        request["oldObject"] = old.unwrap_or(Value::Null);
        request["dryRun"] = json!(self.dry_run);
        request["options"] = json!({"kind": self.operation.options_kind(), "apiVersion": "meta.k8s.io/v1"});
        // As in recorded reviews of requests with a field manager.
        if !self.field_manager.is_empty() && self.operation != Operation::Delete {
            request["options"]["fieldManager"] = json!(self.field_manager);
            request["options"]["fieldValidation"] = json!("Strict");
        }
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request})
    }

    /// Applies a webhook's patch. A patch that doesn't apply fails the request under either failure policy.
    pub(crate) fn change(&mut self, patch: &Value) -> Result<(), ApiError> {
        if self.operation == Operation::Delete {
            let message = format!(
                "admission webhook attempted to modify the object \"{}\", which is not supported for this operation",
                self.key.name
            );
            return Err(ApiError::Internal { message });
        }
        let applied =
            merge::json_patch(shown(self).0, patch).map_err(|message| ApiError::Internal { message })?;
        if self.target.subresource.as_deref() == Some("scale") {
            // A Scale has no other field that can be changed.
            self.new["spec"]["replicas"] = json!(applied["spec"]["replicas"].as_u64().unwrap_or(0));
        } else {
            self.new = applied;
        }
        Ok(())
    }
}

/// The new and the old object in the representation of the requested subresource.
fn shown(draft: &Draft) -> (Value, Option<Value>) {
    let old = draft.old.as_ref().filter(|_| draft.operation != Operation::Create);
    match draft.target.subresource.as_deref() {
        Some("scale") => (scale(&draft.new), old.map(scale)),
        Some(_) | None => (draft.new.clone(), old.cloned()),
    }
}

fn rule_covers(rule: &Value, draft: &Draft) -> bool {
    let resource = &draft.target.resource;
    let scope = match rule["scope"].as_str() {
        Some("Namespaced") => draft.target.namespace.is_some(),
        Some("Cluster") => draft.target.namespace.is_none(),
        // `*`, the default, covers both scopes.
        Some(_) | None => true,
    };
    strings(&rule["resources"]).any(|pattern| resource_matches(pattern, draft))
        && scope
        && lists(&rule["operations"], draft.operation.word())
        && lists(&rule["apiGroups"], &resource.group)
        && lists(&rule["apiVersions"], &resource.version)
}

/// Matches `statefulsets`, `statefulsets/scale` and their forms with `*`. A pattern without `/` covers no subresource;
/// `/*` covers all subresources and the resource itself.
fn resource_matches(pattern: &str, draft: &Draft) -> bool {
    let subresource = draft.target.subresource.as_deref();
    let (plural, covered) = match pattern.split_once('/') {
        None => (pattern, subresource.is_none()),
        Some((plural, "*")) => (plural, true),
        Some((plural, sub)) => (plural, subresource == Some(sub)),
    };
    covered && (plural == "*" || plural == draft.target.resource.plural)
}

fn decoded(patch: &Value) -> Result<Value, String> {
    // kube-rs serializes the bytes as a list of numbers, which Go's decoder also accepts.
    let bytes = match patch.as_array() {
        Some(numbers) => {
            numbers.iter().filter_map(|n| n.as_u64().and_then(|n| u8::try_from(n).ok())).collect()
        }
        None => STANDARD.decode(text(patch)).map_err(|e| e.to_string())?,
    };
    serde_json::from_slice(&bytes).map_err(|e| e.to_string())
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
    fn a_valid_answer_yields_patch_and_warnings() {
        let patch = STANDARD.encode(r#"[{"op":"add","path":"/a","value":1}]"#);
        let response = answer(
            json!({"uid": "u", "allowed": true, "patch": patch, "patchType": "JSONPatch", "warnings": ["w"]}),
        );
        let verdict = hook().judge("u", &response).unwrap();
        assert_eq!(verdict.patch.unwrap()[0]["path"], "/a");
        assert_eq!(verdict.warnings, ["w"]);
        assert_eq!(hook().judge("u", &answer(json!({"uid": "u", "allowed": true}))).unwrap().patch, None);
    }

    #[test]
    fn an_invalid_answer_is_left_to_the_failure_policy() {
        for (response, reason) in [
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
            let wanted = Refusal::Broken(format!("received invalid webhook response: {reason}"));
            assert_eq!(hook().judge("u", &answer(response)), Err(wanted));
        }
        assert!(matches!(hook().judge("u", &json!({})), Err(Refusal::Broken(_))));
    }

    #[test]
    fn denials_are_worded_as_by_a_real_server() {
        let prefix = "admission webhook \"a.b.c\" denied the request";
        assert_eq!(denied(json!({"code": 422, "message": "no"})), (422, format!("{prefix}: no")));
        assert_eq!(denied(json!({"reason": "Invalid"})), (400, format!("{prefix}: Invalid")));
        assert_eq!(denied(Value::Null), (400, format!("{prefix} without explanation")));
    }

    fn denied(status: Value) -> (u16, String) {
        let response = answer(json!({"uid": "u", "allowed": false, "status": status}));
        match hook().judge("u", &response) {
            Err(Refusal::Denied { error, .. }) => (error.code(), error.to_string()),
            other => panic!("{other:?}"),
        }
    }
}
