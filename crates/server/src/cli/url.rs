//! Where a broker is: `amqp://user:password@host:port/vhost`, as every AMQP client writes it.

use std::str::FromStr;

/// What `--url` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub user: String,
    pub password: String,
    pub host: String,
    pub port: u16,
    pub vhost: String,
}

/// The value of `--url` where none is given.
pub const DEFAULT: &str = "amqp://guest:guest@127.0.0.1:5672/%2f";

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Url, String> {
        let wrong = |what: &str| format!("{what}; write it as {DEFAULT}");
        let rest = text.strip_prefix("amqp://").ok_or_else(|| wrong("an address begins with amqp://"))?;
        let (authority, vhost) = match rest.split_once('/') {
            Some((authority, vhost)) if !vhost.is_empty() => {
                (authority, decode(vhost).ok_or_else(|| wrong("the vhost is not percent-encoded"))?)
            }
            _ => (rest.trim_end_matches('/'), "/".to_owned()),
        };
        let (login, place) = authority.rsplit_once('@').unwrap_or(("guest:guest", authority));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let (host, port) = match place.rsplit_once(':') {
            // The colons of a bare IPv6 address in brackets are not followed by a port.
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| wrong("the port is no number up to 65535"))?)
            }
            _ => (place, 5672),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Ok(Url {
            user: decode(user).ok_or_else(|| wrong("the user is not percent-encoded"))?,
            password: decode(password).ok_or_else(|| wrong("the password is not percent-encoded"))?,
            host: if host.is_empty() { "127.0.0.1" } else { host }.to_owned(),
            port,
            vhost,
        })
    }
}

impl Url {
    /// Host and port, for people.
    #[must_use]
    pub fn place(&self) -> String {
        let Url { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

/// `%2f` -> `/`
pub fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after.get(2..)?;
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::Url;

    fn url(user: &str, password: &str, host: &str, port: u16, vhost: &str) -> Result<Url, String> {
        let own = str::to_owned;
        Ok(Url { user: own(user), password: own(password), host: own(host), port, vhost: own(vhost) })
    }

    #[test]
    fn urls_as_clients_write_them() {
        assert_eq!("amqp://guest:guest@127.0.0.1:5672/%2f".parse(), url("guest", "guest", "127.0.0.1", 5672, "/"));
        assert_eq!("amqp://localhost".parse(), url("guest", "guest", "localhost", 5672, "/"));
        assert_eq!("amqp://a:b%40c@h:1/v%2Fw".parse(), url("a", "b@c", "h", 1, "v/w"));
        assert_eq!("amqp://[::1]:5673/".parse(), url("guest", "guest", "::1", 5673, "/"));
        assert_eq!("amqp://[::1]".parse(), url("guest", "guest", "::1", 5672, "/"));
        assert_eq!("amqp://[::1]".parse().map(|url: Url| url.place()), Ok("[::1]:5672".to_owned()));
        assert_eq!("amqp://h".parse().map(|url: Url| url.place()), Ok("h:5672".to_owned()));
    }

    #[test]
    fn wrong_urls_say_what_to_write() {
        for wrong in ["http://h", "amqp://h:port", "amqp://h/%zz"] {
            let error = wrong.parse::<Url>().unwrap_err();
            assert!(error.contains("write it as amqp://guest:guest@127.0.0.1:5672/%2f"), "{error}");
        }
    }
}
