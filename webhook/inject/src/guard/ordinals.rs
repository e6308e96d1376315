//! The ordinals of a StatefulSet's pods before and after a change.

use std::ops::Range;

/// The ordinals of all pods: a first one and the number of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ordinals {
    pub(super) start: u32,
    pub(super) count: u32,
}

impl Ordinals {
    fn range(self) -> Range<u64> {
        let start = u64::from(self.start);
        start..start + u64::from(self.count)
    }

    /// The ordinals that `new` does not have, as ranges below and above those that stay. Never listed one by one: a size may
    /// be any number.
    pub(super) fn without(self, new: Self) -> [Range<u64>; 2] {
        let (old, new) = (self.range(), new.range());
        let stay = old.start.max(new.start)..old.end.min(new.end);
        if stay.is_empty() {
            return [old, 0..0];
        }
        [old.start..stay.start, stay.end..old.end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn removed(old: (u32, u32), new: (u32, u32)) -> Vec<u64> {
        let [old, new] = [old, new].map(|(start, count)| Ordinals { start, count });
        old.without(new).into_iter().flatten().collect()
    }

    #[test]
    fn the_removed_ordinals_are_those_that_the_new_size_does_not_have() {
        assert_eq!(removed((0, 5), (0, 3)), [3, 4]);
        assert_eq!(removed((0, 3), (0, 5)), [0; 0]);
        assert_eq!(removed((0, 3), (0, 3)), [0; 0]);
        assert_eq!(removed((10, 3), (10, 1)), [11, 12]);
        assert_eq!(removed((0, 2), (0, 0)), [0, 1]);
        assert_eq!(removed((0, 0), (5, 3)), [0; 0]);
        assert_eq!(removed((0, 3), (2, 3)), [0, 1], "another start removes the first ones");
        assert_eq!(removed((0, 5), (1, 3)), [0, 4]);
        assert_eq!(removed((0, 2), (7, 2)), [0, 1]);
        let all = Ordinals { start: u32::MAX, count: u32::MAX };
        assert_eq!(all.without(Ordinals { start: 0, count: 1 })[0].clone().count(), u32::MAX as usize);
    }
}
