//! What a start prints, what it refuses in one line, and what a refusal leaves untouched.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use amqp::codec::channel;
use tempfile::tempdir;

use crate::yam::{Yam, command, contents, count, declare, output, publish_confirmed, refused, until_closed};

#[test]
fn a_line_per_listener_and_both_serve() {
    let dir = tempdir().unwrap();
    let yam = Yam::start_with(&dir.path().join("data"), &["--amqp-listen", "127.0.0.1:0", "--amqp-listen", "127.0.0.1:0"]);
    assert_eq!(yam.addresses.len(), 2);
    assert_ne!(yam.addresses[0], yam.addresses[1]);
    for address in &yam.addresses {
        let url = format!("amqp://{address}");
        crate::cli::link::Link::open(&url.parse().unwrap()).unwrap().close().unwrap();
    }
}

/// Kafka has its own line, and clients are told of the address they came by, or of the one that is advertised.
#[test]
fn a_kafka_listener_says_where_it_is() {
    let dir = tempdir().unwrap();
    let mut asked = b"\0\0\0\x13\0\x3c\0\0\0\0\0\x01\0\x04test\0\0\0".to_vec();
    for advertised in [None, Some("broker.example:19092")] {
        let data = dir.path().join(advertised.unwrap_or("plain"));
        let mut arguments = vec!["--amqp-listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0"];
        arguments.extend(advertised.iter().flat_map(|advertised| ["--kafka-advertised", advertised]));
        let yam = Yam::start_with(&data, &arguments);
        let [_, kafka] = yam.addresses[..] else { panic!("two listeners") };
        let (host, port) = advertised.map_or(("127.0.0.1", kafka.port()), |_| ("broker.example", 19092));
        let mut stream = TcpStream::connect(kafka).unwrap();
        // DescribeCluster version 0, in a frame of its own length.
        let size = asked.len() as u32 - 4;
        asked[..4].copy_from_slice(&size.to_be_bytes());
        stream.write_all(&asked).unwrap();
        let mut size = [0; 4];
        stream.read_exact(&mut size).unwrap();
        let mut answer = vec![0; u32::from_be_bytes(size) as usize];
        stream.read_exact(&mut answer).unwrap();
        let mut told = host.as_bytes().to_vec();
        told.extend_from_slice(&u32::from(port).to_be_bytes());
        assert!(answer.windows(told.len()).any(|window| window == told), "{answer:?}");
        yam.kill();
    }
    let words = refused(&output(&["serve", "--kafka-listen", "none", "--kafka-advertised", "a:1", "--data-dir", "nowhere"]));
    assert!(words.contains("--kafka-advertised"), "{words}");
}

#[test]
fn a_second_process_on_the_same_directory_is_refused() {
    let dir = tempdir().unwrap();
    let yam = Yam::start(dir.path());
    let holder = || fs::read_to_string(dir.path().join("LOCK")).unwrap();
    let before = holder();
    let words = refused(&output(&["serve", "--amqp-listen", "127.0.0.1:0", "--data-dir", dir.path().to_str().unwrap()]));
    assert_eq!(words.lines().count(), 1, "{words}");
    assert!(words.contains("is in use by") && words.contains("--data-dir"), "{words}");
    assert_eq!(holder(), before, "the refused process touched the lock");
    yam.assert_serves();
    // The offline check is refused likewise.
    assert!(refused(&output(&["check", "--data-dir", dir.path().to_str().unwrap()])).contains("is in use by"));
}

#[test]
fn a_port_in_use_is_refused_before_anything_is_touched() {
    let dir = tempdir().unwrap();
    let data = dir.path().join("data");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let words = refused(&output(&["serve", "--amqp-listen", &address, "--data-dir", data.to_str().unwrap()]));
    assert_eq!(words.lines().count(), 1, "{words}");
    assert!(words.contains(&address) && words.contains("in use") && words.contains("--amqp-listen"), "{words}");
    assert!(!data.exists());
}

