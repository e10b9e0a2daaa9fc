//! Payloads: where they come from. They are never re-encoded.
use std::{
    fs,
    io::{self, IsTerminal, Read},
    path::PathBuf,
};

use bytes::Bytes;

use crate::exit::{Failure, Status};

/// No broker here takes a larger one; without a bound, an endless pipe would fill the memory.
const LARGEST: u64 = 64 << 20;

/// Where a payload comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Source {
    /// The argument itself.
    Argument(String),
    /// `-`: standard input.
    Stdin,
    /// `@file`.
    File(PathBuf),
    /// Nothing was given and nobody pipes.
    Empty,
}

impl Source {
    /// What the argument names; without one, standard input where it is no terminal.
    pub(crate) fn of(argument: Option<String>) -> Self {
        match argument {
            Some(argument) => Self::named(argument),
            None if io::stdin().is_terminal() => Self::Empty,
            None => Self::Stdin,
        }
    }

    fn named(argument: String) -> Self {
        match argument.strip_prefix('@') {
            _ if argument == "-" => Self::Stdin,
            Some(path) if !path.is_empty() => Self::File(path.into()),
            _ => Self::Argument(argument),
        }
    }

    /// Reads it to its end; blocks.
    pub(crate) fn read(self) -> Result<Bytes, Failure> {
        match self {
            Self::Argument(text) => Ok(text.into()),
            Self::Empty => Ok(Bytes::new()),
            Self::Stdin => all(io::stdin().lock())
                .map_err(|err| Failure::file("read", "standard input", err))
                .and_then(|bytes| bounded(bytes, "standard input")),
            Self::File(path) => fs::File::open(&path)
                .and_then(all)
                .map_err(|err| Failure::file("read", path.display(), err))
                .and_then(|bytes| bounded(bytes, path.display())),
        }
    }
}

fn all(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(LARGEST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn bounded(bytes: Vec<u8>, from: impl std::fmt::Display) -> Result<Bytes, Failure> {
    if bytes.len() as u64 > LARGEST {
        return Err(Failure::new(
            Status::BadData,
            format!(
                "{from} is longer than 64 MiB, more than a message can hold; send a link to it"
            ),
        ));
    }
    Ok(bytes.into())
}

/// Puts `n` where `{n}` stands; a payload without it is shared, not copied.
pub(crate) fn numbered(payload: &Bytes, n: u64) -> Bytes {
    const MARK: &[u8] = b"{n}";
    let mut rest = &payload[..];
    let mut filled = Vec::new();
    while let Some(at) = rest.windows(MARK.len()).position(|window| window == MARK) {
        let (before, after) = rest.split_at(at);
        filled.extend_from_slice(before);
        filled.extend_from_slice(n.to_string().as_bytes());
        rest = after.get(MARK.len()..).unwrap_or_default();
    }
    if filled.is_empty() && rest.len() == payload.len() {
        return payload.clone();
    }
    filled.extend_from_slice(rest);
    filled.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_names_its_source() {
        let of = |text: &str| Source::of(Some(text.to_owned()));
        assert_eq!(of("-"), Source::Stdin);
        assert_eq!(of("@a/b"), Source::File("a/b".into()));
        assert_eq!(of("@"), Source::Argument("@".to_owned()));
        assert_eq!(of("--x"), Source::Argument("--x".to_owned()));
        assert_eq!(of(""), Source::Argument(String::new()));
    }

    #[test]
    fn a_file_is_read_as_it_is() {
        let path = std::env::temp_dir().join(format!("sinew-payload-{}", std::process::id()));
        fs::write(&path, b"\xff\0\n").unwrap();
        let read = Source::File(path.clone()).read();
        fs::remove_file(&path).unwrap();
        assert_eq!(read.unwrap(), b"\xff\0\n"[..]);
        assert_eq!(Source::File(path).read().unwrap_err().status, Status::Disk);
    }

    #[test]
    fn a_number_stands_where_it_is_asked_for() {
        let fill = |text: &'static str| numbered(&Bytes::from(text), 12);
        assert_eq!(fill("{n}"), "12");
        assert_eq!(fill("a {n} b {n}{n"), "a 12 b 12{n");
        assert_eq!(fill("plain"), "plain");
        assert_eq!(fill(""), "");
    }
}
