//! The file that `sinew beat serve` reads: every key, what it may be, and what is wrong with it.
mod alerts;
mod monitor;
mod outputs;
mod reader;

use std::{
    cell::RefCell,
    fs::File,
    io::Read,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use sinew_beat::{AlertOptions, MonitorOptions, Mute, Process};
use toml::de::DeValue;

pub(crate) use self::{
    alerts::MOST_SILENCES,
    outputs::{CommandConfig, HeartConfig, WebhookConfig},
};

use self::reader::{Doubt, Flaws, Section, at_least, flag, list, read, said, text};
use crate::exit::{Failure, Status};

/// A larger file is some other file.
const LARGEST: u64 = 4 * 1024 * 1024;

/// How many processes may be expected by the file.
const MOST_EXPECTED: usize = 100_000;

/// Keys whose values are refused by those who use them.
pub(crate) const LISTEN: &str = "listen";
pub(crate) const SNAPSHOT_FILE: &str = "snapshot_file";
pub(crate) const ACCESS_TOKEN_FILE: &str = "access_token_file";
pub(crate) const EXPECTED: &str = "expected";

/// What the file says. What it does not say is none, or what it is by default.
#[derive(Debug)]
pub(crate) struct Config {
    /// What may yet come right, each with its place.
    pub(crate) doubts: Vec<String>,
    /// Where the file says what others may refuse: the file, and the lines of these keys.
    file: PathBuf,
    gate: Vec<(&'static str, usize)>,
    /// The files that it names, to be read.
    named: Vec<PathBuf>,
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) access_token_file: Option<PathBuf>,
    pub(crate) open: bool,
    pub(crate) processes: Option<String>,
    pub(crate) expected: Vec<Process>,
    pub(crate) monitor: MonitorOptions,
    pub(crate) max_processes: usize,
    pub(crate) stall_after: Option<Duration>,
    pub(crate) snapshot_file: Option<PathBuf>,
    pub(crate) snapshot_every: Duration,
    pub(crate) alerts: AlertOptions,
    pub(crate) windows: Vec<Mute>,
    pub(crate) commands: Vec<CommandConfig>,
    pub(crate) webhooks: Vec<WebhookConfig>,
    pub(crate) heart: HeartConfig,
    pub(crate) blind_after: Option<Duration>,
    pub(crate) republish: bool,
}

impl Config {
    /// Reads the file.
    pub(crate) fn load(path: &Path) -> Result<Self, Failure> {
        let failed = |err| Failure::file("read", path.display(), err);
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(failed)?;
        file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > LARGEST {
            return Err(refused(path, "it is larger than 4 MiB"));
        }
        let text = String::from_utf8(bytes).map_err(|_| refused(path, "it is not UTF-8"))?;
        Self::parse(&text, path)
    }

    /// What `text` says, which stands in the file at `path`.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self, Failure> {
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        let (config, _) = read(text, |section| Self::read(section, folder));
        let config = config.map(|(config, doubts)| {
            let told = |it: Doubt| format!("{}:{}: {}", path.display(), it.line, it.what);
            let doubts = doubts.into_iter().map(told).collect();
            Self { doubts, file: path.to_owned(), ..config }
        });
        config.map_err(|Flaws { line, what, more }| {
            let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
            Failure::new(Status::Usage, format!("{}:{line}: {what}{more}", path.display()))
        })
    }

    fn read(section: &mut Section<'_>, folder: &Path) -> Self {
        let file = |value: &DeValue<'_>| Ok(folder.join(text(value)?));
        let listen = section.value(LISTEN, |value| {
            let why =
                "an IP address and a port are wanted, as \"127.0.0.1:2328\" or \"[::1]:2328\"";
            text(value)?.parse().map_err(|_| why.to_owned())
        });
        let access_token_file = section.value(ACCESS_TOKEN_FILE, file);
        let open = section.value("open", flag).unwrap_or(false);
        if open && access_token_file.is_some() {
            section
                .flaw("either `access_token_file` or `open`: a token is asked for, or it is not");
        }
        let processes = section.value("processes", |value| {
            reader::pattern(value)?;
            text(value)
        });
        let expected = section.value(EXPECTED, list(MOST_EXPECTED, process)).unwrap_or_default();
        let blind_after = section.value("blind_after", at_least(Duration::from_secs(1), "1s"));
        let heart = outputs::heart(section);
        if heart.enabled && blind_after.is_some_and(|it| it < heart.heard_within()) {
            let least = heart.heard_within().as_secs_f64();
            let why = format!("at least {least}s: the own heart beats too rarely for less");
            section.wrong("blind_after", &why);
        }
        let named = RefCell::new(Vec::from_iter(access_token_file.clone()));
        let names = outputs::Names::default();
        let webhooks = outputs::webhooks(section, folder, &named, &names);
        let (monitor, max_processes) = monitor::read(section);
        let monitor = monitor.with_blind_after(blind_after);
        let gate = [LISTEN, ACCESS_TOKEN_FILE, SNAPSHOT_FILE, EXPECTED];
        let gate = gate.into_iter().filter_map(|key| Some((key, section.line(key)?))).collect();
        Self {
            doubts: Vec::new(),
            file: PathBuf::new(),
            gate,
            named: named.into_inner(),
            listen,
            access_token_file,
            open,
            processes,
            expected,
            monitor,
            max_processes,
            stall_after: section.value(
                "stall_after",
                at_least(Duration::from_secs(2), "2s: it looks once a second"),
            ),
            snapshot_file: section.value(SNAPSHOT_FILE, file),
            snapshot_every: section
                .value("snapshot_every", at_least(Duration::from_secs(1), "1s"))
                .unwrap_or(Duration::from_secs(10)),
            alerts: alerts::read(section),
            windows: alerts::windows(section),
            commands: outputs::commands(section, &names),
            webhooks,
            heart,
            blind_after,
            republish: section.value("republish", flag).unwrap_or(false),
        }
    }
}

