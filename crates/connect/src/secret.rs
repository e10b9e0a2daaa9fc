//! Secrets: text that never shows itself, and where it may be read from.
use std::{fmt, path::PathBuf};
#[cfg(any(feature = "nats", feature = "amqp"))]
use std::{fs, io::Read, path::Path};

#[cfg(any(feature = "nats", feature = "amqp"))]
use sinew_core::{Error, ErrorKind, Result};

/// No password, token or seed is longer; a file that is was named by mistake.
#[cfg(any(feature = "nats", feature = "amqp"))]
const LONGEST: u64 = 64 << 10;

/// A secret, or the file that holds it. Neither `Debug` nor an error ever shows the secret itself.
#[derive(Clone, Eq, PartialEq)]
pub(crate) enum Secret {
    Text(String),
    File(PathBuf),
}

impl Secret {
    /// Whether it is known to be empty.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Text(text) if text.is_empty())
    }

    /// The secret; what its file holds, less one line end.
    #[cfg(any(feature = "nats", feature = "amqp"))]
    pub(crate) fn read(&self, what: &'static str) -> Result<String> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(path) => read(path, what),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("***"),
            Self::File(path) => fmt::Debug::fmt(path, f),
        }
    }
}

#[cfg(any(feature = "nats", feature = "amqp"))]
fn read(path: &Path, what: &'static str) -> Result<String> {
    let refuse = |detail: &'static str| {
        Error::new(ErrorKind::InvalidOptions, what)
            .with_subject(path.display().to_string())
            .with_detail(detail)
    };
    let mut text = String::new();
    fs::File::open(path)
        .and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text))
        .map_err(|err| refuse("the file cannot be read").with_source(err))?;
    if text.len() as u64 > LONGEST {
        return Err(refuse("the file is longer than 64 KiB: is it the right one?"));
    }
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() { Err(refuse("the file is empty")) } else { Ok(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", Secret::Text("hush".to_owned())), "***");
    }

    #[cfg(any(feature = "nats", feature = "amqp"))]
    #[test]
    fn a_file_loses_one_line_end_and_no_more() {
        let path = std::env::temp_dir().join(format!("sinew-secret-{}", std::process::id()));
        fs::write(&path, "hush \n\n").unwrap();
        let read = Secret::File(path.clone()).read("read password");
        fs::write(&path, "\n").unwrap();
        let empty = Secret::File(path.clone()).read("read password");
        fs::remove_file(&path).unwrap();
        assert_eq!(read.unwrap(), "hush \n");
        assert_eq!(empty.unwrap_err().kind(), ErrorKind::InvalidOptions);
        let gone = Secret::File(path).read("read password").unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::InvalidOptions);
    }
}
