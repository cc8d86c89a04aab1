//! Who may ask.

use model::Failure;

use super::*;
use crate::codec::error_code::*;
use crate::codec::{sasl_authenticate, sasl_handshake};

fn required() -> Harness {
    Harness::with(SessionOptions { sasl_required: true, ..SessionOptions::default() })
}

fn handshake(mechanism: &'static str) -> Request<'static> {
    Request::SaslHandshake(sasl_handshake::Request { mechanism })
}

fn token(auth_bytes: &'static [u8]) -> Request<'static> {
    Request::SaslAuthenticate(sasl_authenticate::Request { auth_bytes })
}

fn all_topics() -> Request<'static> {
    Request::Metadata(metadata::Request { topics: None, ..Default::default() })
}

#[test]
fn plain_lets_in_and_again() {
    let mut harness = required();
    harness.ask(3, &api_versions());
    for version in [1, 2] {
        let Response::SaslHandshake(told) = harness.ask(1, &handshake("PLAIN")) else { panic!() };
        assert_eq!((told.error_code, &told.mechanisms[..]), (0, &["PLAIN"][..]));
        let Response::SaslAuthenticate(told) = harness.ask(version, &token(b"\0guest\0guest")) else { panic!() };
        assert_eq!((told.error_code, told.session_lifetime_ms), (0, 0));
        assert_eq!(harness.broker.take_log(), ["authenticate 'guest' 'guest'", "open host '/'"]);
        assert!(matches!(harness.ask(9, &all_topics()), Response::Metadata(_)));
        harness.broker.take_log();
    }
    // KIP-368: not as somebody else.
    harness.ask(1, &handshake("PLAIN"));
    let Response::SaslAuthenticate(told) = harness.ask(1, &token(b"\0other\0guest")) else { panic!() };
    assert_eq!(told.error_code, SASL_AUTHENTICATION_FAILED);
    assert!(harness.is_closing() && harness.broker.take_log().is_empty());
}

#[test]
fn bare_tokens_follow_version_0() {
    let mut harness = required();
    harness.ask(0, &handshake("PLAIN"));
    harness.receive(b"\0\0\0\x0c\0guest\0guest");
    assert_eq!(harness.out.take(), [0, 0, 0, 0]);
    assert!(matches!(harness.ask(9, &all_topics()), Response::Metadata(_)));

    let mut harness = required();
    harness.ask(0, &handshake("PLAIN"));
    harness.receive(b"\0\0\0\x0c\0guest\0wrong");
    assert_eq!(harness.closed(), "login refused for user 'guest'");
}

#[test]
fn a_wrong_password_is_told_and_ends_the_connection() {
    for bad in [&b"\0guest\0wrong"[..], b"guest", b"\0guest", b"other\0guest\0guest", b"\0\xff\0guest", b""] {
        let mut harness = required();
        harness.ask(1, &handshake("PLAIN"));
        let Response::SaslAuthenticate(told) = harness.ask(2, &token(bad)) else { panic!() };
        assert_eq!(told.error_code, SASL_AUTHENTICATION_FAILED);
        assert!(told.error_message.is_some());
        assert!(harness.is_closing());
    }
}

#[test]
fn what_comes_before_a_required_login_ends_the_connection() {
    let mut harness = required();
    harness.send_silently(9, &all_topics());
    assert_eq!(harness.closed(), "Metadata before a login, which is required");
    let mut harness = required();
    harness.send_silently(1, &token(b"\0guest\0guest"));
    assert_eq!(harness.closed(), "SaslAuthenticate without a handshake");
    let mut harness = required();
    let Response::SaslHandshake(told) = harness.ask(1, &handshake("SCRAM-SHA-256")) else { panic!() };
    assert_eq!((told.error_code, &told.mechanisms[..]), (UNSUPPORTED_SASL_MECHANISM, &["PLAIN"][..]));
    assert!(harness.is_closing());
    let mut harness = required();
    harness.receive(&(1u32 << 20).to_be_bytes());
    assert!(harness.closed().contains("above the limit"));
    let mut harness = required();
    harness.ask(3, &api_versions());
    harness.wait(30_000);
    assert_eq!(harness.closed(), "no login in time");
}

/// Whoever has not logged in yet fills no log with it.
#[test]
fn what_a_stranger_says_is_not_repeated_at_length() {
    let mut harness = required();
    let Response::SaslHandshake(_) = harness.ask(1, &handshake("x\u{20ac}".repeat(8_000).leak())) else { panic!() };
    let complaint = harness.closed();
    assert!(complaint.starts_with("SASL mechanism 'x") && complaint.len() <= 512, "{}", complaint.len());
    let mut harness = required();
    harness.ask(1, &handshake("PLAIN"));
    let long = [b"\0", &[b'u'; 256][..], b"\0guest"].concat().leak();
    let Response::SaslAuthenticate(told) = harness.ask(2, &token(long)) else { panic!() };
    assert_eq!(told.error_code, SASL_AUTHENTICATION_FAILED);
    assert!(harness.broker.take_log().is_empty(), "nobody has such a name");
}

/// Without a login the client is the guest, whom the broker may refuse.
#[test]
fn a_guest_from_elsewhere_is_sent_away() {
    let mut harness = Harness::new();
    harness.broker.next.push_back(Err(Failure::LoginRefused { user: "guest".into() }));
    harness.send_silently(9, &all_topics());
    assert_eq!(harness.closed(), "login refused for user 'guest'");
}
