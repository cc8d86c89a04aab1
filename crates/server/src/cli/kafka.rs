//! What commands ask of a broker for Kafka clients, one question after another.

use std::fmt;
use std::net::TcpStream;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use kafka::client::{Client, ClientError};
use kafka::codec::{ApiKey, Request, Response, error_code, list_offsets, metadata};

use super::dial;
use super::secret::Secret;
use super::url::decode;
use crate::logging::printable;

/// Special times of ListOffsets.
pub const EARLIEST: i64 = -2;
pub const LATEST: i64 = -1;

/// Where a broker is, and as whom to log in there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub login: Option<Login>,
    pub host: String,
    pub port: u16,
}

/// For SASL PLAIN.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    user: String,
    password: String,
}

impl fmt::Debug for Login {
    /// Without the password.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Place, String> {
        let wrong = || "write it as HOST:PORT, or USER:PASSWORD@HOST:PORT with %40 for an @ of a password".to_owned();
        let (login, text) = match text.rsplit_once('@') {
            Some((login, place)) => (Some(login.parse().map_err(|()| wrong())?), place),
            None => (None, text),
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(wrong());
        }
        let port = port.parse().map_err(|_| format!("the port is no number up to 65535; {}", wrong()))?;
        Ok(Place { login, host: host.to_owned(), port })
    }
}

impl FromStr for Login {
    type Err = ();

    /// `user:password`, percent-encoded as in an AMQP client's URL.
    fn from_str(text: &str) -> Result<Login, ()> {
        let (user, password) = text.split_once(':').filter(|(user, _)| !user.is_empty()).ok_or(())?;
        let decoded = decode(user).zip(decode(password));
        decoded.map(|(user, password)| Login { user, password }).ok_or(())
    }
}

impl fmt::Display for Place {
    /// For people: without the login.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { host, port, .. } = self;
        if host.contains(':') { write!(out, "[{host}]:{port}") } else { write!(out, "{host}:{port}") }
    }
}

/// Where the broker is.
#[derive(Debug, Clone, clap::Args)]
pub struct At {
    /// Where the broker listens for Kafka clients, and as whom to log in where it requires that (SASL PLAIN)
    #[arg(
        long,
        value_name = "[USER:PASSWORD@]HOST:PORT",
        default_value = "127.0.0.1:9092",
        env = "YAM_KAFKA",
        hide_env_values = true,
        value_parser = Secret::<Place>::new(),
        global = true
    )]
    pub kafka: Place,
}

/// A connection.
pub struct Link {
    client: Client<TcpStream>,
    logged_in: bool,
}

impl Link {
    /// Connect, and log in where the place says as whom. Keeps trying for `patience` while nobody listens.
    pub fn open(place: &Place, patience: Duration) -> anyhow::Result<Link> {
        let stream = dial::dial(&place.host, place.port, patience, "--kafka")?;
        let client = Client::open(stream, "yam").map_err(explain);
        let mut client = client.with_context(|| format!("{place}: is it a Kafka listener?"))?;
        if let Some(Login { user, password }) = &place.login {
            client.log_in(user, password).map_err(explain).with_context(|| format!("cannot log in at {place}"))?;
        }
        Ok(Link { client, logged_in: place.login.is_some() })
    }

    /// Ask, and wait for the answer.
    pub fn ask<'s, T: TryFrom<Response<'s>>>(&'s mut self, request: &Request<'_>) -> anyhow::Result<T> {
        let logged_in = self.logged_in;
        let failed = |error| {
            let closed = matches!(&error, ClientError::Io(error) if dial::is_closed(error));
            let question = if closed && !logged_in { ": does it require a login? (--kafka USER:PASSWORD@HOST:PORT)" } else { "" };
            explain(error).context(format!("{} failed{question}", request.key().name()))
        };
        self.client.ask(request).map_err(failed)
    }

    pub fn version(&self, key: ApiKey) -> anyhow::Result<i16> {
        Ok(self.client.versions.get(key)?)
    }

