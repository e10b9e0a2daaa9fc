//! What a file may say, and what is said of one that says it wrong.
use std::{
    collections::BTreeSet,
    path::Path,
    sync::LazyLock,
    time::{Duration, Instant, SystemTime},
};

use proptest::prelude::*;
use tempfile::TempDir;

use super::{ACCESS_TOKEN_FILE, Config, LISTEN, SNAPSHOT_FILE, reader};
use crate::exit::{Failure, Status};

/// The page that documents every key.
fn page() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/beat-config.md"))
        .unwrap()
}

/// The example on the page.
fn example() -> String {
    let page = page();
    let (_, rest) = page.split_once("```toml\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

/// A folder with the files that the example names.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let secret = format!("whsec_{}\n", "c2VjcmV0".repeat(4));
    std::fs::write(folder.path().join("hook.secret"), secret).unwrap();
    std::fs::write(folder.path().join("hook.token"), "Bearer hush-7431\n").unwrap();
    std::fs::write(folder.path().join("hook.login"), "https://ann:hush@h/\n").unwrap();
    let authority = rcgen::generate_simple_self_signed(["hooks.example".to_owned()]).unwrap();
    std::fs::write(folder.path().join("hooks.pem"), authority.cert.pem()).unwrap();
    folder
});

fn parse_there(text: &str) -> Result<Config, String> {
    let path = FOLDER.path().join("sinew.toml");
    let told = Config::parse(text, &path).map_err(|failure| failure.message.unwrap());
    told.map_err(|told| told.replace(&path.display().to_string(), "etc/sinew.toml"))
}

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("etc/sinew.toml")).map_err(|failure| {
        assert_eq!(failure.status, Status::Usage);
        failure.message.unwrap()
    })
}

fn refused(text: &str) -> String {
    let told = parse(text).unwrap_err();
    assert!(!told.contains('\n'), "{told}");
    told
}

/// Every key that the code asks for.
fn keys() -> BTreeSet<String> {
    let (config, keys) = reader::read("", |section| Config::read(section, Path::new("")));
    config.unwrap();
    keys
}

#[test]
fn every_key_has_a_row_on_the_page_and_every_row_is_a_key() {
    let page = page();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let rows: BTreeSet<String> = rows.map(|(key, _)| key.to_owned()).collect();
    let tables = [
        "alerts",
        "command",
        "flapping",
        "heart",
        "inhibition",
        "patience",
        "rule",
        "webhook",
        "window",
    ];
    let keys: BTreeSet<_> =
        keys().into_iter().filter(|key| !tables.contains(&key.as_str())).collect();
    assert_eq!(keys, rows);
}

#[test]
fn the_example_of_the_page_is_read_and_shows_every_key_but_those_that_exclude_others() {
    let text = example();
    let config = parse_there(&text).unwrap();
    assert_eq!((config.commands.len(), config.webhooks.len()), (1, 1));
    assert!(config.heart.process.is_some());
    assert_eq!(config.windows.len(), 2);
    let shown = |key: &str| {
        let last = key.rsplit('.').next().unwrap();
        let begins = |line: &str, head: String| line.trim_start().starts_with(&head);
        text.lines().any(|line| {
            begins(line, format!("{last} ="))
                || begins(line, format!("[{last}]"))
                || begins(line, format!("[[{last}]]"))
        })
    };
    let missing: Vec<_> = keys().into_iter().filter(|key| !shown(key)).collect();
    assert_eq!(missing, ["open", "webhook.url_file"]);
}

#[test]
fn the_first_example_of_the_readme_is_read_and_has_a_heart() {
    let readme = include_str!("../../../../README.md");
    let (_, rest) = readme.split_once("```toml\n").unwrap();
    let config = parse(rest.split_once("```").unwrap().0).unwrap();
    assert!(config.heart.process.is_some());
}

