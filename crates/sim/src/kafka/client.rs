//! What all Kafka clients have in common: they connect, make their topics, ask again what was not answered, and go on.

use std::collections::VecDeque;

use kafka::codec::error_code::{NONE, TOPIC_ALREADY_EXISTS};
use model::SessionId;
use rand::Rng;
use rand::rngs::StdRng;

use super::Model;
use super::ask::{Answer, Ask, Asker};
use super::checker::BatchIx;
use super::committer::Committer;
use super::connection::Connection;
use super::member::Member;
use super::owner::Owner;
use super::plan::Role;
use super::producer::Producer;
use super::reader::Reader;
use crate::checker::Violation;
use crate::checker::answers::unexpected;
use crate::trace::Trace;

/// What a client works with.
pub struct Hands<'a> {
    pub rng: &'a mut StdRng,
    pub model: &'a mut Model,
    pub trace: &'a mut Trace,
    pub wall_ms: u64,
}

impl Hands<'_> {
    pub fn one_in(&mut self, odds: u32) -> bool {
        odds > 0 && self.rng.random_ratio(1, odds)
    }
}

/// What a client is about.
pub enum Part {
    Producer(Producer),
    Reader(Reader),
    Committer(Committer),
    Member(Member),
    Owner(Owner),
}

pub struct Client {
    pub asker: Asker,
    pub conn: Option<Connection>,
    pub part: Part,
    /// Asked on a connection that is gone, to be asked again.
    again: VecDeque<Ask>,
    /// It was told that its topics are made.
    topics_made: bool,
}

impl Client {
    pub fn new(number: usize, role: Role) -> Client {
        let part = match role {
            Role::Producer | Role::Idempotent | Role::Transactional { .. } => Part::Producer(Producer::new(role)),
            Role::Reader { committed, in_sessions } => Part::Reader(Reader::new(committed, in_sessions)),
            Role::Auditor => Part::Reader(Reader::new(false, false)),
            Role::Committer => Part::Committer(Committer),
            Role::Member => Part::Member(Member::default()),
            Role::Owner => Part::Owner(Owner::default()),
        };
        Client { asker: Asker { client: number, role }, conn: None, part, again: VecDeque::new(), topics_made: false }
    }

    pub fn connect(&mut self, id: u32, session: SessionId, hands: &mut Hands<'_>) {
        let mut conn = Connection::new(id, session);
        conn.ask(self.asker, Ask::CreateTopics, hands);
        self.conn = Some(conn);
    }

    /// Ask something, if one is connected.
    pub fn ask(&mut self, ask: Ask, hands: &mut Hands<'_>) {
        if let Some(conn) = &mut self.conn {
            conn.ask(self.asker, ask, hands);
        }
    }

    /// Do something.
    pub fn act(&mut self, hands: &mut Hands<'_>) {
        let Some(conn) = &self.conn else { return };
        if !conn.ready || conn.closing {
            return;
        }
        let awaiting: Vec<&Ask> = conn.awaiting.iter().map(|(.., ask)| ask).collect();
        let ask = match &mut self.part {
            Part::Producer(producer) => producer.next(self.asker.client, &awaiting, hands),
            Part::Reader(reader) => reader.next(&awaiting, hands),
            Part::Committer(committer) => committer.next(self.asker.client, &awaiting, hands),
            Part::Member(member) => member.next(&awaiting, hands),
            Part::Owner(owner) => owner.next(&awaiting, hands),
        };
        if let Some(ask) = ask {
            self.ask(ask, hands);
        }
    }

    /// Take in what has arrived.
    ///
    /// # Errors
    /// The broker broke a promise.
    pub fn hear(&mut self, hands: &mut Hands<'_>) -> Result<(), Violation> {
        while let Some(conn) = &mut self.conn {
            let Some((ask, answer)) = conn.hear(hands.model)? else { break };
            if let Ask::CreateTopics = ask {
                self.topics_are(&answer)?;
                while let Some(ask) = self.again.pop_front() {
                    self.ask(ask, hands);
                }
                continue;
            }
            let said = format!("{ask:?}");
            let known = match &mut self.part {
                Part::Producer(producer) => producer.heard(self.asker.client, ask, &answer, hands)?,
                Part::Reader(reader) => reader.heard(ask, &answer, hands)?,
                Part::Committer(committer) => committer.heard(ask, &answer, hands)?,
                Part::Member(member) => member.heard(ask, &answer, hands)?,
                Part::Owner(owner) => owner.heard(ask, &answer, hands)?,
            };
            if !known {
                let mut told = format!("{answer:?}");
                told.truncate(300);
                return Err(unexpected(format!("kafka client {} asked {said} and was told {told}", self.asker.client)));
            }
        }
        Ok(())
    }

    fn topics_are(&mut self, answer: &Answer) -> Result<(), Violation> {
        let Answer::Codes(codes) = answer else { return Err(unexpected("CreateTopics was answered otherwise".into())) };
        for code in codes {
            match *code {
                // Who is told that they are there, and not that they were made, cannot rely on it.
                TOPIC_ALREADY_EXISTS => {}
                NONE if self.topics_made => {
                    return Err(Violation::new("restart", "a topic is gone although it was made".into()));
                }
                NONE => {}
                code => return Err(unexpected(format!("a topic could not be made: {code}"))),
            }
        }
        self.topics_made |= codes.iter().all(|code| *code == NONE);
        if let Some(conn) = &mut self.conn {
            conn.ready = true;
        }
        Ok(())
    }

    /// The connection is gone. Some things will be asked again, others are given up.
    pub fn lose(&mut self, hands: &mut Hands<'_>) {
        let Some(conn) = self.conn.take() else { return };
        let asked = conn.awaiting.into_iter().map(|(.., ask)| ask).filter(|ask| !matches!(ask, Ask::CreateTopics));
        // What was to be asked again and was not yet comes behind nothing that was.
        let mut left: VecDeque<Ask> = asked.collect();
        left.append(&mut self.again);
        self.again = match &mut self.part {
            Part::Producer(producer) => producer.lose(left, hands),
            Part::Member(member) => {
                member.lose(hands);
                VecDeque::new()
            }
            Part::Owner(owner) => {
                owner.lose(left.iter());
                VecDeque::new()
            }
            Part::Reader(reader) => {
                reader.lose();
                VecDeque::new()
            }
            Part::Committer(_) => VecDeque::new(),
        };
    }

    /// Whether it will send this batch again.
    pub fn will_send(&self, batch: BatchIx) -> bool {
        let sends = |ask: &Ask| matches!(ask, Ask::Produce { batches, .. } if batches.contains(&batch));
        self.again.iter().any(sends) || self.conn.iter().any(|conn| conn.awaiting.iter().any(|(.., ask)| sends(ask)))
    }

    /// Nothing is left to ask again.
    pub fn is_settled(&self) -> bool {
        self.again.is_empty()
    }
}
