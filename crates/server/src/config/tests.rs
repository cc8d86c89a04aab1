use std::io::Write as _;
use std::path::PathBuf;

use super::settings::{Advertised, Durability, SETTINGS};
use super::{Config, Flags, load, reference};

fn nothing(_: &str) -> Option<String> {
    None
}

fn file(text: &str) -> (tempfile::NamedTempFile, PathBuf) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let path = file.path().to_owned();
    (file, path)
}

fn error_of(flags: &Flags, variable: &dyn Fn(&str) -> Option<String>) -> String {
    load(flags, variable).unwrap_err().to_string()
}

#[test]
fn nothing_set_gives_the_defaults() {
    let config = load(&Flags::default(), &nothing).unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.data_dir, PathBuf::from("./yam-data"));
    assert_eq!(config.amqp_listen, vec!["127.0.0.1:5672".parse().unwrap()]);
    assert_eq!(config.durability, Durability::Fsync);
}

#[test]
fn flag_beats_environment_beats_file() {
    let (_keep, path) = file("data_dir = 'file'\ndurability = 'relaxed'\ncache_size = 1048576\n");
    let variable = |name: &str| match name {
        "YAM_DATA_DIR" => Some("environment".to_owned()),
        "YAM_CACHE_SIZE" => Some("2MiB".to_owned()),
        _ => None,
    };
    let config = load(&Flags::of(&[("data-dir", &["flag"])], Some(path)), &variable).unwrap();
    assert_eq!(config.data_dir, PathBuf::from("flag"));
    assert_eq!(config.cache_bytes, 2 << 20);
    assert_eq!(config.durability, Durability::Relaxed);
}

#[test]
fn the_file_can_be_named_by_the_environment() {
    let (_keep, path) = file("data_dir = 'file'\n");
    let config = load(&Flags::default(), &|name| (name == "YAM_CONFIG").then(|| path.display().to_string())).unwrap();
    assert_eq!(config.data_dir, PathBuf::from("file"));
}

