//! Shard maps, and the comparison of the shards that they list.

mod completeness;
mod map;
mod survey;

pub use map::{ShardMap, with_copy};
pub use survey::{
    Compared, LocalShard, Next, OtherCopy, PageRequest, Purpose, ShardCounts, Survey, local_shards,
};
