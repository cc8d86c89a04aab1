//! Who may enter.

/// A person or program that may log in.
#[derive(Clone, Debug)]
pub struct User {
    pub name: String,
    pub password: String,
    /// May log in only from this machine.
    pub loopback_only: bool,
}

impl User {
    /// `guest` with password `guest`, from this machine only, as RabbitMQ has it.
    #[must_use]
    pub fn guest() -> User {
        User { name: "guest".into(), password: "guest".into(), loopback_only: true }
    }
}

/// Whether `users` holds that name with that password, for a peer that is on this machine or not.
pub(crate) fn login(users: &[User], name: &str, password: &[u8], loopback: bool) -> bool {
    users.iter().any(|user| user.name == name && same(user.password.as_bytes(), password) && (loopback || !user.loopback_only))
}

/// Equality whose time does not depend on where the two differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_enters_from_this_machine_only() {
        let users = [User::guest()];
        assert!(login(&users, "guest", b"guest", true));
        assert!(!login(&users, "guest", b"guest", false));
        assert!(!login(&users, "guest", b"guesT", true));
        assert!(!login(&users, "other", b"guest", true));
    }
}
