use super::cases;
use crate::report::median;

#[test]
fn the_median_is_in_the_middle() {
    assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
    assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    assert!(median(Vec::new()).is_nan());
}

#[test]
fn case_names_are_unique_and_fit_the_command_line() {
    let all = cases::all(8.0);
    for (index, case) in all.iter().enumerate() {
        assert!(!case.name.contains(','), "{}", case.name);
        assert!(all[..index].iter().all(|other| other.name != case.name), "{}", case.name);
    }
}