/// It was another process's port that had to be freed, though there was none.
#[test]
fn a_port_that_is_given_twice_is_said_to_be() {
    let dir = tempdir().unwrap();
    let data = dir.path().join("data");
    // A port that is free, as far as anyone can know.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let arguments = ["serve", "--data-dir", data.to_str().unwrap(), "--amqp-listen", &address.to_string(), "--kafka-listen"];
    let same = refused(&output(&[&arguments[..], &[&address.to_string()]].concat()));
    let everywhere = format!("0.0.0.0:{}", address.port());
    for (words, second) in
        [(same, address.to_string()), (refused(&output(&[&arguments[..], &[&everywhere]].concat())), everywhere)]
    {
        let expected = format!(
            "yam: cannot listen on {second}: --amqp-listen {address} has taken port {} already; give one of the two another port",
            address.port()
        );
        assert_eq!(words, expected);
    }
    assert!(!data.exists());
}

/// The cause used to stand there twice, and no way out.
#[test]
fn a_directory_that_cannot_be_made_is_refused_in_one_line() {
    let words = refused(&output(&["serve", "--amqp-listen", "127.0.0.1:0", "--data-dir", "/proc/x"]));
    assert_eq!(words.lines().count(), 1, "{words}");
    assert!(words.matches("os error").count() <= 1, "{words}");
    assert!(words.ends_with("choose another with --data-dir"), "{words}");
}

#[test]
fn bad_options_are_refused_with_their_place() {
    let dir = tempdir().unwrap();
    let data = dir.path().join("data");
    let path = data.to_str().unwrap();
    let words = refused(&output(&["serve", "--data-dir", path, "--durability", "maybe"]));
    assert_eq!(words, "yam: --durability: 'maybe' is no durability: write fsync or relaxed");

    let words = refused(&output(&["serve", "--data-dir", path, "--no-such-option"]));
    assert!(words.contains("--no-such-option"), "{words}");

    let file = dir.path().join("yam.toml");
    fs::File::create_new(&file).unwrap().write_all(b"# comment\namqp_listn = 'x'\n").unwrap();
    let words = refused(&output(&["serve", "--data-dir", path, "--config", file.to_str().unwrap()]));
    assert_eq!(words, format!("yam: {}:2: unknown option 'amqp_listn': did you mean 'amqp_listen'?", file.display()));

    let words = refused(&command(&["serve", "--data-dir", path]).env("YAM_CACHE_SIZE", "huge").output().unwrap());
    assert!(words.starts_with("yam: environment variable YAM_CACHE_SIZE: 'huge' is no size"), "{words}");
    assert!(!data.exists());
}

