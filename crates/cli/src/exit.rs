//! How the command ends: exit statuses, which scripts rely on, and failures, each one line.
use std::{error::Error as StdError, fmt, io};

use sinew_core::{Error, ErrorKind};

/// What a command's run comes to.
pub(crate) type Outcome = Result<Status, Failure>;

/// An exit status.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Status {
    /// Done.
    Done,
    /// It ran, but the answer is no.
    No,
    /// The command line makes no sense, or asks for what the backend cannot do.
    Usage,
    /// A payload cannot be taken.
    BadData,
    /// The broker cannot be reached, or refused us.
    Unreachable,
    /// A fault of ours.
    Fault,
    /// A file cannot be read or written.
    Disk,
    /// Time ran out: trying again may help.
    TryAgain,
    /// Interrupted before the goal.
    Interrupted,
    /// What `beat check` says, in the way of Nagios plugins.
    Health(Health),
    /// What the command ended with that `beat run` ran.
    Command(u8),
}

/// The four answers of a Nagios plugin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Health {
    Ok,
    Warning,
    Critical,
    Unknown,
}

impl Status {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done | Self::Health(Health::Ok) => 0,
            Self::No | Self::Health(Health::Warning) => 1,
            Self::Health(Health::Critical) => 2,
            Self::Health(Health::Unknown) => 3,
            Self::Usage => 64,
            Self::BadData => 65,
            Self::Unreachable => 69,
            Self::Fault => 70,
            Self::Disk => 74,
            Self::TryAgain => 75,
            Self::Interrupted => 130,
            Self::Command(status) => status,
        }
    }

    /// The status of a failure of this kind.
    const fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::InvalidSubject
            | ErrorKind::InvalidPattern
            | ErrorKind::InvalidName
            | ErrorKind::InvalidHeader
            | ErrorKind::InvalidOptions
            | ErrorKind::Unsupported => Self::Usage,
            ErrorKind::InvalidPayload | ErrorKind::TooLarge => Self::BadData,
            ErrorKind::Unroutable | ErrorKind::NoResponders => Self::No,
            ErrorKind::Overloaded
            | ErrorKind::Timeout
            | ErrorKind::Revoked
            | ErrorKind::WrongPosition => Self::TryAgain,
            ErrorKind::Unreachable
            | ErrorKind::Disconnected
            | ErrorKind::Denied
            | ErrorKind::NotFound
            | ErrorKind::Conflict
            | ErrorKind::Closed
            | ErrorKind::Protocol => Self::Unreachable,
            _ => Self::Fault,
        }
    }
}

/// Why a command ended early. One line for people; the causes wait for `-v`.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    /// None where there is nothing to say: the reader of a pipe has gone.
    pub(crate) message: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Failure {
    pub(crate) fn new(status: Status, message: impl Into<String>) -> Self {
        Self { status, message: Some(message.into()), source: None }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Status::Usage, message)
    }

    pub(crate) fn with_source(
        mut self,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What could not be done with standard output. A closed pipe is how a reader says that it has enough.
    pub(crate) fn output(err: io::Error) -> Self {
        if err.kind() == io::ErrorKind::BrokenPipe {
            return Self { status: Status::Done, message: None, source: None };
        }
        Self::new(Status::Disk, format!("cannot write to standard output: {}", plain(&err)))
            .with_source(err)
    }

    /// What could not be done with a file.
    pub(crate) fn file(action: &str, path: impl fmt::Display, err: io::Error) -> Self {
        Self::new(Status::Disk, format!("cannot {action} {path}: {}", plain(&err))).with_source(err)
    }

    /// What lies behind it, outermost first, each once.
    pub(crate) fn causes(&self) -> Vec<String> {
        let mut causes: Vec<String> = Vec::new();
        let mut next: Option<&dyn StdError> = self.source.as_deref().map(|it| it as &dyn StdError);
        while let Some(cause) = next {
            let text = cause.to_string();
            if causes.last() != Some(&text) {
                causes.push(text);
            }
            next = cause.source();
        }
        causes
    }
}

impl From<Error> for Failure {
    fn from(err: Error) -> Self {
        let status = Status::of(err.kind());
        let mut message = err.to_string();
        // Without advice of its own, the nearest cause says more than the kind alone; and an option that is refused
        // is mended by who knows why.
        if (err.detail().is_none() || err.kind() == ErrorKind::InvalidOptions)
            && let Some(source) = err.source()
        {
            message = format!("{message}: {}", plain(source));
        }
        Self::new(status, message).with_source(err)
    }
}

/// A cause in lower case and without the number that the operating system gives it.
pub(crate) fn plain(cause: &(dyn StdError + 'static)) -> String {
    let text = cause.to_string();
    let text = match text.split_once(" (os error ") {
        Some((text, _)) => text.to_owned(),
        None => text,
    };
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        // "Connection refused" begins a sentence, "TLS" does not.
        (Some(first), Some(second)) if second.is_lowercase() => {
            first.to_lowercase().chain(text.chars().skip(1)).collect()
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_those_that_scripts_rely_on() {
        let of = |kind| Status::of(kind).code();
        assert_eq!(of(ErrorKind::InvalidSubject), 64);
        assert_eq!(of(ErrorKind::Unsupported), 64);
        assert_eq!(of(ErrorKind::TooLarge), 65);
        assert_eq!(of(ErrorKind::Unreachable), 69);
        assert_eq!(of(ErrorKind::Denied), 69);
        assert_eq!(of(ErrorKind::Internal), 70);
        assert_eq!(of(ErrorKind::Timeout), 75);
        assert_eq!(of(ErrorKind::NoResponders), 1);
        assert_eq!(Status::Interrupted.code(), 130);
        assert_eq!(Status::Health(Health::Unknown).code(), 3);
    }

    #[test]
    fn a_closed_pipe_is_no_failure_to_speak_of() {
        let closed = Failure::output(io::ErrorKind::BrokenPipe.into());
        assert_eq!((closed.status, closed.message), (Status::Done, None));
        assert_eq!(Failure::output(io::ErrorKind::StorageFull.into()).status, Status::Disk);
    }

    #[test]
    fn a_cause_is_told_in_plain_words() {
        let refused = io::Error::from_raw_os_error(111);
        assert_eq!(plain(&refused), "connection refused");
        assert_eq!(plain(&io::Error::other("TLS required")), "TLS required");
    }

    #[test]
    fn causes_are_told_once_each() {
        let err =
            Error::new(ErrorKind::Internal, "x").with_source(io::Error::other("disk on fire"));
        assert_eq!(Failure::from(err).causes(), ["x: internal fault", "disk on fire"]);
    }
}
