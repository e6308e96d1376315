//! Which of our RoleBindings are gone. Of each only its name is known, and only while a list of them comes in is it kept.

use std::collections::HashSet;

use contract::objects;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::ResourceExt as _;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::Event;

use super::needs::Key;
use super::queue::Book;

/// The RoleBindings of labelled StatefulSets, as far as they are known.
#[derive(Debug, Default)]
pub(crate) struct Bindings {
    /// Those of the list that is coming in.
    listed: HashSet<Key>,
}

impl Bindings {
    /// The StatefulSets in the book whose RoleBinding is gone.
    pub(crate) fn hear(&mut self, event: Event<PartialObjectMeta<RoleBinding>>, book: &Book) -> Vec<Key> {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(binding) => self.listed.extend(owner(&binding)),
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                return book.without(&listed).iter().map(|key| key.as_ref().clone()).collect();
            }
            Event::Apply(_) => {}
            Event::Delete(binding) => return owner(&binding).into_iter().collect(),
        }
        vec![]
    }
}

/// The StatefulSet that a RoleBinding of this name is for.
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
    fn what_is_deleted_or_lacks_in_a_list_is_gone() {
        let (mut book, now) = (Book::default(), Instant::now());
        for name in ["a", "b"] {
            let set: Labelled = serde_json::from_value(json!({
                "metadata": { "namespace": "shop", "name": name, "uid": name },
                "spec": { "template": { "spec": { "containers": [] } } },
            }))
            .unwrap();
            book.hear(Event::Apply(set), now);
            let (key, _) = book.take(now).unwrap();
            book.done(&key, &[], now, 0.0);
        }
        let mut bindings = Bindings::default();
        let mut hear = |event| names(bindings.hear(event, &book));
        for _ in 0..2 {
            assert_eq!(hear(Event::Init), [""; 0]);
            assert_eq!(hear(Event::InitApply(binding("a-couchdiscover"))), [""; 0]);
            assert_eq!(hear(Event::InitApply(binding("of-somebody"))), [""; 0]);
            assert_eq!(hear(Event::InitDone), ["shop/b"]);
        }
        assert_eq!(hear(Event::Apply(binding("b-couchdiscover"))), [""; 0]);
        assert_eq!(hear(Event::Delete(binding("a-couchdiscover"))), ["shop/a"]);
        assert_eq!(hear(Event::Delete(binding("of-somebody"))), [""; 0]);
    }
}
