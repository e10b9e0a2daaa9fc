//! Which schemes there are, and which adapter each leads to.
use sinew_core::{Capabilities, Error, ErrorKind, Result};

/// A way into a broker: one scheme, one adapter, one record of capabilities.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Door {
    Memory,
    Nats,
    JetStream,
}

impl Door {
    pub(crate) const ALL: [Self; 3] = [Self::Memory, Self::Nats, Self::JetStream];

    /// The door that `scheme` opens.
    pub(crate) fn of(scheme: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|door| door.scheme() == scheme).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|door| door.form()).collect();
            Error::new(ErrorKind::InvalidOptions, "connect")
                .with_subject(scheme)
                .with_detail(format!("no such scheme; there are {}", known.join(", ")))
        })
    }

    pub(crate) const fn scheme(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Nats => "nats",
            Self::JetStream => "nats+js",
        }
    }

    /// What its addresses look like.
    pub(crate) const fn form(self) -> &'static str {
        match self {
            Self::Memory => "memory:[NAME]",
            Self::Nats => "nats://HOST[:PORT]",
            Self::JetStream => "nats+js://HOST[:PORT]/STREAM",
        }
    }

    /// The options that its addresses may carry.
    pub(crate) const fn options(self) -> &'static [&'static str] {
        match self {
            Self::Memory => &[],
            Self::Nats | Self::JetStream => &[
                "tls",
                "tls_ca",
                "tls_cert",
                "tls_key",
                "user",
                "password_file",
                "token_file",
                "creds",
                "name",
            ],
        }
    }

    /// The cargo feature that builds its adapter.
    #[cfg(any(test, not(all(feature = "memory", feature = "nats"))))]
    const fn feature(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Nats | Self::JetStream => "nats",
        }
    }

    /// What it promises; none when its adapter is not in this build.
    pub(crate) fn capabilities(self) -> Option<Capabilities> {
        match self {
            #[cfg(feature = "memory")]
            Self::Memory => Some(sinew_adapter_memory::Memory::CAPABILITIES),
            #[cfg(feature = "nats")]
            Self::Nats => Some(sinew_adapter_nats::Nats::CAPABILITIES),
            #[cfg(feature = "nats")]
            Self::JetStream => Some(sinew_adapter_nats::JetStream::CAPABILITIES),
            #[cfg(not(all(feature = "memory", feature = "nats")))]
            _ => None,
        }
    }

    /// The refusal of a door that this build lacks.
    #[cfg(any(test, not(all(feature = "memory", feature = "nats"))))]
    pub(crate) fn absent(self) -> Error {
        Error::new(ErrorKind::Unsupported, "connect").with_subject(self.scheme()).with_detail(
            format!("this build lacks it; build sinew-connect with feature `{}`", self.feature()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_scheme_is_told_which_exist() {
        let err = Door::of("natz").unwrap_err();
        assert_eq!(err.kind(), ErrorKind::InvalidOptions);
        assert!(Door::ALL.iter().all(|door| err.to_string().contains(door.form())), "{err}");
    }

    #[test]
    fn an_absent_adapter_is_told_by_its_feature() {
        let err = Door::JetStream.absent();
        assert_eq!(err.kind(), ErrorKind::Unsupported);
        assert!(err.to_string().contains("feature `nats`"), "{err}");
    }
}
