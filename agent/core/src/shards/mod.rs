//! Shard maps, and the result of a comparison of shards.

mod completeness;
mod map;

pub use completeness::came_empty;
pub use map::{ShardMap, with_copy};
