//! Where alerts go, and what tells others that the monitor lives.
use std::{
    cell::RefCell,
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use sinew_beat::{CommandOptions, WebhookOptions, WebhookSecret};
use toml::de::DeValue;

use super::reader::{Section, at_least, flag, list, number, positive, said, text};
use crate::{exit::plain, output::printable};

/// How many of each kind are taken.
const MOST: usize = 16;

/// How many arguments a program may have.
const MOST_WORDS: usize = 256;

/// A larger file holds no secret, nor an address.
const LARGEST: u64 = 16 * 1024;

/// A program that is run for each notification.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct CommandConfig {
    pub(crate) name: Option<String>,
    program: String,
    args: Vec<String>,
    timeout: Duration,
    queue: u16,
}

impl CommandConfig {
    /// Whether both tell the same receiver.
    pub(crate) fn is_of_one(&self, other: &Self) -> bool {
        (&self.program, &self.args) == (&other.program, &other.args)
    }

    pub(crate) fn options(&self) -> CommandOptions {
        CommandOptions::new(&self.program)
            .with_args(&self.args)
            .with_timeout(self.timeout)
            .with_queue(self.queue.into())
    }
}

/// A URL that each notification is posted to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct WebhookConfig {
    pub(crate) name: Option<String>,
    url: Hidden,
    secrets: Vec<Hidden>,
    authorization: Option<Hidden>,
    ca_file: Option<PathBuf>,
    timeout: Option<Duration>,
    attempts: Option<u32>,
    give_up_after: Option<Duration>,
    queue: Option<u16>,
}

/// What a file holds that is not to be shown.
#[derive(Clone, Eq, PartialEq)]
struct Hidden(String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(..)")
    }
}

impl WebhookConfig {
    /// Whether both tell the same receiver.
    pub(crate) fn is_of_one(&self, other: &Self) -> bool {
        self.url == other.url
    }

    pub(crate) fn options(&self) -> sinew_core::Result<WebhookOptions> {
        let mut options = WebhookOptions::new(self.url.0.as_str());
        for secret in &self.secrets {
            options = options.with_secret(WebhookSecret::parse(&secret.0)?);
        }
        if let Some(Hidden(authorization)) = &self.authorization {
            options = options.with_header("authorization", authorization.as_str());
        }
        if let Some(file) = &self.ca_file {
            options = options.with_ca_file(file);
        }
        if let Some(timeout) = self.timeout {
            options = options.with_timeout(timeout);
        }
        if let Some(attempts) = self.attempts {
            options = options.with_attempts(attempts);
        }
        if let Some(limit) = self.give_up_after {
            options = options.with_give_up_after(limit);
        }
        if let Some(queue) = self.queue {
            options = options.with_queue(queue.into());
        }
        Ok(options)
    }
}

/// The monitor's own heart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct HeartConfig {
    pub(crate) enabled: bool,
    /// None for a heart of this monitor's alone, which nobody lists.
    pub(crate) process: Option<String>,
    pub(crate) period: Duration,
}

impl Default for HeartConfig {
    fn default() -> Self {
        Self { enabled: true, process: None, period: Duration::from_secs(2) }
    }
}

impl HeartConfig {
    /// How far apart its beats may be heard: half a period and no less than a second, and what they take.
    pub(super) fn heard_within(&self) -> Duration {
        const SECOND: Duration = Duration::from_secs(1);
        (self.period / 2).max(SECOND) + SECOND
    }
}

/// The names that outputs have: no two have the same.
#[derive(Debug, Default)]
pub(super) struct Names(RefCell<BTreeSet<String>>);

impl Names {
    fn read(&self, value: &DeValue<'_>) -> Result<String, String> {
        let name = text(value)?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
            return Err("1 to 64 letters, digits, `.`, `_` and `-` are wanted".to_owned());
        }
        if name.starts_with("command-") || name.starts_with("webhook-") {
            return Err("so those are called that have no name".to_owned());
        }
        match self.0.borrow_mut().insert(name.clone()) {
            true => Ok(name),
            false => Err("another one has this name".to_owned()),
        }
    }
}

pub(super) fn commands(section: &mut Section<'_>, names: &Names) -> Vec<CommandConfig> {
    section.tables("command", MOST, |it| {
        let name = it.value("name", |value| names.read(value));
        let words = it.required("run", |value| match list(MOST_WORDS, text)(value)? {
            words if words.first().is_none_or(String::is_empty) => {
                Err("its first word is the program".to_owned())
            }
            words if words.iter().any(|word| word.contains('\0')) => {
                Err("no word holds a zero byte".to_owned())
            }
            words => Ok(words),
        });
        let timeout = it.value("timeout", positive).unwrap_or(Duration::from_secs(30));
        let queue = it.value("queue", number(1_u16, 10_000)).unwrap_or(100);
        let words = words?;
        let (program, args) = words.split_first()?;
        if !is_found(program) {
            let program = printable(program);
            it.doubt(
                "run",
                &format!("there is no program `{program}` to run, or it is not executable"),
            );
        }
        Some(CommandConfig { name, program: program.clone(), args: args.to_vec(), timeout, queue })
    })
}

