//! What is written is read back and is what Kafka's own definitions make of it, and no bytes make a reader panic.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{RequestKind, ResponseKind};
use kafka_protocol::protocol::{Decodable, Encodable};
use proptest::prelude::*;

use super::consumer_protocol::{Assignment, Subscription};
use super::sample::{Sample, SampleApi, Source};
use super::wire::{Nullable, Wire};
use super::*;

/// Requests and responses behave alike: the same tests for both.
macro_rules! against_oracle {
    ($module:ident, $kind:ident, $oracle:ident) => {
        mod $module {
            use super::*;

            /// Every API in every version known.
            fn all() -> impl Iterator<Item = (ApiKey, i16)> {
                ApiKey::ALL.iter().flat_map(|key| $kind::known(*key).0.map(|version| (*key, version)))
            }

            /// Every API, each in some version.
            fn some(version: prop::sample::Index) -> impl Iterator<Item = (ApiKey, i16)> {
                ApiKey::ALL.iter().map(move |key| {
                    let known: Vec<i16> = $kind::known(*key).0.collect();
                    (*key, *version.get(&known))
                })
            }

            fn written(message: &$kind<'_>, version: i16) -> Vec<u8> {
                let mut out = Vec::new();
                message.encode(&mut out, version);
                out
            }

            fn read(key: ApiKey, bytes: &[u8], version: i16) -> Result<($kind<'_>, usize), DecodeError> {
                let mut reader = Reader::new(bytes);
                let message = $kind::decode(key, &mut reader, version)?;
                Ok((message, reader.rest().len()))
            }

            /// What the other implementation reads, written by it.
            fn oracle(key: ApiKey, bytes: &[u8], version: i16) -> Result<Vec<u8>, String> {
                let key = kafka_protocol::messages::ApiKey::try_from(key.number()).map_err(|()| "unknown key")?;
                let mut rest = Bytes::copy_from_slice(bytes);
                let message = $oracle::decode(key, &mut rest, version).map_err(|error| error.to_string())?;
                let mut out = BytesMut::new();
                message.encode(&mut out, version).map_err(|error| error.to_string())?;
                Ok(out.to_vec())
            }

            proptest! {
                #[test]
                fn the_oracle_reads_and_writes_the_same_bytes(random in proptest::collection::vec(any::<u8>(), 0..1000)) {
                    for (key, version) in all() {
                        let message = $kind::sample(key, &mut Source::new(&random), version);
                        let bytes = written(&message, version);
                        prop_assert_eq!(oracle(key, &bytes, version), Ok(bytes.clone()), "{} {}", key.name(), version);
                        prop_assert_eq!(read(key, &bytes, version), Ok((message, 0)), "{} {}", key.name(), version);
                    }
                }

                #[test]
                fn cut_bytes_are_refused(
                    random in proptest::collection::vec(any::<u8>(), 0..200),
                    version: prop::sample::Index,
                    cut: prop::sample::Index,
                ) {
                    for (key, version) in some(version) {
                        let bytes = written(&$kind::sample(key, &mut Source::new(&random), version), version);
                        if !bytes.is_empty() {
                            let cut = cut.index(bytes.len());
                            prop_assert!(read(key, &bytes[..cut], version).is_err(), "{} {}", key.name(), version);
                        }
                    }
                }

                #[test]
                fn mutation_is_read_as_the_oracle_reads_it_or_refused(
                    random in proptest::collection::vec(any::<u8>(), 0..200),
                    version: prop::sample::Index,
                    places in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
                ) {
                    for (key, version) in some(version) {
                        let mut bytes = written(&$kind::sample(key, &mut Source::new(&random), version), version);
                        for (place, value) in places.iter().filter(|_| !bytes.is_empty()).collect::<Vec<_>>() {
                            let place = place.index(bytes.len());
                            bytes[place] = *value;
                        }
                        let Ok((message, _)) = read(key, &bytes, version) else { continue };
                        let ours = written(&message, version);
                        prop_assert_eq!(read(key, &ours, version), Ok((message.clone(), 0)), "{} {}", key.name(), version);
                        // Kafka takes a structure for null by any negative mark, the oracle by any but 1.
                        if key == ApiKey::DescribeTopicPartitions {
                            continue;
                        }
                        // The oracle keeps unknown tags, which we skip when we read what it wrote. It refuses some that it knows.
                        if let Ok(theirs) = oracle(key, &bytes, version) {
                            prop_assert_eq!(read(key, &theirs, version), Ok((message, 0)), "{} {}", key.name(), version);
                        }
                    }
                }

                #[test]
                fn random_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), version: prop::sample::Index) {
                    for (key, version) in some(version) {
                        let _ = read(key, &bytes, version);
                    }
                }
            }

            #[test]
            fn what_is_served_can_be_read() {
                for key in ApiKey::ALL {
                    let ((known, flexible), served) = ($kind::known(*key), key.versions());
                    assert_eq!(flexible, key.first_flexible(), "{}", key.name());
                    assert!(known.contains(served.start()) && known.contains(served.end()), "{}", key.name());
                    for version in [known.start() - 1, known.end() + 1] {
                        assert_eq!(read(*key, &[0; 500], version), Err(DecodeError::Version(version)), "{}", key.name());
                    }
                }
            }
        }
    };
}
against_oracle!(requests, Request, RequestKind);
against_oracle!(responses, Response, ResponseKind);