#[test]
fn a_file_in_the_directorys_place_is_refused() {
    let dir = tempdir().unwrap();
    let data = dir.path().join("data");
    fs::File::create_new(&data).unwrap().write_all(b"mine").unwrap();
    let words = refused(&output(&["serve", "--amqp-listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()]));
    assert_eq!(words.lines().count(), 1, "{words}");
    assert!(words.contains("is not a directory") && words.contains("--data-dir"), "{words}");
    assert_eq!(fs::read_to_string(&data).unwrap(), "mine");
}

/// A data directory may be a file system of its own with its lost+found, or the folder somebody happened to be in.
#[test]
fn what_lies_beside_the_data_is_left_alone() {
    let dir = tempdir().unwrap();
    let foreign = ["notes.txt", "half.partial", "lost+found/a.partial", "checkpoint/model.pt", "segments/a.txt", "journal/b.log"];
    for name in foreign {
        let path = dir.path().join(name);
        fs::DirBuilder::new().recursive(true).create(path.parent().unwrap()).unwrap();
        fs::File::create_new(path).unwrap().write_all(b"mine").unwrap();
    }
    // Two starts: the second one recovers, and removes what is left over of the first.
    for _ in 0..2 {
        let yam = Yam::start(dir.path());
        yam.assert_serves();
        assert!(yam.terminate().success());
    }
    for name in foreign {
        assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap_or_default(), "mine", "{name}");
    }
    let mut entries: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    entries.sort();
    assert_eq!(entries, ["LOCK", "checkpoint", "half.partial", "journal", "lost+found", "notes.txt", "segments"]);
    assert!(output(&["check", "--data-dir", dir.path().to_str().unwrap()]).status.success());
}

#[test]
fn a_damaged_directory_is_refused_and_named_by_check() {
    let dir = tempdir().unwrap();
    let yam = Yam::start(dir.path());
    let mut link = yam.connect();
    declare(&mut link, "kept", true);
    // Several group commits, so that there is something behind the damage.
    for _ in 0..4 {
        publish_confirmed(&mut link, "kept", &[&[7; 5_000]], true);
    }
    yam.kill();
    let check = ["check", "--data-dir", dir.path().to_str().unwrap()];
    assert!(output(&check).status.success());

    let journal = fs::read_dir(dir.path().join("journal")).unwrap().map(|entry| entry.unwrap().path()).min().unwrap();
    let mut file = fs::File::options().read(true).write(true).open(&journal).unwrap();
    // Behind the file's own header, inside the second block.
    file.seek(SeekFrom::Start(4096 + 4096 + 100)).unwrap();
    file.write_all(&[0xAA; 16]).unwrap();
    drop(file);
    let before = contents(dir.path());

    let words = refused(&output(&["serve", "--amqp-listen", "127.0.0.1:0", "--data-dir", dir.path().to_str().unwrap()]));
    assert_eq!(words.lines().count(), 1, "{words}");
    let name = journal.file_name().unwrap().to_str().unwrap();
    assert!(words.contains(name) && words.contains("yam check"), "{words}");
    let without_lock = |all: Vec<(std::path::PathBuf, Vec<u8>)>| -> Vec<_> {
        all.into_iter().filter(|(path, _)| !path.ends_with("LOCK")).collect()
    };
    // Not assert_eq, which would print whole files.
    assert!(without_lock(contents(dir.path())) == without_lock(before), "the refused start touched something");

    let checked = output(&check);
    assert_eq!(checked.status.code(), Some(1));
    let words = String::from_utf8(checked.stdout).unwrap();
    assert!(words.contains("DAMAGED") && words.contains(name), "{words}");
}

/// A default that warns of itself at every start is none.
#[test]
fn a_default_start_warns_of_nothing() {
    let dir = tempdir().unwrap();
    let log = dir.path().join("log");
    let file = fs::File::create_new(&log).unwrap();
    let yam = Yam::start_logging(&dir.path().join("data"), &["--amqp-listen", "127.0.0.1:0"], "info", file);
    assert!(yam.terminate().success());
    let log = fs::read_to_string(&log).unwrap();
    assert!(log.contains("ready") && log.contains("connections_max="), "{log}");
    assert!(!log.contains("WARN"), "{log}");
}

/// What an operator finds in the log: how it was started, what will not hold, and who was sent away over what.
#[test]
fn the_log_says_what_went_wrong_and_with_whom() {
    let dir = tempdir().unwrap();
    let log = dir.path().join("log");
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 256; exec \"$0\" serve --amqp-listen 127.0.0.1:0 --connections-max 2000 --data-dir \"$1\""]);
    shell.arg(env!("CARGO_BIN_EXE_yam")).arg(dir.path().join("data"));
    shell.env("YAM_KAFKA_LISTEN", "none");
    let mut child = shell.stdout(Stdio::piped()).stderr(fs::File::create_new(&log).unwrap()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim_end().strip_prefix("amqp listening on ").unwrap();
    let url = format!("amqp://{address}");

    let mut link = crate::cli::link::Link::open(&url.parse().unwrap()).unwrap();
    let words = count(&mut link, "nowhere").unwrap_err();
    assert!(words.contains("404"), "{words}");
    drop(link);
    let mut link = crate::cli::link::Link::open(&url.parse().unwrap()).unwrap();
    link.client.send(&mut link.out, 1, &channel::Open::default());
    assert!(until_closed(&mut link).contains("504"));
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert!(child.wait().unwrap().success());

    let log = fs::read_to_string(&log).unwrap();
    let has = |words: &[&str]| log.lines().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(has(&["INFO", "ready", "durability=\"fsync\""]), "{log}");
    assert!(has(&["WARN", "--connections-max", "connections_max=2000", "open_files=256"]), "{log}");
    let who = ["peer=\"127.0.0.1:", "user=\"guest\"", "vhost=\"/\""];
    let has_of = |words: &[&str]| has(&[words, &who].concat());
    assert!(has_of(&["INFO", "connection opened", "name=\""]), "{log}");
    assert!(
        has_of(&["WARN", "channel error", "channel 1: NOT_FOUND - no queue 'nowhere'", "code=404", "queue.declare"]),
        "{log}"
    );
    let words = ["WARN", "connection ended", "CHANNEL_ERROR - second 'channel.open' seen", "code=504", "channel.open"];
    assert!(has_of(&words), "{log}");
    assert!(has_of(&["INFO", "connection closed", "duration_ms="]), "{log}");
}

/// With 64 open files there was room for one connection, and nothing said so.
#[test]
fn few_open_files_are_warned_of() {
    let dir = tempdir().unwrap();
    let log = dir.path().join("log");
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 64; exec \"$0\" serve --amqp-listen 127.0.0.1:0 --data-dir \"$1\""]);
    shell.arg(env!("CARGO_BIN_EXE_yam")).arg(dir.path().join("data")).env("YAM_KAFKA_LISTEN", "none");
    let mut child = shell.stdout(Stdio::piped()).stderr(fs::File::create_new(&log).unwrap()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert!(child.wait().unwrap().success());
    let log = fs::read_to_string(&log).unwrap();
    let line = log.lines().find(|line| line.contains("WARN")).expect(&log);
    assert!(line.contains("ulimit -n") && line.contains("open_files=64") && line.contains("connections_max="), "{line}");
}

