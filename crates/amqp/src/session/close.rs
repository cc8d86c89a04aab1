//! How channels and connections end when something goes wrong.

use model::{Complaint, Now, Output};

use super::channel::ChannelState;
use super::errors::{Code, Fault};
use super::handshake::Phase;
use super::reply::Awaited;
use super::{AmqpSession, CLOSE_TIMEOUT_MS, SILENCE_MS};
use crate::codec::frame::{self, Frame, HEARTBEAT, METHOD};
use crate::codec::{channel as channel_class, connection};

/// Complaints kept until somebody asks for them: channels that all fail at once.
const COMPLAINTS_MAX: usize = 64;

impl AmqpSession {
    /// Close the channel or the connection over a fault.
    pub(super) fn fail(&mut self, number: u16, fault: Fault, now: Now, out: &mut Output) {
        if fault.is_hard() || number == 0 || self.phase != Phase::Running {
            return self.fail_connection(&fault, now, out);
        }
        self.complain(Complaint {
            text: format!("channel {number}: {}", fault.reply_text()),
            ends_connection: false,
            ..fault.complaint()
        });
        self.awaited = Awaited::default();
        self.asks_next = None;
        // What is safe is said before the channel forgets it.
        self.send_acks(out);
        if let Ok(index) = self.find(number) {
            self.channels[index].closing();
            self.scopes_to_close.push(number);
        }
        let close = channel_class::Close {
            reply_code: fault.reply_code(),
            reply_text: &fault.reply_text(),
            class_id: fault.class,
            method_id: fault.method,
        };
        out.write(|out| frame::put_method(out, number, &close));
    }

    pub(super) fn fail_connection(&mut self, fault: &Fault, now: Now, out: &mut Output) {
        match self.phase {
            Phase::Closing | Phase::Deaf | Phase::Silent | Phase::Closed => {
                // It was told once; now it does not even part in good order.
                self.phase = Phase::Closed;
                return;
            }
            // Whoever has not logged in is told nothing, and made to wait.
            Phase::Greeting | Phase::Starting | Phase::Securing if fault.code != Code::AccessRefused => {
                self.complain(fault.complaint());
                self.fall_silent(now);
                return;
            }
            _ => {}
        }
        // A shutdown is no fault of the peer's, and the broker tells of refused logins by itself.
        if !matches!(fault.code, Code::ConnectionForced | Code::AccessRefused) {
            self.complain(fault.complaint());
        }
        self.send_acks(out);
        self.part_with_channels();
        self.phase = if fault.out_of_step { Phase::Deaf } else { Phase::Closing };
        self.timers.set_deadline(now, if fault.out_of_step { SILENCE_MS } else { CLOSE_TIMEOUT_MS });
        self.timers.stop_heartbeats();
        let close = connection::Close {
            reply_code: fault.reply_code(),
            reply_text: &fault.reply_text(),
            class_id: fault.class,
            method_id: fault.method,
        };
        out.write(|out| frame::put_method(out, 0, &close));
    }

    pub(super) fn complain(&mut self, complaint: Complaint) {
        if self.complaints.len() < COMPLAINTS_MAX {
            self.complaints.push(complaint);
        }
    }

    /// The connection is over for a reason that its peer is not told.
    pub(super) fn complain_of(&mut self, text: impl Into<String>) {
        self.complain(Complaint { text: text.into(), code: 0, operation: "", ends_connection: true });
    }

    /// The channels go with the connection; the broker hears of it with the next polls.
    pub(super) fn part_with_channels(&mut self) {
        self.awaited = Awaited::default();
        self.asks_next = None;
        self.held_until = None;
        self.held_answer = Vec::new();
        let open = self.channels.iter().filter(|channel| channel.state == ChannelState::Open);
        self.scopes_to_close.extend(open.map(|channel| channel.number));
        self.channels = Vec::new();
    }

    pub(super) fn fall_silent(&mut self, now: Now) {
        self.phase = Phase::Silent;
        self.timers.set_deadline(now, SILENCE_MS);
    }

    pub(super) fn shut_down(&mut self, reason: &'static str, now: Now, out: &mut Output) {
        match self.phase {
            Phase::Running => self.fail_connection(&Fault::new(Code::ConnectionForced, reason), now, out),
            Phase::Closing | Phase::Deaf => {}
            _ => self.phase = Phase::Closed,
        }
    }
}

/// A frame that may not come here, worded as RabbitMQ does.
pub(super) fn unexpected(frame: Frame<'_>) -> Fault {
    let known = match frame.kind {
        HEARTBEAT => frame.payload.is_empty(),
        METHOD => frame.payload.len() >= 4,
        frame::HEADER => frame.payload.len() >= 12,
        _ => true,
    };
    let (all, shown) = match frame.payload.get(..16) {
        Some(first) if frame.payload.len() > 16 => ("first 16", first),
        _ => ("all", frame.payload),
    };
    let octets = shown.iter().map(u8::to_string).collect::<Vec<_>>().join(",");
    let text = format!("type {}, {all} octets = <<{octets}>>", frame.kind);
    if known { Fault::new(Code::UnexpectedFrame, text) } else { Fault::new(Code::FrameError, format!("{text}: unknown_frame")) }
}
