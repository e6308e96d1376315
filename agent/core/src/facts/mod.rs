//! The observations of a round. Nothing in this module decides.

mod identity;
mod kubernetes;
mod maps;
mod moves;
mod node;
mod observed;

pub use identity::{Digest, Identity, IdentityPart};
pub use kubernetes::{
    ApiState, KnownRecord, LeaseState, PodInstance, PodManagement, Publication, SetFacts, Size, ZoneFacts,
    ZoneRule,
};
pub use maps::{BrokenMaps, LostRanges, MapProblem, NamedDatabases};
pub use moves::{CountedCopies, MapDemands, MoveFacts, Pause, Rebalance};
pub use node::{Login, MaintenanceMode, Node, Release, Spread, SystemDatabase, Unseen, UpAnswer, VolumeNote};
pub use observed::{Observed, PortCheck, Stalled, VolumeOrigin, WriteFailure};