/// It was ignored, and the data went elsewhere.
#[test]
fn a_misspelt_variable_is_refused_by_every_command() {
    let dir = tempdir().unwrap();
    let data = dir.path().join("data");
    let serve = command(&["serve", "--data-dir", data.to_str().unwrap()]).env("YAM_AMQP_LISTN", "127.0.0.1:0").output().unwrap();
    let words = "yam: environment variable YAM_AMQP_LISTN: nothing reads it: did you mean YAM_AMQP_LISTEN?";
    assert_eq!(refused(&serve), words);
    assert!(!data.exists());
    let publish = command(&["publish", "x"]).env("YAM_ULR", "amqp://nowhere").output().unwrap();
    assert_eq!(refused(&publish), "yam: environment variable YAM_ULR: nothing reads it: did you mean YAM_URL?");
    // Something of that name may be meant for others: it is told, and no more.
    let version = command(&["version"]).env("YAM_HOME_OF_THE_TEAM", "x").env("YAM_SERVICE_HOST", "x").output().unwrap();
    assert!(version.status.success());
    let words = String::from_utf8(version.stderr).unwrap();
    assert!(words.contains("YAM_HOME_OF_THE_TEAM") && !words.contains("YAM_SERVICE_HOST"), "{words}");
}

/// Files are made for the broker's user alone; a copy is checked where nothing can be written, and nothing is.
#[test]
fn a_read_only_copy_is_checked_and_what_is_kept_is_for_nobody_else() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;
    let above = tempdir().unwrap();
    let dir = above.path().join("data");
    let yam = Yam::start(&dir);
    let mut link = yam.connect();
    declare(&mut link, "kept", true);
    publish_confirmed(&mut link, "kept", &[b"message"], true);
    assert!(yam.terminate().success());
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let set = |path: &std::path::Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    assert_eq!(mode(&dir), 0o700);
    let files: Vec<_> = contents(&dir).into_iter().map(|(path, _)| path).collect();
    for path in &files {
        assert_eq!((mode(path), mode(path.parent().unwrap())), (0o600, 0o700), "{}", path.display());
        set(path, 0o444);
    }
    set(above.path(), 0o755);
    for path in files.iter().map(|path| path.parent().unwrap()) {
        set(path, 0o555);
    }
    let before = contents(&dir);
    let mut check = command(&["check", "--data-dir", dir.to_str().unwrap()]);
    // Root may write everywhere: be nobody, if that can be.
    let root = std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").unwrap()) == 0;
    if root {
        check.uid(65_534);
    }
    let checked = check.output().unwrap();
    let words = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.status.success() && words.contains("sound"), "{words}{}", String::from_utf8_lossy(&checked.stderr));
    for path in files.iter().map(|path| path.parent().unwrap()) {
        set(path, 0o755);
    }
    assert!(contents(&dir) == before, "the check changed something");
}

