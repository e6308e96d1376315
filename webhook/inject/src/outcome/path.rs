//! Field paths in messages.

/// The field path of an annotation of the StatefulSet.
pub(crate) fn annotation_path(key: &str) -> String {
    format!("metadata.annotations[{key}]")
}
