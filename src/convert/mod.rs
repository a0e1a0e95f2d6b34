//! Manifests of External Secrets Operator, and configurations of the agents, into a configuration
//! of ours.
//!
//! Nothing is dropped silently: what has no translation is a [`Remark`] that names manifest, field
//! and reason, and a comment at its place in the output. No credential is ever written. Nothing
//! here writes a file or prints; only [`query`] talks to a server, and only when it is asked to.
//!
//! The way of a manifest: [`input`] finds documents and objects in texts; [`store`] and
//! [`manifest`] read them, leniently; [`registry`] knows which store is meant; [`gather`] says
//! what is read and where each value comes from; [`secret`] makes sources, templates and files of
//! it; [`output`] writes them. What was written is read back by the plan before anybody gets it.

mod agent;
mod facts;
mod gather;
mod helm;
mod input;
mod interval;
mod keys;
mod literal;
mod manifest;
mod name;
mod object;
mod operator;
mod output;
mod path;
mod phrase;
mod property;
mod query;
mod registry;
mod remark;
mod scalar;
mod secret;
mod store;
mod template;
mod tree;

pub use input::{Input, gather};
pub use operator::{Converted, Dialect, Options, convert};
pub use query::Server;
pub use remark::{Remark, Weight};
