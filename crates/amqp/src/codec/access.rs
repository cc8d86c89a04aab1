//! Class 30, access: a relic of AMQP 0-8 that old clients still ask for. The ticket means nothing.

use super::wire::method;

pub const CLASS: u16 = 30;

method! {
    Request<'a> = "access.request" (30, 10) { realm: &'a str } [exclusive, passive, active, write, read]
}
method! {
    RequestOk = "access.request-ok" (30, 11) { ticket: u16 }
}
