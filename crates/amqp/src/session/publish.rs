//! Messages on their way in: `basic.publish`, its content header and its body frames.
//!
//! The usual message lies whole in the input and is borrowed from there. One that comes in several
//! body frames, or with other channels' frames between, is put together in its channel.

use model::{Output, limits};

use super::channel::{Content, Expect};
use super::reply::{Awaited, Kind};
use super::{ASSEMBLY_BYTES_MAX, AmqpSession, Asked, Code, Fault, Step};
use crate::codec::basic;
use crate::codec::content::{Whole, whole};
use crate::codec::frame::{BODY, Frame, HEADER};
use crate::codec::method::MethodError;
use crate::codec::properties::ContentHeader;
use crate::codec::wire::{MethodArguments, Reader};

/// Class and method of `basic.publish`.
pub(super) const PUBLISH: (u16, u16) = (60, 40);
/// Beyond this RabbitMQ does not believe a content header.
const BODY_BYTES_ABSURD: u64 = 536_870_912;

/// Class and method of a method frame's payload; 0.0 where it is too short.
#[inline]
pub(super) fn method_id(payload: &[u8]) -> (u16, u16) {
    match payload.first_chunk::<4>() {
        Some(&[c0, c1, m0, m1]) => (u16::from_be_bytes([c0, c1]), u16::from_be_bytes([m0, m1])),
        None => (0, 0),
    }
}

impl AmqpSession {
    /// `frame`, at the front of `input`, is a `basic.publish` on an open channel.
    pub(super) fn publish<'i>(
        &mut self,
        index: usize,
        input: &mut &'i [u8],
        frame: Frame<'i>,
        out: &mut Output,
    ) -> Result<Step<'i>, Fault> {
        if self.blocked.is_some() {
            // It stays where it is, and so does all that comes after it: the peer feels it by TCP.
            self.published = true;
            self.tell_blocked(out);
            return Ok(Step::More(0));
        }
        if self.channels[index].confirms.is_full() {
            // The next durable mark answers some of them.
            return Ok(Step::More(0));
        }
        let mut reader = Reader::new(frame.payload.get(4..).unwrap_or_default());
        let publish = match basic::Publish::decode(&mut reader) {
            Ok(publish) if reader.is_empty() => publish,
            decoded => {
                *input = input.get(frame.wire_len()..).unwrap_or_default();
                let cause = decoded.err().unwrap_or(crate::codec::WireError::Trailing);
                return Err(MethodError::Arguments { class: PUBLISH.0, method: PUBLISH.1, cause }.into());
            }
        };
        let behind = input.get(frame.wire_len()..).unwrap_or_default();
        let channel = &mut self.channels[index];
        if publish.immediate {
            *input = behind;
            return Err(Fault::new(Code::NotImplemented, "immediate=true"));
        }
        match whole(behind, frame.channel, self.frame_max) {
            Whole::More(needed) => Ok(Step::More(frame.wire_len() + needed)),
            Whole::InPieces => {
                *input = behind;
                channel.content.get_or_insert_default().begin(&publish);
                channel.expect = Expect::Header;
                Ok(Step::Again)
            }
            Whole::Here { header, body, rest } => {
                *input = rest;
                let basic::Publish { exchange, routing_key, mandatory, .. } = publish;
                let scope = channel.scope();
                self.envelope.fill(exchange, header.properties, channel.reply_name())?;
                if mandatory {
                    // Once the request is made the input is gone, and the message may have to go back.
                    let kept = self.kept.get_or_insert_default();
                    kept.begin(&publish);
                    kept.body.extend_from_slice(body);
                }
                self.published = true;
                self.awaited = Awaited { mandatory, ..Awaited::new(Kind::Publish, frame.channel, PUBLISH) };
                Ok(Step::Ask(Asked::Publish { scope, exchange, routing_key, mandatory, body }))
            }
        }
    }

    /// A frame where content is due, or content where none is.
    pub(super) fn content_frame<'i>(&mut self, index: usize, frame: Frame<'i>) -> Result<Step<'i>, Fault> {
        let channel = &mut self.channels[index];
        let expect = channel.expect;
        if expect == Expect::Method {
            return Err(Fault::new(Code::UnexpectedFrame, "expected method frame, got non method frame instead"));
        }
        let content: &mut Content = channel.content.get_or_insert_default();
        match (expect, frame.kind) {
            (Expect::Header, HEADER) => {
                let header = ContentHeader::decode(frame.payload).map_err(|_| super::unexpected(frame).of(PUBLISH))?;
                if header.class != basic::CLASS {
                    let text =
                        format!("expected content header for class {}, got one for class {} instead", basic::CLASS, header.class);
                    return Err(Fault::new(Code::UnexpectedFrame, text).of(PUBLISH));
                }
                content.body_len = body_len(header.body_len).map_err(|fault| fault.of(PUBLISH))?;
                content.properties.extend_from_slice(header.properties);
                channel.expect = Expect::Body;
                if content.body_len > 0 {
                    return self.check_assembly().map(|()| Step::Again);
                }
            }
            (Expect::Header, _) => {
                let text = format!("expected content header for class {}, got non content header frame instead", basic::CLASS);
                return Err(Fault::new(Code::UnexpectedFrame, text).of(PUBLISH));
            }
            (_, BODY) => {
                if frame.payload.len() > content.body_len - content.body.len() {
                    let text = "content body frame exceeds remaining content size";
                    return Err(Fault::new(Code::FrameError, text).of(PUBLISH));
                }
                content.body.extend_from_slice(frame.payload);
                if content.body.len() < content.body_len {
                    return self.check_assembly().map(|()| Step::Again);
                }
            }
            _ => {
                let text = "expected content body, got non content body frame instead";
                return Err(Fault::new(Code::UnexpectedFrame, text).of(PUBLISH));
            }
        }
        channel.expect = Expect::Method;
        let mandatory = content.mandatory;
        let reply_name = channel.reply_to.as_ref().map(|reply_to| &*reply_to.name);
        let filled = self.envelope.fill(&content.exchange, &content.properties, reply_name);
        filled.map_err(|error| Fault::from(error).of(PUBLISH))?;
        self.published = true;
        self.awaited = Awaited { mandatory, assembled: true, ..Awaited::new(Kind::Publish, frame.channel, PUBLISH) };
        Ok(Step::Ask(Asked::Assembled { channel: index }))
    }

    /// What one channel puts together is bounded; what many do at once must be too.
    fn check_assembly(&self) -> Result<(), Fault> {
        if self.channels.len() <= 1 {
            return Ok(());
        }
        let contents = self.channels.iter().filter_map(|channel| channel.content.as_ref());
        if contents.map(|content| content.body.len() + content.properties.len()).sum::<usize>() > ASSEMBLY_BYTES_MAX {
            return Err(Fault::new(Code::ResourceError, "too many message bodies are under way at once").of(PUBLISH));
        }
        Ok(())
    }
}

fn body_len(announced: u64) -> Result<usize, Fault> {
    if announced > BODY_BYTES_ABSURD {
        let text = format!("content body size {announced} exceeds maximum allowed size {BODY_BYTES_ABSURD}");
        return Err(Fault::new(Code::FrameError, text));
    }
    match usize::try_from(announced) {
        Ok(len) if len <= limits::BODY_BYTES_MAX => Ok(len),
        _ => Err(Fault::new(
            Code::PreconditionFailed,
            format!("message size {announced} is larger than configured max size {}", limits::BODY_BYTES_MAX),
        )),
    }
}
