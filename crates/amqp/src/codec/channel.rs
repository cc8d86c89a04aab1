//! Class 20, channel: lanes inside a connection.

use super::wire::method;

pub const CLASS: u16 = 20;

method! {
    Open<'a> = "channel.open" (20, 10) { reserved: &'a str }
}
method! {
    OpenOk<'a> = "channel.open-ok" (20, 11) { reserved: &'a [u8] }
}
method! {
    Flow = "channel.flow" (20, 20) {} [active]
}
method! {
    FlowOk = "channel.flow-ok" (20, 21) {} [active]
}
method! {
    Close<'a> = "channel.close" (20, 40)
    { reply_code: u16, reply_text: &'a str, class_id: u16, method_id: u16 }
}
method! {
    CloseOk = "channel.close-ok" (20, 41) {}
}