/// It was called damage, of one file after the other.
#[test]
fn another_versions_directory_is_said_to_be_that_by_check() {
    let dir = tempdir().unwrap();
    let yam = Yam::start(dir.path());
    assert!(yam.terminate().success());
    let journal = dir.path().join("journal");
    for entry in fs::read_dir(journal).unwrap() {
        let mut file = fs::File::options().read(true).write(true).open(entry.unwrap().path()).unwrap();
        let mut header = vec![0; 4096];
        file.read_exact(&mut header).unwrap();
        for at in [0, 2048] {
            header[at + 8] = 9;
            let crc = crc32c(&header[at..at + 56]);
            header[at + 56..at + 60].copy_from_slice(&crc.to_le_bytes());
            header[at + 64..at + 72].copy_from_slice(b"12.3.4\0\0");
        }
        file.seek(SeekFrom::Start(0)).unwrap();
        file.write_all(&header).unwrap();
    }
    for arguments in [&["check"][..], &["serve", "--amqp-listen", "127.0.0.1:0"]] {
        let found = output(&[arguments, &["--data-dir", dir.path().to_str().unwrap()]].concat());
        let words = refused(&found);
        assert!(words.contains("another version of yam (12.3.4, format 9;"), "{words}");
        assert!(!String::from_utf8(found.stdout).unwrap().contains("DAMAGED"));
    }
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ ((crc & 1) * 0x82F6_3B78)))
}

/// Each start of an empty broker took 64 MiB more; and one whose checkpoint was gone began with nothing.
#[test]
fn a_start_takes_no_more_disk_than_the_last_and_misses_its_checkpoint() {
    let dir = tempdir().unwrap();
    let mut files = Vec::new();
    for _ in 0..5 {
        let yam = Yam::start(dir.path());
        drop(yam.connect());
        assert!(yam.terminate().success());
        files.push(fs::read_dir(dir.path().join("journal")).unwrap().count());
    }
    assert!(files.iter().all(|&count| count <= 3), "{files:?}");
    fs::remove_dir_all(dir.path().join("checkpoint")).unwrap();
    fs::create_dir(dir.path().join("checkpoint")).unwrap();
    let before = contents(&dir.path().join("journal"));
    let path = dir.path().to_str().unwrap();
    let words = refused(&output(&["serve", "--amqp-listen", "127.0.0.1:0", "--data-dir", path]));
    assert!(words.contains("the checkpoint is missing") && words.contains("Restore"), "{words}");
    let checked = output(&["check", "--data-dir", path]);
    assert_eq!(checked.status.code(), Some(1));
    assert!(String::from_utf8(checked.stdout).unwrap().contains("DAMAGED checkpoint"));
    assert!(contents(&dir.path().join("journal")) == before);
}
