//! Shard maps, and the comparison of the shards that they list.

mod completeness;
mod copies;
mod fill;
mod map;
mod range;
mod survey;

pub use copies::{FileState, Goal, OtherCopy, Properties, Property, Repair, ShardState, reads_properties};
pub use fill::{Fill, is_placeholder};
pub use map::{LocalShard, OtherFile, ShardMap, missing_ranges, shard_file, with_copy};
pub(crate) use range::Range;
pub use range::decides_quorum;
pub use survey::{Compared, Next, PageRequest, Purpose, Survey, sync_is_due};
