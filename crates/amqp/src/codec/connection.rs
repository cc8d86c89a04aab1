//! Class 10, connection: the handshake and the end. All of it happens on channel 0.

use super::field::RawTable;
use super::wire::method;

pub const CLASS: u16 = 10;

method! {
    /// Server: who it is and how one may log in.
    Start<'a> = "connection.start" (10, 10)
    { version_major: u8, version_minor: u8, server_properties: RawTable<'a>, mechanisms: &'a [u8], locales: &'a [u8] }
}
method! {
    /// Client: who it is, and its credentials.
    StartOk<'a> = "connection.start-ok" (10, 11)
    { client_properties: RawTable<'a>, mechanism: &'a str, response: &'a [u8], locale: &'a str }
}
method! {
    Secure<'a> = "connection.secure" (10, 20) { challenge: &'a [u8] }
}
method! {
    SecureOk<'a> = "connection.secure-ok" (10, 21) { response: &'a [u8] }
}
method! {
    /// Server: its limits. The heartbeat is in seconds.
    Tune = "connection.tune" (10, 30) { channel_max: u16, frame_max: u32, heartbeat: u16 }
}
method! {
    /// Client: the limits that hold from here on.
    TuneOk = "connection.tune-ok" (10, 31) { channel_max: u16, frame_max: u32, heartbeat: u16 }
}
method! {
    Open<'a> = "connection.open" (10, 40) { virtual_host: &'a str, capabilities: &'a str } [insist]
}
method! {
    OpenOk<'a> = "connection.open-ok" (10, 41) { known_hosts: &'a str }
}
method! {
    Close<'a> = "connection.close" (10, 50)
    { reply_code: u16, reply_text: &'a str, class_id: u16, method_id: u16 }
}
method! {
    CloseOk = "connection.close-ok" (10, 51) {}
}
method! {
    /// Server (RabbitMQ's extension): publishers are made to wait.
    Blocked<'a> = "connection.blocked" (10, 60) { reason: &'a str }
}
method! {
    Unblocked = "connection.unblocked" (10, 61) {}
}
method! {
    /// Client (RabbitMQ's extension): a fresh token.
    UpdateSecret<'a> = "connection.update-secret" (10, 70) { new_secret: &'a [u8], reason: &'a str }
}
method! {
    UpdateSecretOk = "connection.update-secret-ok" (10, 71) {}
}
