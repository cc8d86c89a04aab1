//! Class 85, confirm: RabbitMQ's publisher confirms.

use super::wire::method;

pub const CLASS: u16 = 85;

method! { Select = "confirm.select" (85, 10) {} [no_wait] }
method! { SelectOk = "confirm.select-ok" (85, 11) {} }
