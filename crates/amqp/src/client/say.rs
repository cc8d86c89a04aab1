//! What a client says.

use model::Table;

use super::{Client, PublishTemplate};
use crate::codec::wire::MethodArguments;
use crate::codec::{Properties, RawTable, basic, channel, confirm, connection, field, frame, queue, tx};

/// What a client says. None of these touches the state: they append frames to `out`.
impl Client {
    /// Any method that carries no content.
    pub fn send<'m, M: MethodArguments<'m>>(&self, out: &mut Vec<u8>, channel: u16, method: &M) {
        frame::put_method(out, channel, method);
    }

    pub fn open_channel(&self, out: &mut Vec<u8>, channel: u16) {
        self.send(out, channel, &channel::Open::default());
    }

    pub fn close_channel(&self, out: &mut Vec<u8>, channel: u16) {
        self.send(out, channel, &channel::Close { reply_code: 200, reply_text: "bye", class_id: 0, method_id: 0 });
    }

    pub fn close(&self, out: &mut Vec<u8>) {
        self.send(out, 0, &connection::Close { reply_code: 200, reply_text: "bye", class_id: 0, method_id: 0 });
    }

    pub fn heartbeat(&self, out: &mut Vec<u8>) {
        frame::put_heartbeat(out);
    }

    /// Declare a queue; `template` carries name and flags: `queue::Declare { queue: "q", durable: true, ..Default::default() }`.
    pub fn declare_queue(&self, out: &mut Vec<u8>, channel: u16, template: queue::Declare<'_>, arguments: &Table) {
        let entries = field::encode_entries(arguments);
        self.send(out, channel, &queue::Declare { arguments: RawTable(&entries), ..template });
    }

    pub fn confirm_select(&self, out: &mut Vec<u8>, channel: u16) {
        self.send(out, channel, &confirm::Select { no_wait: false });
    }

    pub fn tx_select(&self, out: &mut Vec<u8>, channel: u16) {
        self.send(out, channel, &tx::Select {});
    }

    pub fn prefetch(&self, out: &mut Vec<u8>, channel: u16, count: u16) {
        self.send(out, channel, &basic::Qos { prefetch_size: 0, prefetch_count: count, global: false });
    }

    pub fn consume(&self, out: &mut Vec<u8>, channel: u16, queue: &str, consumer_tag: &str, no_ack: bool) {
        self.send(out, channel, &basic::Consume { queue, consumer_tag, no_ack, ..basic::Consume::default() });
    }

    pub fn get(&self, out: &mut Vec<u8>, channel: u16, queue: &str, no_ack: bool) {
        self.send(out, channel, &basic::Get { ticket: 0, queue, no_ack });
    }

    pub fn ack(&self, out: &mut Vec<u8>, channel: u16, tag: u64, multiple: bool) {
        self.send(out, channel, &basic::Ack { delivery_tag: tag, multiple });
    }

    pub fn nack(&self, out: &mut Vec<u8>, channel: u16, tag: u64, multiple: bool, requeue: bool) {
        self.send(out, channel, &basic::Nack { delivery_tag: tag, multiple, requeue });
    }

    /// Publish one message. For many alike, a [`PublishTemplate`] is cheaper.
    pub fn publish(
        &self,
        out: &mut Vec<u8>,
        channel: u16,
        exchange: &str,
        routing_key: &str,
        properties: &Properties<'_>,
        body: &[u8],
    ) {
        let publish = basic::Publish { exchange, routing_key, ..basic::Publish::default() };
        PublishTemplate::new(channel, publish, properties).put(out, self.frame_max(), body);
    }
}