fn process(value: &DeValue<'_>) -> Result<Process, String> {
    super::parse_expected(&text(value)?).map_err(|err| said(&err))
}

impl Config {
    /// Says where the file says what is refused; what it does not say is the command line's.
    pub(crate) fn blame(&self, key: &str, mut failure: Failure) -> Failure {
        if let Some((_, line)) = self.gate.iter().find(|(it, _)| *it == key) {
            let what = failure.message.take().unwrap_or_default();
            failure.message = Some(format!("{}:{line}: {key}: {what}", self.file.display()));
        }
        failure
    }

    /// Whether `path` is the file itself, or one that it names to be read.
    pub(crate) fn reads(&self, path: &Path) -> bool {
        std::iter::once(&self.file).chain(&self.named).any(|it| is_same(it, path))
    }

    /// The keys that differ from those of `other`, of those that only a restart changes.
    pub(crate) fn fixed(&self, other: &Self) -> Vec<&'static str> {
        [
            ("listen", self.listen == other.listen),
            ("access_token_file", self.access_token_file == other.access_token_file),
            ("open", self.open == other.open),
            ("processes", self.processes == other.processes),
            ("blind_after", self.blind_after == other.blind_after),
            ("heart", self.heart == other.heart),
            ("stall_after", self.stall_after == other.stall_after),
            ("snapshot_file", self.snapshot_file == other.snapshot_file),
            ("snapshot_every", self.snapshot_every == other.snapshot_every),
        ]
        .into_iter()
        .filter(|(_, is_same)| !is_same)
        .map(|(key, _)| key)
        .collect()
    }
}

/// Whether both lead to one file.
pub(crate) fn is_same(one: &Path, other: &Path) -> bool {
    let is_one = match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    };
    is_one || one == other
}

fn refused(path: &Path, why: &str) -> Failure {
    Failure::new(Status::Usage, format!("{}: {why}", path.display()))
}

#[cfg(test)]
mod tests;