proptest! {
    #[test]
    fn headers_are_the_oracles(correlation_id: i32, client_id in proptest::option::of(".{0,40}"), tags: bool) {
        use kafka_protocol::messages::{ApiKey as Key, RequestHeader as Theirs, ResponseHeader};
        for key in ApiKey::ALL {
            let theirs = Key::try_from(key.number()).unwrap();
            for version in key.versions() {
                let header = RequestHeader {
                    api_key: key.number(), api_version: version, correlation_id, client_id: client_id.as_deref(),
                };
                let mut bytes = Vec::new();
                header.encode(&mut bytes);
                let read = Theirs::decode(&mut &bytes[..], theirs.request_header_version(version)).unwrap();
                prop_assert_eq!(read.client_id.as_deref(), client_id.as_deref());
                prop_assert_eq!((read.request_api_key, read.request_api_version), (key.number(), version));
                let mut again = BytesMut::new();
                read.encode(&mut again, theirs.request_header_version(version)).unwrap();
                prop_assert_eq!(&again[..], &bytes[..]);
                if tags && key.is_flexible(version) {
                    // A tag of the future.
                    bytes.pop();
                    bytes.extend_from_slice(&[1, 9, 2, 0xaa, 0xbb]);
                }
                bytes.push(7);
                let mut reader = Reader::new(&bytes);
                prop_assert_eq!(RequestHeader::decode(&mut reader), Ok(header));
                prop_assert_eq!(reader.rest(), [7]);

                let mut bytes = Vec::new();
                frame::put_response_header(&mut bytes, *key, version, correlation_id);
                let read = ResponseHeader::decode(&mut &bytes[..], theirs.response_header_version(version)).unwrap();
                prop_assert_eq!(read.correlation_id, correlation_id);
                let mut again = BytesMut::new();
                read.encode(&mut again, theirs.response_header_version(version)).unwrap();
                prop_assert_eq!(&again[..], &bytes[..]);
                bytes.push(7);
                let mut reader = Reader::new(&bytes);
                prop_assert_eq!(frame::read_response_header(&mut reader, *key, version), Ok(correlation_id));
                prop_assert_eq!(reader.rest(), [7]);
            }
        }
    }

    #[test]
    fn consumer_protocol_is_the_oracles(random in proptest::collection::vec(any::<u8>(), 0..300)) {
        use kafka_protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
        for version in 0..=3 {
            let source = &mut Source::new(&random);
            let subscription = Subscription::sample(source, Subscription::version(version));
            let bytes = consumer_protocol::encode(&subscription, version);
            let mut again = BytesMut::from(&bytes[..2]);
            ConsumerProtocolSubscription::decode(&mut &bytes[2..], version).unwrap().encode(&mut again, version).unwrap();
            prop_assert_eq!(&again[..], &bytes[..]);
            prop_assert_eq!(consumer_protocol::decode(&bytes), Ok(subscription));

            let assignment = Assignment::sample(source, Assignment::version(version));
            let bytes = consumer_protocol::encode(&assignment, version);
            let mut again = BytesMut::from(&bytes[..2]);
            ConsumerProtocolAssignment::decode(&mut &bytes[2..], version).unwrap().encode(&mut again, version).unwrap();
            prop_assert_eq!(&again[..], &bytes[..]);
            prop_assert_eq!(consumer_protocol::decode(&bytes), Ok(assignment));
        }
    }

    #[test]
    fn a_walk_through_a_produce_request_finds_what_decoding_finds(random in proptest::collection::vec(any::<u8>(), 0..600)) {
        for version in produce::Request::VERSIONS {
            let request = produce::Request::sample(&mut Source::new(&random), produce::Request::version(version));
            let mut body = Vec::new();
            request.encode(&mut body, version);
            let (head, walk) = produce::walk(&body, version).unwrap();
            prop_assert_eq!((head.transactional_id, head.acks, head.timeout_ms), (request.transactional_id, request.acks, request.timeout_ms));
            let counts = walk.clone().check().unwrap();
            prop_assert_eq!(counts.topics, request.topics.iter().filter(|topic| !topic.partitions.is_empty()).count());
            prop_assert_eq!(counts.partitions, request.topics.iter().map(|topic| topic.partitions.len()).sum::<usize>());
            let mut position = walk.position();
            for topic in &request.topics {
                for (nth, partition) in topic.partitions.iter().enumerate() {
                    // Each step as if the frame had been left and found again.
                    let mut walk = produce::Partitions::resume(&body, version, position);
                    let expected = produce::Entry {
                        name: topic.name, topic_id: topic.topic_id, partitions: topic.partitions.len(), nth,
                        index: partition.index, records: partition.records,
                    };
                    prop_assert_eq!(walk.next(), Some(Ok(expected)));
                    position = walk.position();
                }
            }
            prop_assert_eq!(produce::Partitions::resume(&body, version, position).next(), None);
            for cut in 0..body.len() {
                if let Ok((_, walk)) = produce::walk(&body[..cut], version) {
                    // Tags at the very end belong to the request itself, which the walk does not read.
                    let behind = usize::from(ApiKey::Produce.is_flexible(version));
                    prop_assert!(walk.check().is_err() || cut + behind >= body.len());
                }
            }
        }
    }

    #[test]
    fn any_bytes_do_not_make_a_walk_panic(body in proptest::collection::vec(any::<u8>(), 0..200), version in 0i16..15) {
        if let Ok((_, walk)) = produce::walk(&body, version) {
            prop_assert!(walk.count() <= body.len() + 1);
        }
    }

    #[test]
    fn responses_in_pieces_are_the_same_bytes(random in proptest::collection::vec(any::<u8>(), 0..600)) {
        for version in produce::Response::VERSIONS {
            let mut response = produce::Response::sample(&mut Source::new(&random), produce::Response::version(version));
            response.node_endpoints.clear();
            let mut out = Vec::new();
            produce::put_head(&mut out, version, response.topics.len());
            for topic in &response.topics {
                produce::put_topic_head(&mut out, version, topic.name, topic.topic_id, topic.partitions.len());
                for partition in &topic.partitions {
                    produce::put_partition(&mut out, version, partition);
                }
                produce::put_topic_tail(&mut out, version);
            }
            produce::put_tail(&mut out, version, response.throttle_time_ms);
            let mut whole = Vec::new();
            response.encode(&mut whole, version);
            prop_assert_eq!(out, whole);
        }
        for version in fetch::Response::VERSIONS {
            let response = fetch::Response::sample(&mut Source::new(&random), fetch::Response::version(version));
            let mut out = Vec::new();
            let mut whole = response.clone();
            fetch::put_head(&mut out, version, &response, response.topics.len());
            for (topic, whole) in response.topics.iter().zip(&mut whole.topics) {
                fetch::put_topic_head(&mut out, version, topic.topic, topic.topic_id, topic.partitions.len());
                for (partition, whole) in topic.partitions.iter().zip(&mut whole.partitions) {
                    let records = partition.records.unwrap_or_default();
                    whole.records = Some(records);
                    let partition = fetch::Partition { records: None, ..partition.clone() };
                    fetch::put_partition_head(&mut out, version, &partition, records.len());
                    out.extend_from_slice(records);
                    fetch::put_partition_tail(&mut out, version, &partition);
                }
                fetch::put_topic_tail(&mut out, version);
            }
            fetch::put_tail(&mut out, version, &response);
            let mut bytes = Vec::new();
            whole.encode(&mut bytes, version);
            prop_assert_eq!(out, bytes);
        }
    }

    #[test]
    fn varints_are_read_back(value: u32) {
        for value in [value, value >> 8, value >> 16, value >> 24, u32::MAX, 0x7f, 0x80] {
            let mut bytes = Vec::new();
            wire::put_uvarint(&mut bytes, value);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!((reader.uvarint(), reader.rest().len()), (Ok(value), 0));
        }
    }
}

