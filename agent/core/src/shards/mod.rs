//! Shard maps, and what the comparison of shards shows.

mod completeness;
mod map;

pub use completeness::came_empty;
pub use map::{ShardMap, with_copy};
