//! Moving copies between nodes, without a moment in which a reader meets an incomplete one or a write is lost.
//!
//! | | |
//! |---|---|
//! | `document` | a shard map that is changed, and the moves that it shows |
//! | `holdings` | the copies on each node, for the record on the Lease |
//! | `proof` | what shows that a copy is complete |
//! | `roster` | the nodes between which copies are moved |
//! | `plan` | which copies move where |
//! | `planner` | the plan of a task, carried out or shown |
//! | `work` | the moves of one database: from facts to the next call |
//!
//! The phases of a move from x to y:
//!
//! | phase | in the map | ends when |
//! |---|---|---|
//! | [`Phase::Begin`] | x | y has no old file, and a placeholder for y is in the map |
//! | [`Phase::Fill`] | x, placeholder | y has everything that the holders have, its properties and views: the placeholder is replaced by y, in all ranges at once |
//! | [`Phase::Confirm`] | x, y | x and y have everything of each other, and readers had time: x leaves the map |
//! | [`Phase::Verify`] | y | everything that x still got is on y. If x has forgotten to push it, x returns into the map |

mod document;
mod holdings;
mod plan;
mod planner;
mod proof;
mod roster;
mod work;

pub use document::{Change, ChangeKind, Document, Move, Phase};
pub use holdings::{Holdings, recorded_after};
pub use plan::{Demands, Found, Loads, Rebalance, drain, raise};
pub use planner::{Aim, Pass, Planner, Preview};
pub use proof::FileFacts;
pub use roster::Roster;
pub use work::{Action, CopyOver, Facts, FileKey, Hindrance, Pace, Waiting, Work};