#[test]
fn varints_of_more_than_32_bits_are_refused() {
    for bytes in [[0xff, 0xff, 0xff, 0xff, 0x10], [0x80, 0x80, 0x80, 0x80, 0x80]] {
        assert_eq!(Reader::new(&bytes).uvarint(), Err(DecodeError::Varint));
    }
}

#[test]
fn keys_are_their_numbers() {
    assert!(ApiKey::ALL.is_sorted());
    for key in ApiKey::ALL {
        assert_eq!(ApiKey::of(key.number()), Some(*key));
    }
    assert_eq!([-1, 4, 27, 1000].map(ApiKey::of), [None; 4]);
}

#[test]
fn frames_are_cut_and_sizes_judged_at_once() {
    let mut bytes = Vec::new();
    frame::put_frame(&mut bytes, |out| out.extend_from_slice(b"hello"));
    assert_eq!(frame::split(&bytes, 5), Ok(Split::Frame(b"hello")));
    assert_eq!(frame::split(&bytes[..8], 5), Ok(Split::Need(9)));
    assert_eq!(frame::split(&bytes[..3], 5), Ok(Split::Need(4)));
    assert_eq!(frame::split(&bytes[..4], 4), Err(FrameError::TooLarge { size: 5, max: 4 }));
    assert_eq!(frame::split(&[0xff, 0xff, 0xff, 0xfe], 4), Err(FrameError::Negative(-2)));
}

