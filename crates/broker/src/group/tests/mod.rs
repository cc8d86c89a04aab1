//! The groups of a broker over a simulated disk and a false clock. Tests named `pitfall_NN` show one of the places where
//! brokers that speak Kafka's protocol went wrong.

mod fixed;
mod joining;
mod offsets;

use std::collections::BTreeMap;

use bytes::Bytes;
use model::group::{
    CommitOffsets, CommittedOffset, GroupInfo, GroupState, JoinGroup, Joined, Membership, OffsetCommit, OffsetsCommitted,
    SyncGroup, TransactionRef,
};
use model::topic::CreateTopic;
use model::{Event, Failure, LogFailure, Now, Reply, Request, SessionId};
use vfs::Vfs;
use vfs::simulated::SimulatedDisk;

use crate::broker::{Broker, Options, Sink};

type Heard = Result<Reply, Failure>;

/// What sessions are told.
#[derive(Default)]
struct Told(BTreeMap<u64, Vec<Heard>>);

impl Sink for Told {
    fn send(&mut self, session: SessionId, event: Event<'_>) -> usize {
        let heard = match event {
            Event::Reply(reply) => Ok(reply),
            Event::Failed(failure) => Err(failure),
            _ => return 0,
        };
        self.0.entry(session.0).or_default().push(heard);
        0
    }
}

struct World {
    disk: SimulatedDisk,
    broker: Broker,
    told: Told,
    now: Now,
    options: Options,
}

/// A member as its client sees it; its session is its number.
#[derive(Clone, Debug, Default)]
struct Client {
    session: u64,
    id: String,
    instance: Option<String>,
    generation: i32,
}

fn storage_options() -> storage::Options {
    let mut options = storage::Options { arena_bytes: 64 * 1024, journal_bytes: 8 * 1024 * 1024, ..storage::Options::default() };
    (options.journal.segment_bytes, options.journal.cache_bytes) = (4 * 1024 * 1024, 32 * 1024);
    options
}

const TIMEOUT_MS: i32 = 10_000;
const REBALANCE_MS: i32 = 60_000;

/// A consumer's metadata: version, number of topics, their names, no user data.
const SUBSCRIBED_TO_T: &[u8] = b"\0\x01\0\0\0\x01\0\x01t\xff\xff\xff\xff";

impl World {
    fn new() -> World {
        let mut options = Options::default();
        options.groups.initial_rebalance_delay_ms = 0;
        World::with(options)
    }