/// Whether there is such a program, as a path or in one of the folders of `PATH`.
#[cfg(unix)]
fn is_found(program: &str) -> bool {
    use std::os::unix::fs::PermissionsExt as _;

    let is_program = |path: &Path| {
        path.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return is_program(Path::new(program));
    }
    // Without a PATH it is the system that knows where to look.
    let path = std::env::var_os("PATH");
    path.is_none_or(|all| std::env::split_paths(&all).any(|it| is_program(&it.join(program))))
}

/// Which files are programs is not ours to say here.
#[cfg(not(unix))]
fn is_found(_: &str) -> bool {
    true
}

/// The webhooks; the files that they are read from go into `named`.
pub(super) fn webhooks(
    section: &mut Section<'_>,
    folder: &Path,
    named: &RefCell<Vec<PathBuf>>,
    names: &Names,
) -> Vec<WebhookConfig> {
    section.tables("webhook", MOST, |it| {
        let name = it.value("name", |value| names.read(value));
        let file = |value: &DeValue<'_>| -> Result<PathBuf, String> {
            let path = folder.join(text(value)?);
            named.borrow_mut().push(path.clone());
            Ok(path)
        };
        let hidden = |value: &DeValue<'_>| line_of(&file(value)?);
        let secret = |value: &DeValue<'_>| {
            let secret = hidden(value)?;
            WebhookSecret::parse(&secret.0).map_err(|err| said(&err))?;
            Ok(secret)
        };
        if it.has("url") == it.has("url_file") {
            it.flaw("either `url`, or `url_file` where the address is a secret");
        }
        let plain = it.value("url", |value| {
            let url = address(text(value)?)?;
            let host = url.0.split('/').nth(2).unwrap_or_default();
            if host.contains('@') {
                return Err(
                    "a login in it is a secret: put it into a file, and say `url_file`".into()
                );
            }
            Ok(url)
        });
        let secret_url = it.value("url_file", |value| address(hidden(value)?.0));
        let secrets = it.value("secret_files", list(2, secret)).unwrap_or_default();
        let authorization = it.value("authorization_file", hidden);
        let ca_file = it.value("ca_file", file);
        let timeout = it.value("timeout", positive);
        let attempts = it.value("attempts", number(1, 10_000));
        let give_up_after = it.value("give_up_after", positive);
        let queue = it.value("queue", number(1, 10_000));
        let url = plain.or(secret_url)?;
        let config = WebhookConfig {
            name,
            url,
            secrets,
            authorization,
            ca_file,
            timeout,
            attempts,
            give_up_after,
            queue,
        };
        // What is flawed above would be found again, with less to say of it.
        if it.is_flawless()
            && let Err(err) = config.options().and_then(|options| options.check())
        {
            it.flaw(&said(&err));
        }
        Some(config)
    })
}

fn address(url: String) -> Result<Hidden, String> {
    if url.starts_with("https://") || url.starts_with("http://") {
        Ok(Hidden(url))
    } else {
        Err("an address is wanted that begins with https:// or http://".to_owned())
    }
}

/// The one line that a file holds.
fn line_of(path: &Path) -> Result<Hidden, String> {
    use std::io::Read as _;

    let failed = |err: std::io::Error| format!("cannot read {}: {}", path.display(), plain(&err));
    let mut line = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(LARGEST + 1).read_to_string(&mut line).map_err(failed)?;
    if line.len() as u64 > LARGEST {
        return Err(format!("{} is larger than 16 KiB", path.display()));
    }
    match line.trim() {
        "" => Err(format!("{} is empty", path.display())),
        line if line.contains(char::is_control) => {
            Err(format!("{} holds more than one line", path.display()))
        }
        line => Ok(Hidden(line.to_owned())),
    }
}

pub(super) fn heart(section: &mut Section<'_>) -> HeartConfig {
    section.table("heart", |it| {
        let default = HeartConfig::default();
        let process = it.value("process", |value| {
            let name = text(value)?;
            sinew_beat::Process::parse(&name)
                .and_then(|it| it.subject())
                .map_err(|_| "a name such as \"monitor.eu-1\" is wanted".to_owned())?;
            Ok(name)
        });
        let least = at_least(Duration::from_secs(1), "1s: no heart beats more often");
        HeartConfig {
            enabled: it.value("enabled", flag).unwrap_or(default.enabled),
            process,
            period: it.value("period", least).unwrap_or(default.period),
        }
    })
}
