//! Values that must not be printed.

use std::fmt;

/// A password. It has no `Display`, and its `Debug` is constant.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `value`.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, to be sent to CouchDB.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_contain_the_value() {
        assert_eq!(format!("{:?} {:#?}", Secret::new("s3cret"), Secret::new("")), "Secret(..) Secret(..)");
    }
}