#[test]
fn an_empty_file_says_nothing() {
    let config = parse("").unwrap();
    assert!(config.listen.is_none() && config.snapshot_file.is_none() && config.windows.is_empty());
    assert_eq!(config.max_processes, 100_000);
    assert_eq!(config.monitor, sinew_beat::MonitorOptions::default());
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_what_may_have_been_meant() {
    for (text, told) in [
        (
            "\n\n[patience]\ngrase = \"1s\"",
            "etc/sinew.toml:4: unknown key `patience.grase`; did you mean `grace`?",
        ),
        (
            "lsiten = \"127.0.0.1:1\"",
            "etc/sinew.toml:1: unknown key `lsiten`; did you mean `listen`?",
        ),
        (
            "[[rules]]\nprocesses = \"a\"",
            "etc/sinew.toml:1: unknown key `rules`; did you mean `rule`?",
        ),
        ("grace = \"1s\"", "etc/sinew.toml:1: unknown key `grace`; it belongs into [patience]"),
        (
            "url = \"nats://broker\"",
            "etc/sinew.toml:1: unknown key `url`; the broker is named by --url or SINEW_URL",
        ),
        ("colour = \"red\"", "etc/sinew.toml:1: unknown key `colour`"),
        (
            "[[rule]]\nproceses = \"a.>\"",
            "etc/sinew.toml:2: unknown key `rule.proceses`; did you mean `processes`? (and 1 more)",
        ),
    ] {
        assert_eq!(refused(text), told);
    }
}

#[test]
fn a_file_full_of_unknown_keys_is_refused_at_once_and_in_one_short_line() {
    let begun = Instant::now();
    let text: String = (0..100_000).map(|it| format!("k{it:06} = 1\n")).collect();
    assert!(refused(&text).ends_with(":1: unknown key `k000000` (and 99999 more)"));
    let long = format!("{} = 1", "k".repeat(1_000_000));
    assert!(refused(&long).ends_with(&format!(":1: unknown key `{}...`", "k".repeat(64))));
    assert_eq!(refused("\"a\\nb\" = 1"), "etc/sinew.toml:1: unknown key `a\\nb`");
    // It takes a second; with a look at the whole file for each key, minutes.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn what_is_of_a_wrong_kind_or_impossible_is_refused_in_one_line() {
    for (text, told) in [
        ("listen = 8080", "1: listen: a text in quotes is wanted, not a whole number"),
        ("listen = \"example.org\"", "1: listen: an IP address and a port are wanted"),
        ("open = \"yes\"", "1: open: true or false is wanted, not a text"),
        ("open = true\naccess_token_file = \"t\"", "1: either `access_token_file` or `open`"),
        ("processes = \"a..b\"", "1: processes: "),
        ("expected = [\"a\",\n\"\"]", "1: expected: empty"),
        ("expected = [\"eu.*\"]", "1: expected: a token holds `*`"),
        ("max_processes = 0", "1: max_processes: from 1 to 10000000"),
        ("max_processes = -5", "1: max_processes: from 1 to 10000000"),
        (
            "\nblind_after = \"3s\"\n[heart]\nprocess = \"m\"\nperiod = \"10s\"",
            "2: blind_after: at least 6s: the own heart beats too rarely for less",
        ),
        ("stall_after = \"1s\"", "1: stall_after: at least 2s"),
        ("reap_after = \"0s\"", "1: reap_after: it must be more than nothing"),
        (
            "[patience]\ngrace = 5",
            "2: patience.grace: a time such as \"10s\" is wanted, not a whole number",
        ),
        (
            "[patience]\ngrace = \"5\"",
            "2: patience.grace: a number alone has no unit: write 5s or 5ms",
        ),
        ("[patience]\nmissed = 0", "2: patience.missed: from 1"),
        ("[patience]\nmissed = 1.5", "2: patience.missed: a whole number is wanted"),
        ("patience = 5", "1: patience: a table: [patience] is wanted, not a whole number"),
        ("rule = 5", "1: rule: tables: [[rule]] is wanted, not a whole number"),
        ("\n[[rule]]\ngrace = \"1s\"", "2: rule.processes: is missing"),
        ("[flapping]\nbegin = 20\nend = 30", "1: [flapping]: `end` is at most `begin`"),
        (
            "[alerts]\nstates = [\"down\", \"up\"]",
            "2: alerts.states: each is one of down, late, degraded, stopped",
        ),
        ("[alerts]\nmonitor = \"\"", "2: alerts.monitor: 1 to 245 bytes"),
        ("[[inhibition]]\nsource = \"*\"\ntarget = \"{2}.>\"", "1: [inhibition]: `{n}` stands for"),
        (
            "[[window]]\nprocesses = \">\"",
            "1: [window]: either `days`, `start` and `length`, or `from` and `until`",
        ),
        ("[[window]]\nprocesses = \">\"\nstart = 22:00:00", "1: [window]: a weekly window has"),
        (
            "[[window]]\nprocesses = \">\"\nstart = \"22:00\"\nlength = \"1h\"",
            "3: window.start: a time of day in UTC without quotes",
        ),
        (
            "[[window]]\nprocesses = \">\"\nstart = 22:00:00\nlength = \"8d\"",
            "1: [window]: a weekly window lasts",
        ),
        (
            "[[window]]\nprocesses = \">\"\ndays = [\"mon\"]\nstart = 22:00:00\nlength = \"1h\"",
            "3: window.days: each is one of monday",
        ),
        (
            "[[window]]\nprocesses = \">\"\nfrom = 2026-03-01T22:00:00\nuntil = 2026-03-02T22:00:00Z",
            "3: window.from: say of which zone",
        ),
        (
            "[[window]]\nprocesses = \">\"\nfrom = 2026-03-03T22:00:00Z\nuntil = 2026-03-02T22:00:00Z",
            "1: [window]: a maintenance window ends after it begins",
        ),
        ("[[command]]\nrun = []", "2: command.run: its first word is the program"),
        ("[[command]]\nrun = \"page\"", "2: command.run: a list is wanted, not a text"),
        ("a = 1\na = 2", "2: duplicate key"),
        ("a = ", "1: "),
    ] {
        let wanted = format!("etc/sinew.toml:{told}");
        let told = refused(text);
        assert!(told.starts_with(&wanted), "{told}\n{wanted}");
    }
}

#[test]
fn a_webhook_names_files_for_what_is_secret_and_none_is_shown() {
    let config = parse_there(&example()).unwrap();
    let shown = format!("{config:?}");
    assert!(!shown.contains("hush") && !shown.contains("c2Vj"), "{shown}");
    let url = "[[webhook]]\nurl = \"https://hooks.example/x\"\n";
    let secret_url = "[[webhook]]\nurl_file = \"hook.token\"\n";
    for (text, told) in [
        ("[[webhook]]\n", "1: [webhook]: either `url`, or `url_file`"),
        (&format!("{url}url_file = \"hook.token\""), "1: [webhook]: either `url`, or `url_file`"),
        (secret_url, "2: webhook.url_file: an address is wanted"),
        ("[[webhook]]\nurl = \"ftp://hush\"", "2: webhook.url: an address is wanted"),
        ("[[webhook]]\nurl = \"https://ann:hush@h/\"", "2: webhook.url: a login in it is a secret"),
        (
            &format!("{url}secret_files = [\"hook.token\"]"),
            "3: webhook.secret_files: it begins with `whsec_`",
        ),
        (&format!("{url}secret_files = [\"none\"]"), "3: webhook.secret_files: cannot read "),
        (&format!("{url}secret = \"whsec_hush\""), "3: unknown key `webhook.secret`"),
        (&format!("{url}attempts = 0"), "3: webhook.attempts: from 1 to 10000"),
        (&format!("{url}name = \"a b\""), "3: webhook.name: 1 to 64 letters"),
        (&format!("{url}name = \"command-1\""), "3: webhook.name: so those are called"),
        (
            &format!("[[command]]\nname = \"eu\"\nrun = [\"cat\"]\n{url}name = \"eu\""),
            "2: command.name: another one has this name",
        ),
        ("[heart]\nenabled = 1", "2: heart.enabled: true or false is wanted"),
        ("[heart]\nprocess = \"a b\"", "2: heart.process: a name such as"),
        ("[heart]\nprocess = \"a\"\nperiod = \"500ms\"", "3: heart.period: at least 1s"),
    ] {
        let refused = parse_there(text).unwrap_err();
        assert!(refused.starts_with(&format!("etc/sinew.toml:{told}")), "{refused}\n{told}");
        assert!(!refused.contains("hush"), "{refused}");
    }
}

#[test]
fn a_secret_that_is_too_large_is_refused_and_not_cut() {
    let text = "[[webhook]]\nurl_file = \"large\"";
    let path = FOLDER.path().join("large");
    for (length, is_taken) in [(16 * 1024, true), (16 * 1024 + 1, false)] {
        let url = format!("https://h/{}", "x".repeat(length - 10));
        std::fs::write(&path, url).unwrap();
        let told = parse_there(text).err().unwrap_or_default();
        assert_eq!(!told.contains("is larger than 16 KiB"), is_taken, "{told}");
    }
}

#[test]
fn a_webhook_that_could_not_be_started_is_refused_by_the_check_with_its_line() {
    let https = "\n[[webhook]]\nurl = \"https://hooks.example/hush\"\n";
    for (text, told) in [
        ("\n[[webhook]]\nurl = \"http://\"", "the URL "),
        ("\n[[webhook]]\nurl = \"http://exa mple/hush\"", "the URL is none"),
        ("\n[[webhook]]\nurl = \"http://h:0/hush\"", "the host or port of the URL is none"),
        (&format!("{https}ca_file = \"none.pem\""), "the CA file cannot be read"),
        (&format!("{https}ca_file = \"hook.token\""), "no certificate in PEM form"),
        (
            "\n[[webhook]]\nurl_file = \"hook.login\"\nauthorization_file = \"hook.token\"\n\
             ca_file = \"hooks.pem\"",
            "the URL holds a login",
        ),
    ] {
        let refused = parse_there(text).unwrap_err();
        let wanted = format!("etc/sinew.toml:2: [webhook]: {told}");
        assert!(refused.starts_with(&wanted), "{refused}\n{wanted}");
        assert!(!refused.contains("hush"), "{refused}");
    }
    parse_there(&format!("{https}ca_file = \"hooks.pem\"")).unwrap();
}

#[test]
fn a_value_is_never_repeated_as_it_may_be_a_secret() {
    for text in [
        "listen = \"hush-7431\"",
        "access_token = \"hush-7431\"",
        "access_token_file = [\"hush-7431\"]",
        "listen = hush-7431",
        "listen = \"hush-7431",
        "[alerts]\nstates = [\"hush-7431\"]",
    ] {
        assert!(!refused(text).contains("hush"), "{}", refused(text));
    }
}

#[test]
fn a_rule_has_of_everyone_what_it_does_not_say() {
    let config =
        parse("[patience]\ngrace = \"2s\"\nmissed = 5\n[[rule]]\nprocesses = \"eu.>\"\nmissed = 9");
    let patience = |missed| {
        let grace = Duration::from_secs(2);
        sinew_beat::Patience::default().with_grace(grace).with_missed(missed)
    };
    let wanted = sinew_beat::MonitorOptions::default()
        .with_patience(patience(5))
        .with_rule(sinew_core::Pattern::parse("eu.>").unwrap(), patience(9));
    assert_eq!(config.unwrap().monitor, wanted);
}

#[test]
fn files_are_looked_for_beside_the_file_that_names_them() {
    let config = parse("snapshot_file = \"a\"\naccess_token_file = \"/b\"").unwrap();
    assert_eq!(config.snapshot_file.as_deref(), Some(Path::new("etc/a")));
    assert_eq!(config.access_token_file.as_deref(), Some(Path::new("/b")));
}

#[test]
fn a_window_without_days_is_every_day_and_a_moment_has_its_zone() {
    let config = parse(
        "[[window]]\nprocesses = \">\"\nstart = 00:00:00\nlength = \"1d\"\n\
         [[window]]\nprocesses = \">\"\nfrom = 1970-01-01T02:00:00+02:00\nuntil = 1970-01-01T00:00:01Z",
    );
    let windows = config.unwrap().windows;
    let day = Duration::from_secs(86_400);
    for days in 0..7 {
        assert!(windows[0].is_active(SystemTime::UNIX_EPOCH + day * days));
    }
    assert!(windows[1].is_active(SystemTime::UNIX_EPOCH));
    assert!(!windows[1].is_active(SystemTime::UNIX_EPOCH + Duration::from_secs(1)));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_in_one_line(text in "(?s).{0,200}") {
        if let Err(told) = parse(&text) {
            prop_assert!(told.starts_with("etc/sinew.toml"), "{}", told);
        }
    }

    #[test]
    fn a_file_with_a_hole_or_a_slip_is_read_or_refused(
        at in 0..4000_usize,
        len in 0..60_usize,
        slip in "[\\[\\]={}\"'.,0-9a-z\n# ]{0,6}",
    ) {
        let mut text: Vec<char> = example().chars().collect();
        let begin = at.min(text.len());
        let end = (begin + len).min(text.len());
        text.splice(begin..end, slip.chars());
        let text: String = text.into_iter().collect();
        if let Err(told) = parse_there(&text) {
            prop_assert!(told.starts_with("etc/sinew.toml:") && !told.contains('\n'), "{}", told);
        }
    }
}

#[test]
fn a_program_that_is_not_there_is_told_with_its_place_and_keeps_no_monitor_from_running() {
    let text = "[[command]]\nrun = [\"sh\", \"-c\", \"exit\"]\n\n[[command]]\nqueue = 5\nrun = [\"no-such-program\"]\n";
    let config = Config::parse(text, Path::new("sinew.toml")).unwrap();
    let told = "sinew.toml:6: command.run: there is no program `no-such-program` to run, or it is not executable";
    assert_eq!(config.doubts, [told]);
    assert_eq!(config.commands.len(), 2);
    let folder = Config::parse("[[command]]\nrun = [\"/\"]", Path::new("sinew.toml")).unwrap();
    assert_eq!(folder.doubts.len(), 1);
}

#[test]
fn what_the_gate_refuses_is_told_with_its_place_in_the_file() {
    let text = "open = false\n\nlisten = \"0.0.0.0:2328\"";
    let config = Config::parse(text, Path::new("sinew.toml")).unwrap();
    let blamed = |key| config.blame(key, Failure::usage("others can reach it")).message.unwrap();
    assert_eq!(blamed(LISTEN), "sinew.toml:3: listen: others can reach it");
    // It stands on the command line.
    assert_eq!(blamed(ACCESS_TOKEN_FILE), "others can reach it");
}

#[test]
fn a_snapshot_is_written_over_no_file_that_is_read() {
    let text = "snapshot_file = \"hook.token\"\naccess_token_file = \"page.token\"\n\
        [[webhook]]\nurl_file = \"hook.login\"\nsecret_files = [\"hook.secret\"]\n\n\
        [[webhook]]\nurl = \"https://h/\"\nauthorization_file = \"hook.token\"";
    let config = parse_there(text).unwrap();
    for file in ["hook.token", "hook.login", "hook.secret", "page.token", "sinew.toml"] {
        assert!(config.reads(&FOLDER.path().join(file)), "{file}");
    }
    assert!(config.reads(&FOLDER.path().join(".").join("hook.token")));
    assert!(!config.reads(&FOLDER.path().join("beat.snapshot")));
    let blamed = config.blame(SNAPSHOT_FILE, Failure::usage("no")).message.unwrap();
    assert!(blamed.ends_with("sinew.toml:1: snapshot_file: no"), "{blamed}");
}
