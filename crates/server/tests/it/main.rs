//! The real binary, as a user starts it and as an enemy meets it.
//!
//! # Layout
//! - [`yam`]: starting and stopping it; [`cli`]: a client
//! - [`starting`]: what it prints, what it refuses, and what a refusal leaves untouched
//! - [`stopping`]: SIGTERM and SIGKILL, and what is there after them
//! - [`commands`]: the other commands
//! - [`hostile`]: input nobody should send
//! - [`logs`]: whoever reads the log, and what clients can do to it
//! - [`bounds`]: clients that ask for more than their share
//! - [`batches`]: records that are not what they say

mod batches;
mod bounds;
mod cli;
mod commands;
mod hostile;
mod logs;
mod starting;
mod stopping;
mod yam;
