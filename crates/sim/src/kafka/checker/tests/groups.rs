use super::named;
use crate::kafka::ask::Joined;
use crate::kafka::checker::groups::Generations;

fn joined(generation: i32, id: &str, members: &[&str]) -> Joined {
    Joined { generation, id: id.into(), members: members.iter().map(|id| (*id).to_owned()).collect() }
}

#[test]
fn no_partition_is_at_two_members() {
    let mut generations = Generations::default();
    generations.handed(1, "a", &[0, 2]).unwrap();
    generations.handed(1, "b", &[1]).unwrap();
    generations.handed(1, "a", &[0, 2]).unwrap();
    generations.handed(2, "b", &[0, 1, 2]).unwrap();
    assert_eq!(named(generations.handed(1, "c", &[2])), "groups");
    assert_eq!(named(generations.handed(1, "a", &[0])), "groups");
}

#[test]
fn generations_do_not_go_back() {
    let mut generations = Generations::default();
    assert_eq!(generations.newest(), 0);
    generations.handed(3, "a", &[0]).unwrap();
    assert_eq!(generations.newest(), 3);
    generations.joined(3, &joined(4, "b", &["a", "b"])).unwrap();
    generations.joined(3, &joined(3, "a", &["a"])).unwrap();
    generations.kept();
    assert_eq!(named(generations.joined(3, &joined(2, "a", &[]))), "groups");
    // The same number for other members.
    assert_eq!(named(generations.joined(3, &joined(3, "b", &["b"]))), "groups");
}

#[test]
fn a_group_of_which_nothing_is_left_begins_anew() {
    let mut generations = Generations::default();
    generations.handed(3, "a", &[0]).unwrap();
    generations.joined(3, &joined(1, "b", &["b"])).unwrap();
    generations.handed(1, "b", &[0]).unwrap();
    assert_eq!(generations.newest(), 1);
}
