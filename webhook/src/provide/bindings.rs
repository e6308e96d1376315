//! Deletions of the RoleBindings that were provided.
//!
//! Only names are read, and they are kept only while a list of all RoleBindings comes in.

use std::collections::HashSet;

use contract::objects;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::ResourceExt as _;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::Event;

use super::needs::Key;
use super::queue::Queue;

/// Detects StatefulSets without their RoleBinding.
#[derive(Debug, Default)]
pub(crate) struct Bindings {
    /// The part of the current list that has come in.
    listed: HashSet<Key>,
}

impl Bindings {
    /// Returns the StatefulSets of the queue that have lost their RoleBinding.
    pub(crate) fn observe(
        &mut self,
        event: Event<PartialObjectMeta<RoleBinding>>,
        queue: &Queue,
    ) -> Vec<Key> {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(binding) => self.listed.extend(owner(&binding)),
            // Those deleted while the watch was interrupted cause no event, and are missing from the list.
            Event::InitDone => return queue.missing_from(&std::mem::take(&mut self.listed)),
            // An existing RoleBinding is left alone, whatever its contents.
            Event::Apply(_) => {}
            Event::Delete(binding) => return owner(&binding).into_iter().collect(),
        }
        vec![]
    }
}

/// The StatefulSet that a RoleBinding of this name belongs to.
fn owner(binding: &PartialObjectMeta<RoleBinding>) -> Option<Key> {
    let name = objects::companion_of(&binding.name_any())?.to_owned();
    Some(Key { namespace: binding.namespace()?, name })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::time::Instant;

    use super::super::needs::Labelled;
    use super::*;

    fn binding(name: &str) -> PartialObjectMeta<RoleBinding> {
        serde_json::from_value(json!({ "metadata": { "namespace": "shop", "name": name } })).unwrap()
    }

    fn names(keys: Vec<Key>) -> Vec<String> {
        keys.into_iter().map(|key| format!("{}/{}", key.namespace, key.name)).collect()
    }

    #[test]
    fn a_binding_is_gone_when_it_is_deleted_or_missing_from_a_list() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for name in ["a", "b"] {
            let set: Labelled = serde_json::from_value(json!({
                "metadata": { "namespace": "shop", "name": name, "uid": name },
                "spec": { "template": { "spec": { "containers": [] } } },
            }))
            .unwrap();
            queue.observe(Event::Apply(set), now);
            let (key, _) = queue.take(now).unwrap();
            queue.finish(&key, vec![], now, 0.0);
        }
        let mut bindings = Bindings::default();
        let mut gone = |event| names(bindings.observe(event, &queue));
        for _ in 0..2 {
            assert_eq!(gone(Event::Init), [""; 0]);
            assert_eq!(gone(Event::InitApply(binding("a-couchdiscover"))), [""; 0]);
            assert_eq!(gone(Event::InitApply(binding("unrelated"))), [""; 0]);
            assert_eq!(gone(Event::InitDone), ["shop/b"]);
        }
        assert_eq!(gone(Event::Apply(binding("b-couchdiscover"))), [""; 0]);
        assert_eq!(gone(Event::Delete(binding("a-couchdiscover"))), ["shop/a"]);
        assert_eq!(gone(Event::Delete(binding("unrelated"))), [""; 0]);
    }
}
