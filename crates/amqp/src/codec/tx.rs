//! Class 90, tx: publishes and acknowledgements that take effect together.

use super::wire::method;

pub const CLASS: u16 = 90;

method! { Select = "tx.select" (90, 10) {} }
method! { SelectOk = "tx.select-ok" (90, 11) {} }
method! { Commit = "tx.commit" (90, 20) {} }
method! { CommitOk = "tx.commit-ok" (90, 21) {} }
method! { Rollback = "tx.rollback" (90, 30) {} }
method! { RollbackOk = "tx.rollback-ok" (90, 31) {} }