#[test]
fn an_unknown_request_has_a_header() {
    let header = RequestHeader { api_key: 999, api_version: 77, correlation_id: 5, client_id: Some("x") };
    let mut bytes = Vec::new();
    header.encode(&mut bytes);
    assert_eq!(RequestHeader::decode(&mut Reader::new(&bytes)), Ok(header));
}

#[test]
fn null_is_refused_where_a_value_must_stand() {
    // Metadata's topics may be null from version 1 on.
    let null = [0xff; 4];
    let read = |version| metadata::Request::decode(&mut Reader::new(&null), version);
    assert_eq!(read(0), Err(DecodeError::Null));
    assert_eq!(read(1).map(|request| request.topics), Ok(None));
    let all = metadata::Request { topics: None, ..Default::default() };
    let mut out = Vec::new();
    all.encode(&mut out, 0);
    assert_eq!(out, [0; 4], "version 0 asks for all by an empty list");
}

#[test]
fn a_tagged_value_fills_its_length() {
    let read = |len, more: &[u8]| {
        // No error, no APIs, no throttling.
        let mut body = vec![0, 0, 1, 0, 0, 0, 0];
        // Tag 1, the epoch of the finalized features, is eight bytes.
        body.extend_from_slice(&[1, 1, len, 0, 0, 0, 0, 0, 0, 0, 9]);
        body.extend_from_slice(more);
        api_versions::Response::decode(&mut Reader::new(&body), 3).map(|response| response.finalized_features_epoch)
    };
    assert_eq!(read(8, &[]), Ok(9));
    assert_eq!(read(9, &[0]), Err(DecodeError::Length));
    assert_eq!(read(7, &[]), Err(DecodeError::Short));
}

#[test]
fn lengths_are_judged() {
    let plain = Version { number: 0, flexible: false };
    let mut reader = Reader::new(&[0xff, 0xfe]);
    assert_eq!(<&str>::read(&mut reader, plain), Err(DecodeError::Length));
    let mut reader = Reader::new(&[0x7f, 0xff, 0xff, 0xff, 0, 0]);
    assert_eq!(Vec::<i16>::read(&mut reader, plain), Err(DecodeError::Short));
    let mut reader = Reader::new(&[0, 1, 0xff]);
    assert_eq!(<&str>::read(&mut reader, plain), Err(DecodeError::Utf8));
    // A string that nobody could read is cut between characters.
    let long = "é".repeat(20_000);
    let mut out = Vec::new();
    <&str>::put_nullable(Some(&long.as_str()), &mut out, plain);
    assert_eq!(<&str>::read(&mut Reader::new(&out), plain), Ok(&long[..32_766]));
}

/// docs/protocols/kafka.md tells which versions are served.
#[test]
fn the_documented_versions_are_those_that_are_served() {
    let page = include_str!("../../../../docs/protocols/kafka.md");
    let row = |key: &ApiKey| match key.versions().into_inner() {
        (first, last) if first == last => format!("| {} | {} | {first} |\n", key.number(), key.name()),
        (first, last) => format!("| {} | {} | {first} to {last} |\n", key.number(), key.name()),
    };
    let table: String =
        ["| key | API | versions |\n|--:|---|---|\n".to_owned()].into_iter().chain(ApiKey::ALL.iter().map(row)).collect();
    assert!(page.contains(&format!("\n\n{table}\n")), "write this into the page:\n{table}");
}
