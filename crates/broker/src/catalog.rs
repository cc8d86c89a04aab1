//! What exists, as entries of the log: JSON, one object an entry (docs/formats/storage.md).
//!
//! State = fold of all entries; a snapshot is the list of entries that would make the state afresh.

pub(crate) mod group;
pub(crate) mod partition;

use std::collections::BTreeMap;
use std::sync::Arc;

use model::Table;
use model::record::{BatchHead, attribute, parse_marker};
use serde::{Deserialize, Serialize};

/// One change of what exists. Only durable things have entries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Entry {
    DeclareExchange {
        host: String,
        name: String,
        kind: String,
        auto_delete: bool,
        internal: bool,
        arguments: Table,
        /// Only in snapshots: it lost its last binding and is to be deleted, unless it gets another.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        orphan: bool,
    },
    DeleteExchange {
        host: String,
        name: String,
    },
    DeclareQueue {
        host: String,
        name: String,
        log: u32,
        auto_delete: bool,
        arguments: Table,
    },
    DeleteQueue {
        host: String,
        name: String,
    },
    Bind(Arrow),
    Unbind(Arrow),
    /// `id`: 32 hex digits.
    CreateTopic {
        name: String,
        id: String,
        partitions: Vec<u32>,
        config: BTreeMap<String, String>,
    },
    DeleteTopic {
        name: String,
    },
    AddPartitions {
        name: String,
        partitions: Vec<u32>,
    },
    ConfigureTopic {
        name: String,
        config: BTreeMap<String, String>,
    },
    LogStart {
        log: u32,
        offset: u64,
    },
    /// The name that the cluster has among all clusters: 22 letters, made up once.
    Cluster {
        id: String,
    },
    /// Producer ids below this may have been given out.
    ProducerIds {
        below: i64,
    },
    /// Who may write under a transactional id.
    Producer {
        transactional_id: String,
        producer_id: i64,
        epoch: i16,
        timeout_ms: i32,
        at_ms: u64,
        /// The id and epoch that were exchanged for these. None where somebody began anew, and in what older versions wrote.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last: Option<(i64, i16)>,
    },
    /// What belongs to its open transaction.
    TransactionAdd {
        transactional_id: String,
        started_ms: u64,
        partitions: Vec<u32>,
        groups: Vec<String>,
    },
    /// The end of its transaction; the markers of its partitions are in the same atomic group.
    EndTransaction {
        transactional_id: String,
        producer_id: i64,
        epoch: i16,
        commit: bool,
        at_ms: u64,
        /// Its producer was shut out: nobody knows of the new epoch.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        fenced: bool,
    },
    /// The members of a group after a rebalance; none: the last has left.
    Group(Box<group::Generation>),
    /// One of them has left since.
    LeaveGroup {
        group: Arc<str>,
        member: Arc<str>,
    },
    CommitOffsets(Box<group::Committed>),
    /// Topic and partition of each.
    DeleteOffsets {
        group: Arc<str>,
        offsets: Vec<(Arc<str>, u32)>,
    },
    DeleteGroup {
        group: Arc<str>,
    },
    /// Only in snapshots: what else there is would follow from the batches before.
    Partition {
        log: u32,
        state: Box<partition::Snapshot>,
    },
}

/// A binding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Arrow {
    pub host: String,
    pub source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<String>,
    /// The log of a partition: its name may come to mean another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<u32>,
    pub routing_key: String,
    pub arguments: Table,
}

pub(crate) fn encode(entry: &Entry) -> Vec<u8> {
    serde_json::to_vec(entry).unwrap_or_else(|error| unreachable!("an entry is always JSON: {error}"))
}

pub(crate) fn encode_all(entries: &[Entry]) -> Vec<u8> {
    serde_json::to_vec(entries).unwrap_or_else(|error| unreachable!("entries are always JSON: {error}"))
}

/// What was read at recovery, in its order.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    Entry(Entry),
    /// A producer's batch in a stream. `marker`: as [`parse_marker`] has it.
    Batch {
        log: storage::LogId,
        base: u64,
        head: BatchHead,
        marker: Option<bool>,
    },
}

/// All entries read at recovery, to be applied when the store is open.
#[derive(Default)]
pub(crate) struct Recovered {
    pub steps: Vec<Step>,
    /// The first entry that could not be read.
    pub damage: Option<String>,
}

impl storage::Recovery for Recovered {
    fn snapshot(&mut self, catalog: &[u8]) {
        match serde_json::from_slice(catalog) {
            Ok(entries) => self.steps = Vec::into_iter(entries).map(Step::Entry).collect(),
            Err(error) => self.damage = Some(error.to_string()),
        }
    }

    fn entry(&mut self, entry: &[u8]) {
        match serde_json::from_slice(entry) {
            Ok(entry) => self.steps.push(Step::Entry(entry)),
            Err(error) => self.damage = Some(error.to_string()),
        }
    }

    fn take_damage(&mut self) -> Option<String> {
        self.damage.take()
    }

    fn batch(&mut self, log: storage::LogId, base: u64, batch: &[u8]) {
        if let Ok(head) = BatchHead::parse(batch)
            && head.producer_id >= 0
        {
            let marker = if head.is(attribute::CONTROL) { parse_marker(batch) } else { None };
            self.steps.push(Step::Batch { log, base, head, marker });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Value;

    #[test]
    fn entries_are_read_back_as_they_were_written() {
        let arguments = Table(vec![
            ("x-expires".into(), Value::I32(5)),
            ("a".into(), Value::List(vec![Value::Void, Value::Decimal { scale: 2, value: 7 }, Value::RawText(vec![0xff])])),
            ("t".into(), Value::Table(Table(vec![("n".into(), Value::F64(0.5))]))),
        ]);
        let arrow = Arrow {
            host: "/".into(),
            source: "x".into(),
            queue: Some("q".into()),
            exchange: None,
            stream: None,
            routing_key: "k".into(),
            arguments: arguments.clone(),
        };
        let to_stream = Arrow { queue: None, stream: Some(9), ..arrow.clone() };
        let entries = vec![
            Entry::DeclareQueue { host: "/".into(), name: "q".into(), log: 9, auto_delete: false, arguments },
            Entry::Bind(arrow.clone()),
            Entry::Unbind(arrow),
            Entry::Bind(to_stream),
        ];
        let mut read = Recovered::default();
        storage::Recovery::snapshot(&mut read, &encode_all(&entries[..1]));
        storage::Recovery::entry(&mut read, &encode(&entries[1]));
        storage::Recovery::entry(&mut read, &encode(&entries[2]));
        storage::Recovery::entry(&mut read, &encode(&entries[3]));
        assert_eq!(read.steps, entries.into_iter().map(Step::Entry).collect::<Vec<_>>());
        assert_eq!(read.damage, None);
    }

    /// What brokers wrote before there were orphans; and it is still written like that where there are none.
    #[test]
    fn an_exchange_that_is_no_orphan_is_read_and_written_as_ever() {
        let older = r#"{"do":"declare_exchange","host":"/","name":"x","kind":"topic","auto_delete":true,"internal":false,"arguments":[]}"#;
        let entry: Entry = serde_json::from_str(older).unwrap();
        assert!(matches!(entry, Entry::DeclareExchange { orphan: false, .. }));
        assert_eq!(serde_json::to_string(&entry).unwrap(), older);
    }
}