    /// The socket, for those who go on by themselves.
    pub fn into_stream(self) -> TcpStream {
        self.client.into_stream()
    }

    /// The partitions of a topic.
    pub fn partitions(&mut self, topic: &str) -> anyhow::Result<Vec<i32>> {
        let wanted = metadata::RequestTopic { name: Some(topic), ..Default::default() };
        let request =
            metadata::Request { topics: Some(vec![wanted]), allow_auto_topic_creation: false, ..metadata::Request::default() };
        let found: metadata::Response<'_> = self.ask(&Request::Metadata(request))?;
        let Some(found) = found.topics.first() else { return Err(odd(ApiKey::Metadata)) };
        refused(found.error_code, None).with_context(|| format!("topic '{topic}'"))?;
        let mut partitions: Vec<i32> = found.partitions.iter().map(|partition| partition.partition_index).collect();
        partitions.sort_unstable();
        Ok(partitions)
    }

    /// Offsets of partitions of a topic at a time, or [`EARLIEST`] or [`LATEST`].
    pub fn offsets(&mut self, topic: &str, partitions: &[i32], timestamp: i64) -> anyhow::Result<Vec<i64>> {
        let partition = |index: &i32| list_offsets::RequestPartition {
            partition_index: *index,
            timestamp,
            ..list_offsets::RequestPartition::default()
        };
        let topics = vec![list_offsets::RequestTopic { name: topic, partitions: partitions.iter().map(partition).collect() }];
        let request = list_offsets::Request { replica_id: -1, topics, timeout_ms: 10_000, ..Default::default() };
        let found: list_offsets::Response<'_> = self.ask(&Request::ListOffsets(request))?;
        let mut by_index = std::collections::HashMap::new();
        for partition in found.topics.iter().flat_map(|topic| &topic.partitions) {
            let index = partition.partition_index;
            refused(partition.error_code, None).with_context(|| format!("partition {index} of topic '{topic}'"))?;
            by_index.insert(index, partition.offset);
        }
        partitions.iter().map(|index| by_index.get(index).copied().ok_or_else(|| odd(ApiKey::ListOffsets))).collect()
    }
}

/// What went wrong, for people.
fn explain(error: ClientError) -> anyhow::Error {
    match error {
        ClientError::Io(error) => dial::explain(error),
        other => other.into(),
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
        (Some(text), _) if !text.is_empty() => bail!("the broker refused: {text} ({})", error_name(code)),
        (_, "") => bail!("the broker refused with {}", error_name(code)),
        (_, words) => bail!("the broker refused: {words} ({})", error_name(code)),
    }
}

fn error_name(code: i16) -> String {
    match error_code::name(code) {
        Some(name) => format!("{name}, error {code}"),
        None => format!("error {code}"),
    }
}

/// Columns under their heads, as wide as they must be.
pub fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    // Names of groups and members are whatever clients made up.
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
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
    for row in &rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Login, Place};

    #[test]
    fn places_as_clients_write_them() {
        let place = |host: &str, port| Ok(Place { login: None, host: host.to_owned(), port });
        assert_eq!("127.0.0.1:9092".parse(), place("127.0.0.1", 9092));
        assert_eq!("[::1]:9092".parse(), place("::1", 9092));
        for wrong in ["localhost", ":9092", "h:port", "h:70000", "user@h:9092", ":secret@h:9092", "user:%zz@h:9092"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_login_stands_before_the_place_and_is_shown_to_nobody() {
        let place: Place = "ann:a%40b:c@[::1]:9092".parse().unwrap();
        let login = Login { user: "ann".into(), password: "a@b:c".into() };
        assert_eq!(place, Place { login: Some(login), host: "::1".into(), port: 9092 });
        assert_eq!(place.to_string(), "[::1]:9092");
        assert!(!format!("{place:?}").contains("a@b"));
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["long name".into(), "1".into()], vec!["x".into(), "234".into()]];
        assert_eq!(super::table(&["NAME", "N"], &rows), "NAME       N\nlong name  1\nx          234\n");
    }
}