    fn with(options: Options) -> World {
        let mut disk = SimulatedDisk::new(7);
        let mut broker = Broker::open(options.clone(), storage_options(), &mut disk).unwrap();
        let now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };
        broker.start(now);
        let mut world = World { disk, broker, told: Told::default(), now, options };
        world.open_sessions();
        world.create("t", 4);
        world
    }

    fn open_sessions(&mut self) {
        for session in 0..20 {
            self.broker.open_session(SessionId(session), true);
        }
    }

    fn create(&mut self, name: &str, partitions: u32) {
        let create = CreateTopic { name, partitions: Some(partitions), config: &[], validate_only: false, automatic: false };
        self.ask(0, Request::CreateTopic(create)).unwrap();
        self.settle();
    }

    fn ask(&mut self, session: u64, request: Request<'_>) -> Heard {
        self.broker.request(SessionId(session), request, self.now)
    }

    /// One turn of the wheel, without the disk.
    fn turn(&mut self) {
        while let Some(completion) = self.disk.poll() {
            self.broker.store_mut().completed(completion).unwrap();
        }
        self.broker.deliver(&mut self.told, self.now);
        self.broker.tick(self.now);
        if self.broker.store().wants_checkpoint() {
            self.broker.checkpoint();
        }
        self.broker.store_mut().poll(&mut self.disk);
    }

    /// Until nothing is to be done at this moment.
    fn settle(&mut self) {
        for _ in 0..100_000 {
            self.turn();
            let due = self.broker.poll_timeout(self.now).is_some_and(|at| at <= self.now.mono_ms);
            if !self.disk.step() && self.broker.store().idle() && !self.broker.busy() && !due {
                return;
            }
        }
        panic!("the broker never came to rest");
    }

    /// Let time pass, in the steps that the broker asks for.
    fn pass(&mut self, ms: u64) {
        let end = self.now.mono_ms + ms;
        self.settle();
        while self.now.mono_ms < end {
            let next = self.broker.poll_timeout(self.now).unwrap_or(end).clamp(self.now.mono_ms + 1, end);
            self.now.wall_ms += next - self.now.mono_ms;
            self.now.mono_ms = next;
            self.settle();
        }
    }

    /// What a session was told since it was last asked, which is one thing at most.
    fn heard(&mut self, session: u64) -> Option<Heard> {
        self.settle();
        let mut heard = self.told.0.remove(&session)?;
        assert_eq!(heard.len(), 1, "one answer to one question");
        heard.pop()
    }

    fn crash(&mut self) {
        self.disk.crash();
        self.restart();
    }

    fn restart(&mut self) {
        self.broker = Broker::open(self.options.clone(), storage_options(), &mut self.disk).unwrap();
        self.broker.start(self.now);
        self.open_sessions();
        self.told.0.clear();
    }

    /// Ask to join; the answer is to be heard later.
    fn join_with<'a>(&mut self, client: &'a Client, change: impl FnOnce(&mut JoinGroup<'a>)) -> Heard {
        let mut join = JoinGroup {
            group: "g",
            member_id: &client.id,
            instance_id: client.instance.as_deref(),
            client_id: "c",
            client_host: "/127.0.0.1",
            session_timeout_ms: TIMEOUT_MS,
            rebalance_timeout_ms: REBALANCE_MS,
            protocol_type: "consumer",
            protocols: vec![("range", SUBSCRIBED_TO_T)],
            require_member_id: false,
            may_skip_assignment: false,
        };
        change(&mut join);
        let join = Request::JoinGroup(join);
        self.broker.request(SessionId(client.session), join, self.now)
    }

    fn join(&mut self, client: &Client) {
        assert_eq!(self.join_with(client, |_| {}), Ok(Reply::Pending));
    }

    fn joined(&mut self, client: &mut Client) -> Joined {
        match self.heard(client.session) {
            Some(Ok(Reply::Joined(joined))) => {
                client.id = joined.member_id.to_string();
                client.generation = joined.generation;
                *joined
            }
            other => panic!("{other:?}"),
        }
    }

    fn sync_with(&mut self, client: &Client, assignments: Vec<(&str, &[u8])>) -> Heard {
        let sync = SyncGroup { member: of(client), protocol_type: None, protocol: None, assignments };
        self.broker.request(SessionId(client.session), Request::SyncGroup(sync), self.now)
    }

    fn sync(&mut self, client: &Client) {
        assert_eq!(self.sync_with(client, Vec::new()), Ok(Reply::Pending));
    }

    fn synced(&mut self, client: &Client) -> Bytes {
        match self.heard(client.session) {
            Some(Ok(Reply::Synced(synced))) => synced.assignment,
            other => panic!("{other:?}"),
        }
    }

    fn heartbeat(&mut self, client: &Client) -> Heard {
        self.ask(client.session, Request::HeartbeatGroup(of(client)))
    }

    fn leave(&mut self, client: &Client) -> Heard {
        self.ask(client.session, Request::LeaveGroup(of(client)))
    }

    /// A group whose members have all joined and got their assignments: the one of session n the byte n. The first leads.
    fn stable(&mut self, count: u64) -> Vec<Client> {
        let mut clients: Vec<Client> = (1..=count).map(client).collect();
        for client in &clients {
            self.join(client);
        }
        let leader = self.all_sync(&mut clients);
        clients.swap(0, leader);
        clients
    }

    /// These are all members, and hear now that they have joined; they get their assignments. Returns who leads.
    fn all_sync(&mut self, clients: &mut [Client]) -> usize {
        let joined: Vec<Joined> = clients.iter_mut().map(|client| self.joined(client)).collect();
        let leader = joined.iter().position(|joined| joined.leader == joined.member_id).expect("one of them leads");
        for (at, joined) in joined.iter().enumerate() {
            assert_eq!(joined.members.len(), if at == leader { clients.len() } else { 0 }, "only the leader hears of all");
        }
        for (at, client) in clients.iter().enumerate() {
            if at != leader {
                self.sync(client);
                assert_eq!(self.heard(client.session), None, "an answer before the leader's");
            }
        }
        let shares: Vec<_> = clients.iter().map(|client| (client.id.as_str(), [client.session as u8])).collect();
        let assignments = shares.iter().map(|(id, share)| (*id, &share[..])).collect();
        assert_eq!(self.sync_with(&clients[leader], assignments), Ok(Reply::Pending));
        for client in clients.iter() {
            assert_eq!(self.synced(client), [client.session as u8][..]);
        }
        leader
    }

    fn describe(&mut self, group: &str) -> GroupInfo {
        match self.ask(0, Request::DescribeGroups { group: Some(group) }) {
            Ok(Reply::Groups(mut groups)) if groups.len() == 1 => groups.remove(0),
            other => panic!("{other:?}"),
        }
    }

    fn commit_as(&mut self, member: Membership<'_>, offsets: &[(&str, u32, i64, &str)]) -> Result<OffsetsCommitted, Failure> {
        self.commit(member, None, offsets)
    }

    fn commit(
        &mut self,
        member: Membership<'_>,
        transaction: Option<TransactionRef<'_>>,
        offsets: &[(&str, u32, i64, &str)],
    ) -> Result<OffsetsCommitted, Failure> {
        let offset = |(topic, partition, offset, metadata)| OffsetCommit { topic, partition, offset, leader_epoch: 3, metadata };
        let offsets = offsets.iter().copied().map(offset).collect();
        let commit = CommitOffsets { member, transaction, implicit: false, offsets };
        match self.ask(0, Request::CommitOffsets(commit))? {
            Reply::OffsetsCommitted(committed) => Ok(committed),
            other => panic!("{other:?}"),
        }
    }

    fn fetch(&mut self, group: &str, partitions: Option<&[(&str, u32)]>, stable: bool) -> Vec<CommittedOffset> {
        let partitions = partitions.map(<[_]>::to_vec);
        let reply = match self.ask(0, Request::FetchOffsets { group, partitions, stable }) {
            Ok(Reply::Pending) => self.heard(0).unwrap(),
            reply => reply,
        };
        match reply {
            Ok(Reply::Offsets(offsets)) => offsets,
            other => panic!("{other:?}"),
        }
    }

    /// What is committed for partition 0 of `t`.
    fn committed(&mut self, group: &str) -> i64 {
        self.fetch(group, Some(&[("t", 0)]), false)[0].offset
    }
}

fn of(client: &Client) -> Membership<'_> {
    Membership { group: "g", generation: client.generation, member_id: &client.id, instance_id: client.instance.as_deref() }
}

/// Nobody's member.
fn nobody(group: &str) -> Membership<'_> {
    Membership { group, generation: -1, member_id: "", instance_id: None }
}

fn failed(failure: LogFailure) -> Heard {
    Err(Failure::Log(failure))
}

fn client(session: u64) -> Client {
    Client { session, ..Client::default() }
}

/// A static member.
fn fixed(session: u64, instance: &str) -> Client {
    Client { session, instance: Some(instance.into()), ..Client::default() }
}
