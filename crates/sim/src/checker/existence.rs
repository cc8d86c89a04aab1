//! Whether something exists, as far as those know who only hear answers.

/// What is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Absent,
    Present,
    /// Requests crossed, or an answer never came.
    Unknown,
}

/// Something that clients create and delete, perhaps at the same time.
#[derive(Clone, Debug, Default)]
pub struct Existence {
    state: State,
    creating: u32,
    deleting: u32,
    creates: u32,
    deletes: u32,
}

/// What had been asked when a request was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    creates: u32,
    deletes: u32,
    /// The opposite was just being asked.
    crossed: bool,
}

impl Existence {
    pub fn present() -> Existence {
        Existence { state: State::Present, ..Existence::default() }
    }

    /// It exists, whatever crosses on the way.
    pub fn certain(&self) -> bool {
        self.state == State::Present && self.deleting == 0
    }

    /// It may exist.
    pub fn possible(&self) -> bool {
        self.state != State::Absent || self.creating > 0
    }

    /// Somebody is deleting it.
    pub fn deleting(&self) -> bool {
        self.deleting > 0
    }

    /// How often it was deleted, or asked to be.
    pub fn deletes(&self) -> u32 {
        self.deletes
    }

    /// It does not exist, and nobody is creating it.
    pub fn absent(&self) -> bool {
        !self.possible()
    }

    pub fn create(&mut self) -> Ticket {
        self.creating += 1;
        self.creates += 1;
        Ticket { creates: self.creates, deletes: self.deletes, crossed: self.deleting > 0 }
    }

    pub fn delete(&mut self) -> Ticket {
        self.deleting += 1;
        self.deletes += 1;
        Ticket { creates: self.creates, deletes: self.deletes, crossed: self.creating > 0 }
    }

    pub fn created(&mut self, ticket: Ticket) {
        self.creating -= 1;
        let alone = !ticket.crossed && self.deleting == 0 && self.deletes == ticket.deletes;
        self.state = if alone { State::Present } else { State::Unknown };
    }

    pub fn deleted(&mut self, ticket: Ticket) {
        self.deleting -= 1;
        let alone = !ticket.crossed && self.creating == 0 && self.creates == ticket.creates;
        self.state = if alone { State::Absent } else { State::Unknown };
    }

    /// The answer to a creation will never come.
    pub fn create_abandoned(&mut self) {
        self.creating -= 1;
        if self.state == State::Absent {
            self.state = State::Unknown;
        }
    }

    /// The answer to a deletion will never come.
    pub fn delete_abandoned(&mut self) {
        self.deleting -= 1;
        if self.state == State::Present {
            self.state = State::Unknown;
        }
    }

    /// The broker says that it is not there.
    pub fn refuted(&mut self) {
        if self.creating == 0 {
            self.state = State::Absent;
        }
    }

    /// It went away by itself.
    pub fn vanished(&mut self) {
        self.deletes += 1;
        self.state = if self.creating == 0 { State::Absent } else { State::Unknown };
    }

    /// It may have gone away by itself.
    pub fn doubtful(&mut self) {
        self.deletes += 1;
        if self.state == State::Present {
            self.state = State::Unknown;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_answered_alone_is_certain() {
        let mut thing = Existence::default();
        assert!(thing.absent());
        let ticket = thing.create();
        assert!(thing.possible() && !thing.certain());
        thing.created(ticket);
        assert!(thing.certain());
        let ticket = thing.delete();
        assert!(!thing.certain() && thing.possible());
        thing.deleted(ticket);
        assert!(thing.absent());
    }

    #[test]
    fn what_crossed_is_unknown() {
        let mut thing = Existence::default();
        let create = thing.create();
        let delete = thing.delete();
        thing.created(create);
        assert!(thing.possible() && !thing.certain());
        thing.deleted(delete);
        assert!(thing.possible() && !thing.certain(), "either may have been the last");
        let create = thing.create();
        thing.created(create);
        assert!(thing.certain());
    }

    #[test]
    fn an_answer_that_never_came_leaves_both_possible() {
        let mut thing = Existence::present();
        thing.delete();
        thing.delete_abandoned();
        assert!(thing.possible() && !thing.certain());
        thing.refuted();
        assert!(thing.absent());
    }
}
