//! The command line's own blocking client.

#[path = "../../src/cli/link.rs"]
pub mod link;
#[path = "../../src/cli/url.rs"]
pub mod url;
