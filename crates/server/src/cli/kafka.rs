//! A blocking Kafka client for the commands about topics and groups: one request, one answer.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, bail};
use kafka::codec::{ApiKey, Reader, Request, RequestHeader, Response, error_code, frame, list_offsets, metadata};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);
/// No answer is longer, in bytes.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Where the broker is.
#[derive(clap::Args)]
pub struct Place {
    /// Where the broker listens for Kafka clients.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092", env = "YAM_KAFKA")]
    kafka: String,
}

/// A connection.
pub struct Link {
    stream: TcpStream,
    correlation: i32,
    answer: Vec<u8>,
}

impl Link {
    pub fn open(place: &Place) -> anyhow::Result<Link> {
        let address = &place.kafka;
        let stream = TcpStream::connect(address.as_str())
            .with_context(|| format!("cannot connect to {address}; is the broker running there? (--kafka names another)"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER))?;
        Ok(Link { stream, correlation: 0, answer: Vec::new() })
    }

    /// Ask, in the newest version that is known, and wait for the answer.
    pub fn ask(&mut self, request: &Request<'_>) -> anyhow::Result<Response<'_>> {
        let key = request.key();
        let api_version = *key.versions().end();
        self.correlation += 1;
        let correlation_id = self.correlation;
        let mut out = Vec::new();
        frame::put_frame(&mut out, |out| {
            RequestHeader { api_key: key.number(), api_version, correlation_id, client_id: Some("yam") }.encode(out);
            request.encode(out, api_version);
        });
        let closed = "the broker closed the connection; is it a Kafka listener?";
        self.stream.write_all(&out).context(closed)?;
        let mut size = [0; frame::SIZE_BYTES];
        self.stream.read_exact(&mut size).context(closed)?;
        let size = usize::try_from(i32::from_be_bytes(size)).ok().filter(|size| *size <= ANSWER_BYTES_MAX);
        let Some(size) = size else { bail!("what answers there does not speak Kafka's protocol") };
        self.answer.resize(size, 0);
        self.stream.read_exact(&mut self.answer).context(closed)?;
        let mut reader = Reader::new(&self.answer);
        let answered = frame::read_response_header(&mut reader, key, api_version)?;
        if answered != correlation_id {
            bail!("the broker answered another question ({answered}, not {correlation_id})");
        }
        Ok(Response::decode(key, &mut reader, api_version)?)
    }

    /// The partitions of a topic.
    pub fn partitions(&mut self, topic: &str) -> anyhow::Result<Vec<i32>> {
        let wanted = metadata::RequestTopic { name: Some(topic), ..Default::default() };
        let request =
            metadata::Request { topics: Some(vec![wanted]), allow_auto_topic_creation: false, ..metadata::Request::default() };
        let Response::Metadata(found) = self.ask(&Request::Metadata(request))? else { return Err(odd(ApiKey::Metadata)) };
        let Some(found) = found.topics.first() else { return Err(odd(ApiKey::Metadata)) };
        refused(found.error_code, None).with_context(|| format!("topic '{topic}'"))?;
        let mut partitions: Vec<i32> = found.partitions.iter().map(|partition| partition.partition_index).collect();
        partitions.sort_unstable();
        Ok(partitions)
    }

    /// Offsets of partitions of a topic; `timestamp`: -1 the end, -2 the beginning.
    pub fn offsets(&mut self, topic: &str, partitions: &[i32], timestamp: i64) -> anyhow::Result<Vec<i64>> {
        let partition = |index: &i32| list_offsets::RequestPartition {
            partition_index: *index,
            timestamp,
            ..list_offsets::RequestPartition::default()
        };
        let topics = vec![list_offsets::RequestTopic { name: topic, partitions: partitions.iter().map(partition).collect() }];
        let request = list_offsets::Request { replica_id: -1, topics, timeout_ms: 10_000, ..Default::default() };
        let Response::ListOffsets(found) = self.ask(&Request::ListOffsets(request))? else {
            return Err(odd(ApiKey::ListOffsets));
        };
        let found: Vec<_> = found.topics.iter().flat_map(|topic| &topic.partitions).collect();
        let mut offsets = Vec::with_capacity(partitions.len());
        for index in partitions {
            let Some(partition) = found.iter().find(|partition| partition.partition_index == *index) else {
                return Err(odd(ApiKey::ListOffsets));
            };
            refused(partition.error_code, None).with_context(|| format!("partition {index} of topic '{topic}'"))?;
            offsets.push(partition.offset);
        }
        Ok(offsets)
    }
}

/// An answer that does not fit its question.
pub fn odd(key: ApiKey) -> anyhow::Error {
    anyhow::anyhow!("the broker's answer to {} is not complete", key.name())
}

/// An error code of an answer, in words.
pub fn refused(code: i16, text: Option<&str>) -> anyhow::Result<()> {
    if code == error_code::NONE {
        return Ok(());
    }
    let words = match code {
        error_code::UNKNOWN_TOPIC_OR_PARTITION => "it does not exist",
        error_code::TOPIC_ALREADY_EXISTS => "it exists already",
        error_code::INVALID_TOPIC => "its name is not allowed",
        error_code::INVALID_PARTITIONS => "the number of partitions is not allowed",
        error_code::INVALID_CONFIG => "the setting or its value is not allowed",
        error_code::GROUP_ID_NOT_FOUND => "there is no such group",
        error_code::NON_EMPTY_GROUP => "the group has members; stop them first",
        error_code::UNKNOWN_MEMBER_ID => "the group has members; stop them first",
        _ => "",
    };
    match (text, words) {
        (Some(text), _) if !text.is_empty() => bail!("the broker refused: {text} (error {code})"),
        (_, "") => bail!("the broker refused with error {code}"),
        (_, words) => bail!("the broker refused: {words} (error {code})"),
    }
}

/// Columns under their heads, as wide as they must be.
pub fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(String::as_str).chain(heads.get(column).copied());
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut text = line(&mut heads.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["long name".into(), "1".into()], vec!["x".into(), "234".into()]];
        assert_eq!(super::table(&["NAME", "N"], &rows), "NAME       N\nlong name  1\nx          234\n");
    }
}
