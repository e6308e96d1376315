//! Objects that an injected pod needs in its namespace: a Secret with an Erlang cookie and a session secret, and a
//! RoleBinding that gives its service account the agents' role.
//!
//! Every replica of the webhook provides them; any replica may repeat any write, so there is no leader. Of each
//! StatefulSet only the fields that decide are kept, a few hundred bytes. A failure is logged, reported as an Event on
//! the StatefulSet, and retried with a growing delay. A RoleBinding that is deleted is created again; of RoleBindings
//! nothing is kept.
//!
//! ```text
//! provider    the loop: watches in, writes out
//! needs       the fields of a StatefulSet, and the objects it needs
//! queue       which StatefulSet is next, and when: no clock, no call
//! bindings    RoleBindings that were deleted
//! drain       replicas that are lowered after a drain: no clock, no call
//! lower       the calls for that
//! writer      the calls
//! ```

mod bindings;
mod drain;
mod error;
mod lower;
mod needs;
mod provider;
mod queue;
mod writer;

pub(crate) use provider::provide;
