use std::io::{self, Read, Write};

use proptest::prelude::*;

use super::*;
use crate::codec::{list_groups, metadata};

/// A broker that has its answers ready, and hands them out in pieces as a socket would.
#[derive(Debug)]
struct Answers {
    bytes: Vec<u8>,
    given: usize,
    piece: usize,
    said: Vec<u8>,
}

impl Answers {
    fn new(piece: usize) -> Answers {
        Answers { bytes: Vec::new(), given: 0, piece, said: Vec::new() }
    }

    /// An answer with this correlation id.
    fn answer(mut self, correlation_id: i32, version: i16, response: &Response<'_>) -> Answers {
        frame::put_frame(&mut self.bytes, |out| {
            frame::put_response_header(out, response.key(), version, correlation_id);
            response.encode(out, version);
        });
        self
    }

    /// The versions of ApiVersions, as the first answer.
    fn versions(self, keys: &[(ApiKey, i16, i16)]) -> Answers {
        let api = |&(key, min_version, max_version): &(ApiKey, i16, i16)| api_versions::ApiVersion {
            api_key: key.number(),
            min_version,
            max_version,
        };
        let response = api_versions::Response { api_keys: keys.iter().map(api).collect(), ..Default::default() };
        self.answer(1, 0, &Response::ApiVersions(response))
    }
}

impl Read for Answers {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = &self.bytes[self.given..];
        let taken = self.piece.min(left.len()).min(buffer.len());
        buffer[..taken].copy_from_slice(&left[..taken]);
        self.given += taken;
        Ok(taken)
    }
}

impl Write for Answers {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.said.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn groups(error_code: i16) -> Response<'static> {
    Response::ListGroups(list_groups::Response { error_code, ..Default::default() })
}

#[test]
fn the_newest_version_that_both_speak() {
    let speaks = [(ApiKey::Metadata, 0, 7), (ApiKey::Fetch, 4, 99), (ApiKey::OffsetFetch, 0, 7), (ApiKey::ListGroups, 50, 60)];
    let client = Client::open(Answers::new(5).versions(&speaks), "test").unwrap();
    assert_eq!(client.versions.get(ApiKey::Metadata).unwrap(), 7);
    assert_eq!(client.versions.get(ApiKey::Fetch).unwrap(), 12, "topics are asked for by name");
    for none in [ApiKey::OffsetFetch, ApiKey::ListGroups, ApiKey::Produce] {
        assert!(matches!(client.versions.get(none), Err(ClientError::Version(key)) if key == none));
    }
}

#[test]
fn answers_come_in_the_order_of_the_questions() {
    let answers = Answers::new(3).versions(&[(ApiKey::ListGroups, 0, 3), (ApiKey::Metadata, 0, 1)]);
    let answers = answers.answer(2, 3, &groups(7)).answer(3, 1, &Response::Metadata(metadata::Response::default()));
    let mut client = Client::open(answers, "test").unwrap();
    client.send(&Request::ListGroups(list_groups::Request::default())).unwrap();
    client.send(&Request::Metadata(metadata::Request::default())).unwrap();
    assert_eq!(client.outstanding(), 2);
    assert_eq!(client.receive::<list_groups::Response<'_>>().unwrap().error_code, 7);
    client.receive::<metadata::Response<'_>>().unwrap();
    let said = &client.into_stream().said;
    assert_eq!(said[..18], [0, 0, 0, 14, 0, 18, 0, 0, 0, 0, 0, 1, 0, 4, b't', b'e', b's', b't']);
}

#[test]
fn logging_in_is_a_handshake_and_a_token() {
    let log_in = |mechanism: i16, token: Option<(i16, Option<&'static str>)>| {
        let known = sasl_handshake::Response { error_code: mechanism, mechanisms: vec!["PLAIN"] };
        let answers = Answers::new(7).versions(&[(ApiKey::SaslHandshake, 0, 1), (ApiKey::SaslAuthenticate, 0, 2)]);
        let mut answers = answers.answer(2, 1, &Response::SaslHandshake(known));
        if let Some((error_code, error_message)) = token {
            let told = sasl_authenticate::Response { error_code, error_message, ..Default::default() };
            answers = answers.answer(3, 2, &Response::SaslAuthenticate(told));
        }
        let mut client = Client::open(answers, "test").unwrap();
        let outcome = client.log_in("ann", "secret").map_err(|error| error.to_string());
        (outcome, client.into_stream().said)
    };
    let (outcome, said) = log_in(0, Some((0, None)));
    assert_eq!(outcome, Ok(()));
    assert!(said.windows(11).any(|part| part == b"\0ann\0secret"));
    let (outcome, _) = log_in(0, Some((58, Some("wrong password"))));
    assert_eq!(outcome, Err("the broker refuses to log in user 'ann': wrong password".into()));
    let (outcome, said) = log_in(34, None);
    assert_eq!(outcome, Err("the broker refuses to log in user 'ann': ILLEGAL_SASL_STATE".into()));
    assert!(!said.windows(6).any(|part| part == b"secret"), "a password is told to nobody who does not ask for it");
}

#[test]
fn an_answer_to_another_question_is_an_error() {
    let ask = |answers: Answers| {
        let mut client = Client::open(answers.versions(&[(ApiKey::ListGroups, 0, 3)]).answer(9, 3, &groups(0)), "test").unwrap();
        client.ask::<list_groups::Response<'_>>(&Request::ListGroups(list_groups::Request::default())).map(|_| ())
    };
    assert!(matches!(ask(Answers::new(100)), Err(ClientError::Other(ApiKey::ListGroups))));
    let mut client = Client::open(Answers::new(9).versions(&[]), "test").unwrap();
    assert!(matches!(client.receive::<list_groups::Response<'_>>(), Err(ClientError::Unasked)));
}

#[test]
fn who_closes_or_speaks_another_protocol_is_found_out() {
    let open = |bytes: &[u8]| Client::open(Answers { bytes: bytes.into(), ..Answers::new(100) }, "test").map(|_| ());
    assert!(matches!(open(b""), Err(ClientError::Io(error)) if error.kind() == ErrorKind::UnexpectedEof));
    assert!(matches!(open(b"HTTP/1.1 400 Bad Request\r\n"), Err(ClientError::Frame(_))));
    assert!(matches!(open(&[0, 0, 0, 5, 0, 0, 0, 1, 0]), Err(ClientError::Decode { key: ApiKey::ApiVersions, .. })));
}

proptest! {
    #[test]
    fn frames_are_found_however_the_bytes_are_cut(piece in 1_usize..300_000, sizes in prop::collection::vec(0_usize..100_000, 1..6)) {
        let mut bytes = Vec::new();
        for &size in &sizes {
            bytes.extend_from_slice(&(size as u32).to_be_bytes());
            bytes.resize(bytes.len() + size, size as u8);
        }
        let (mut source, mut frames, mut seen) = (Answers { bytes, ..Answers::new(piece) }, Frames::default(), Vec::new());
        while source.given < source.bytes.len() {
            prop_assert!(frames.read(&mut source).is_ok());
            while let Some(body) = frames.next_frame().expect("frames") {
                prop_assert!(body.iter().all(|&byte| byte == body.len() as u8));
                seen.push(body.len());
            }
        }
        prop_assert_eq!(seen, sizes);
    }
}
