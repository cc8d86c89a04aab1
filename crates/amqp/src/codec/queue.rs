//! Class 50, queue.

use super::field::RawTable;
use super::wire::method;

pub const CLASS: u16 = 50;

method! {
    Declare<'a> = "queue.declare" (50, 10) { ticket: u16, queue: &'a str }
    [passive, durable, exclusive, auto_delete, no_wait] { arguments: RawTable<'a> }
}
method! {
    DeclareOk<'a> = "queue.declare-ok" (50, 11) { queue: &'a str, message_count: u32, consumer_count: u32 }
}
method! {
    Bind<'a> = "queue.bind" (50, 20) { ticket: u16, queue: &'a str, exchange: &'a str, routing_key: &'a str }
    [no_wait] { arguments: RawTable<'a> }
}
method! {
    BindOk = "queue.bind-ok" (50, 21) {}
}
method! {
    Purge<'a> = "queue.purge" (50, 30) { ticket: u16, queue: &'a str } [no_wait]
}
method! {
    PurgeOk = "queue.purge-ok" (50, 31) { message_count: u32 }
}
method! {
    Delete<'a> = "queue.delete" (50, 40) { ticket: u16, queue: &'a str } [if_unused, if_empty, no_wait]
}
method! {
    DeleteOk = "queue.delete-ok" (50, 41) { message_count: u32 }
}
method! {
    /// It has no no-wait.
    Unbind<'a> = "queue.unbind" (50, 50)
    { ticket: u16, queue: &'a str, exchange: &'a str, routing_key: &'a str, arguments: RawTable<'a> }
}
method! {
    UnbindOk = "queue.unbind-ok" (50, 51) {}
}
