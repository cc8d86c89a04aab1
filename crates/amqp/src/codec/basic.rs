//! Class 60, basic: messages. Publish, return, deliver and get-ok are followed by content.

use super::field::RawTable;
use super::wire::method;

pub const CLASS: u16 = 60;

method! {
    Qos = "basic.qos" (60, 10) { prefetch_size: u32, prefetch_count: u16 } [global]
}
method! {
    QosOk = "basic.qos-ok" (60, 11) {}
}
method! {
    Consume<'a> = "basic.consume" (60, 20) { ticket: u16, queue: &'a str, consumer_tag: &'a str }
    [no_local, no_ack, exclusive, no_wait] { arguments: RawTable<'a> }
}
method! {
    ConsumeOk<'a> = "basic.consume-ok" (60, 21) { consumer_tag: &'a str }
}
method! {
    /// Either side: the server tells that the consumer ended without the client's doing.
    Cancel<'a> = "basic.cancel" (60, 30) { consumer_tag: &'a str } [no_wait]
}
method! {
    CancelOk<'a> = "basic.cancel-ok" (60, 31) { consumer_tag: &'a str }
}
method! {
    Publish<'a> = "basic.publish" (60, 40) { ticket: u16, exchange: &'a str, routing_key: &'a str } [mandatory, immediate]
}
method! {
    Return<'a> = "basic.return" (60, 50) { reply_code: u16, reply_text: &'a str, exchange: &'a str, routing_key: &'a str }
}
method! {
    Deliver<'a> = "basic.deliver" (60, 60) { consumer_tag: &'a str, delivery_tag: u64 } [redelivered]
    { exchange: &'a str, routing_key: &'a str }
}
method! {
    Get<'a> = "basic.get" (60, 70) { ticket: u16, queue: &'a str } [no_ack]
}
method! {
    GetOk<'a> = "basic.get-ok" (60, 71) { delivery_tag: u64 } [redelivered]
    { exchange: &'a str, routing_key: &'a str, message_count: u32 }
}
method! {
    GetEmpty<'a> = "basic.get-empty" (60, 72) { reserved: &'a str }
}
method! {
    /// Either side: the server confirms publishes with it.
    Ack = "basic.ack" (60, 80) { delivery_tag: u64 } [multiple]
}
method! {
    Reject = "basic.reject" (60, 90) { delivery_tag: u64 } [requeue]
}
method! {
    RecoverAsync = "basic.recover-async" (60, 100) {} [requeue]
}
method! {
    Recover = "basic.recover" (60, 110) {} [requeue]
}
method! {
    RecoverOk = "basic.recover-ok" (60, 111) {}
}
method! {
    /// Either side (RabbitMQ's extension): the server refuses publishes with it.
    Nack = "basic.nack" (60, 120) { delivery_tag: u64 } [multiple, requeue]
}
