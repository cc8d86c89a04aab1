//! Class 40, exchange, with RabbitMQ's bindings between exchanges.

use super::field::RawTable;
use super::wire::method;

pub const CLASS: u16 = 40;

method! {
    Declare<'a> = "exchange.declare" (40, 10) { ticket: u16, exchange: &'a str, kind: &'a str }
    [passive, durable, auto_delete, internal, no_wait] { arguments: RawTable<'a> }
}
method! {
    DeclareOk = "exchange.declare-ok" (40, 11) {}
}
method! {
    Delete<'a> = "exchange.delete" (40, 20) { ticket: u16, exchange: &'a str } [if_unused, no_wait]
}
method! {
    DeleteOk = "exchange.delete-ok" (40, 21) {}
}
method! {
    Bind<'a> = "exchange.bind" (40, 30) { ticket: u16, destination: &'a str, source: &'a str, routing_key: &'a str }
    [no_wait] { arguments: RawTable<'a> }
}
method! {
    BindOk = "exchange.bind-ok" (40, 31) {}
}
method! {
    Unbind<'a> = "exchange.unbind" (40, 40) { ticket: u16, destination: &'a str, source: &'a str, routing_key: &'a str }
    [no_wait] { arguments: RawTable<'a> }
}
method! {
    /// Its number is 51, not 41: a slip in RabbitMQ's extension that everybody follows.
    UnbindOk = "exchange.unbind-ok" (40, 51) {}
}