#[test]
fn several_addresses_from_every_source() {
    let two = vec!["127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap()];
    let (_keep, path) = file("amqp_listen = ['127.0.0.1:1', '127.0.0.1:2']\n");
    assert_eq!(load(&Flags::of(&[], Some(path)), &nothing).unwrap().amqp_listen, two);
    let flags = Flags::of(&[("amqp-listen", &["127.0.0.1:1", "127.0.0.1:2"])], None);
    assert_eq!(load(&flags, &nothing).unwrap().amqp_listen, two);
    let variable = |name: &str| (name == "YAM_AMQP_LISTEN").then(|| "127.0.0.1:1, 127.0.0.1:2".to_owned());
    assert_eq!(load(&Flags::default(), &variable).unwrap().amqp_listen, two);
}

#[test]
fn kafka_listens_nowhere_or_is_advertised() {
    let config = |given: &[(&'static str, &[&str])]| load(&Flags::of(given, None), &nothing);
    assert!(config(&[("kafka-listen", &["none"])]).unwrap().kafka_listen.is_empty());
    let two = config(&[("kafka-listen", &["127.0.0.1:1", "[::1]:2"]), ("kafka-advertised", &["auto", "[::1]:9"])]).unwrap();
    assert_eq!(two.kafka_listen, [vec!["127.0.0.1:1".parse().unwrap()], vec!["[::1]:2".parse().unwrap()]]);
    assert_eq!(two.kafka_advertised, [None, Some(Advertised { host: "::1".into(), port: 9 })]);
    for wrong in ["broker", "broker:", "broker:0", "0.0.0.0:9092", "[::]:9092", ":9092", "kafka://broker:9092"] {
        assert!(config(&[("kafka-advertised", &[wrong])]).is_err(), "{wrong}");
    }
}

#[test]
fn errors_name_the_place_and_the_remedy() {
    let error = error_of(&Flags::of(&[("amqp-listen", &["nonsense"])], None), &nothing);
    assert!(error.starts_with("--amqp-listen: 'nonsense' is no address: write HOST:PORT"), "{error}");

    for (option, address) in [("amqp-listen", "127.0.0.1:70000"), ("kafka-advertised", "broker:70000")] {
        let error = error_of(&Flags::of(&[(option, &[address])], None), &nothing);
        assert!(error.starts_with(&format!("--{option}: '{address}' names no port: the largest is 65535: write")), "{error}");
    }

    let error = error_of(&Flags::default(), &|name| (name == "YAM_DURABILITY").then(|| "maybe".to_owned()));
    assert_eq!(error, "environment variable YAM_DURABILITY: 'maybe' is no durability: write fsync or relaxed");

    let (_keep, path) = file("data_dir = 'x'\n\ncache_size = '12 parsecs'\n");
    let error = error_of(&Flags::of(&[], Some(path.clone())), &nothing);
    assert!(error.starts_with(&format!("{}:3: cache_size: '12 parsecs' is no size", path.display())), "{error}");

    let error = error_of(&Flags::of(&[], Some("/nowhere/yam.toml".into())), &nothing);
    assert!(error.contains("/nowhere/yam.toml") && error.contains("--config"), "{error}");
}

#[test]
fn the_file_refuses_what_it_does_not_know() {
    let (_keep, path) = file("\namqp_lisen = '127.0.0.1:1'\n");
    let error = error_of(&Flags::of(&[], Some(path.clone())), &nothing);
    assert_eq!(error, format!("{}:2: unknown option 'amqp_lisen': did you mean 'amqp_listen'?", path.display()));

    let (_keep, path) = file("[amqp]\nlisten = 1\n");
    let error = error_of(&Flags::of(&[], Some(path)), &nothing);
    assert!(error.contains(":1: unknown option 'amqp'"), "{error}");

    let (_keep, path) = file("data_dir = 'x'\nlog_level = \n");
    let error = error_of(&Flags::of(&[], Some(path)), &nothing);
    assert!(error.contains(":2: not valid TOML"), "{error}");

    let (_keep, path) = file("data_dir = ['a', 'b']\n");
    let error = error_of(&Flags::of(&[], Some(path)), &nothing);
    assert!(error.contains(":1: data_dir: a array is not expected") || error.contains("data_dir"), "{error}");
}

/// `--log-level inof` was the crate `inof` at level trace, and nothing else.
#[test]
fn a_log_level_that_is_none_is_refused() {
    let level = |text: &str| load(&Flags::of(&[("log-level", &[text])], None), &nothing).map(|config| config.log_level);
    let right =
        ["info", "WARN", "off", "info,amqp=debug", "yam::serve=trace, warn", "kafka", "error,journal", "[span{a=b}]=info", "2"];
    for text in right {
        assert_eq!(level(text).unwrap(), text);
    }
    for (text, named) in [("inof", "inof"), ("zork", "zork"), ("info,ampq=debug", "ampq=debug"), ("info,amqp=loud", "amqp=loud")]
    {
        let error = level(text).unwrap_err().to_string();
        assert!(error.starts_with(&format!("--log-level: '{named}' is no log level")), "{error}");
        assert!(error.contains("write error, warn, info, debug or trace"), "{error}");
    }
}

/// Every crate whose code runs in the broker is known to `--log-level`.
#[test]
fn the_targets_of_logs_are_the_crates() {
    let crates = std::fs::read_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap();
    let mut crates: Vec<_> = crates.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    // The simulator is another roof, the server's crate is called as its binary, and mio is not ours.
    crates.retain(|name| !matches!(name.as_str(), "clippy.toml" | "sim" | "server"));
    crates.extend(["yam".to_owned(), "mio".to_owned()]);
    let mut known = super::settings::LOG_TARGETS.to_vec();
    known.sort_unstable();
    crates.sort();
    assert_eq!(known, crates);
}

#[test]
fn a_wrong_value_is_reported_even_where_a_flag_overrides_it() {
    let flags = Flags::of(&[("durability", &["fsync"])], None);
    let error = error_of(&flags, &|name| (name == "YAM_DURABILITY").then(|| "maybe".to_owned()));
    assert!(error.contains("YAM_DURABILITY"), "{error}");
}

#[test]
fn connections_are_as_many_as_are_said_or_as_the_system_allows() {
    let count =
        |text: &str| load(&Flags::of(&[("connections-max", &[text])], None), &nothing).map(|config| config.connections_max);
    assert_eq!(load(&Flags::default(), &nothing).unwrap().connections_max, None);
    assert_eq!(count("auto").unwrap(), None);
    assert_eq!(count("7").unwrap(), Some(7));
    for wrong in ["0", "-1", "many", ""] {
        assert!(count(wrong).unwrap_err().to_string().contains("write a whole number from 1 on, or auto"), "{wrong}");
    }
}

#[test]
fn names_are_unique_and_documented() {
    for (index, setting) in SETTINGS.iter().enumerate() {
        assert!(SETTINGS.iter().skip(index + 1).all(|other| other.name != setting.name), "{} twice", setting.name);
        assert!(setting.doc.ends_with('.'), "{}: the doc is not a sentence", setting.name);
    }
}

/// docs/configuration.md is made from the table; `REWRITE=1 cargo test -p server reference` rewrites it.
#[test]
#[expect(clippy::disallowed_methods, reason = "reads and rewrites a page of the repository, not data")]
fn reference_is_up_to_date() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let page = reference::page();
    if std::env::var_os("REWRITE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == page, "docs/configuration.md is not what the table says: run REWRITE=1 cargo test -p server reference");
}
