//! What the first bytes of a connection look like, for whoever came to the wrong port and wonders why.

/// The names of what is spoken here.
pub const AMQP: &str = "AMQP 0-9-1";
pub const KAFKA: &str = "Kafka";

/// How other protocols begin.
const BEGINNINGS: &[(&[u8], &str)] = &[
    (b"AMQP\x00\x01\x00\x00", "AMQP 1.0"),
    (b"AMQP\x03\x01\x00\x00", "AMQP 1.0 with SASL"),
    (b"AMQP\x02\x01\x00\x00", "AMQP 1.0 with TLS"),
    (b"AMQP\x00\x00\x09\x01", AMQP),
    (b"AMQP\x01\x01\x00\x09", AMQP),
    (b"AMQP", "another version of AMQP"),
    (b"\x16\x03", "TLS"),
    (b"SSH-", "SSH"),
    (b"GET ", "HTTP"),
    (b"HEAD ", "HTTP"),
    (b"POST ", "HTTP"),
    (b"PUT ", "HTTP"),
    (b"DELETE ", "HTTP"),
    (b"OPTIONS ", "HTTP"),
    (b"CONNECT ", "HTTP"),
    (b"PATCH ", "HTTP"),
    (b"TRACE ", "HTTP"),
    (b"PRI * HTTP/2", "HTTP/2"),
    (b"PROXY ", "the PROXY protocol of a load balancer"),
    (b"\r\n\r\n\0\r\nQUIT\n", "the PROXY protocol of a load balancer"),
    (b"CONNECT\n", "STOMP"),
    (b"CONNECT\r", "STOMP"),
    (b"STOMP", "STOMP"),
    (b"*1\r\n", "Redis's protocol"),
    (b"EHLO ", "SMTP"),
    (b"HELO ", "SMTP"),
];

/// With fewer bytes it may yet become what is spoken here.
const ENOUGH: usize = 8;

/// What this input begins with, if that is not what is spoken here.
pub fn foreign(spoken: &str, input: &[u8]) -> Option<&'static str> {
    if input.len() < ENOUGH {
        return None;
    }
    let beginning = || BEGINNINGS.iter().find(|(bytes, _)| input.starts_with(bytes)).map(|(_, name)| *name);
    beginning()
        .or_else(|| is_mqtt(input).then_some("MQTT"))
        .or_else(|| is_kafka(input).then_some(KAFKA))
        .filter(|found| *found != spoken)
}

/// CONNECT: its length in one to four bytes, and a name of its own length.
fn is_mqtt(input: &[u8]) -> bool {
    let named = |rest: &[u8]| rest.starts_with(b"\0\x04MQTT") || rest.starts_with(b"\0\x06MQIsdp");
    input.first() == Some(&0x10) && (2..=5).any(|at| input.get(at..).is_some_and(named))
}

/// A request's header: a length that is none too large, a known number's range, a low version.
fn is_kafka(input: &[u8]) -> bool {
    let Some(head) = input.first_chunk::<8>() else { return false };
    let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    (8..64 << 10).contains(&size) && head[4] == 0 && head[5] < 100 && head[6] == 0 && head[7] < 30
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_to_the_wrong_port_has_a_name() {
        let cases: &[(&[u8], Option<&str>, Option<&str>)] = &[
            (b"AMQP\0\0\x09\x01", None, Some(AMQP)),
            (b"AMQP\0\x01\0\0", Some("AMQP 1.0"), Some("AMQP 1.0")),
            (b"AMQP\x03\x01\0\0", Some("AMQP 1.0 with SASL"), Some("AMQP 1.0 with SASL")),
            (b"AMQP\x01\x01\x08\0", Some("another version of AMQP"), Some("another version of AMQP")),
            (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", Some("TLS"), Some("TLS")),
            (b"GET / HTTP/1.1\r\n", Some("HTTP"), Some("HTTP")),
            (b"SSH-2.0-OpenSSH_9.2\r\n", Some("SSH"), Some("SSH")),
            (b"\x10\x2a\0\x04MQTT\x04\x02", Some("MQTT"), Some("MQTT")),
            (b"\x10\xff\x01\0\x04MQTT\x05", Some("MQTT"), Some("MQTT")),
            (b"\0\0\0\x23\0\x12\0\x03\0\0\0\0", Some(KAFKA), None),
            (b"\x01\0\0\0\0\x10\0\x0a", None, None),
            (b"AMQP\0\0", None, None),
            (b"", None, None),
        ];
        for (input, at_amqp, at_kafka) in cases {
            assert_eq!((foreign(AMQP, input), foreign(KAFKA, input)), (*at_amqp, *at_kafka), "{input:?}");
        }
    }
}
