//! Which schemes there are, and which adapter each leads to.
use sinew_core::{Capabilities, Error, ErrorKind, Result};

/// A way into a broker: one adapter, one record of capabilities.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Door {
    Memory,
    Nats,
    JetStream,
    Amqp,
}

impl Door {
    pub(crate) const ALL: [Self; 4] = [Self::Memory, Self::Nats, Self::JetStream, Self::Amqp];

    /// The door that `scheme` opens.
    pub(crate) fn of(scheme: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|door| door.schemes().contains(&scheme)).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|door| door.form()).collect();
            Error::new(ErrorKind::InvalidOptions, "connect")
                .with_subject(scheme)
                .with_detail(format!("no such scheme; there are {}", known.join(", ")))
        })
    }

    const fn schemes(self) -> &'static [&'static str] {
        match self {
            Self::Memory => &["memory"],
            Self::Nats => &["nats"],
            Self::JetStream => &["nats+js"],
            // The last one is what Python's kombu calls the first.
            Self::Amqp => &["amqp", "amqps", "pyamqp"],
        }
    }

    /// What its addresses look like.
    pub(crate) const fn form(self) -> &'static str {
        match self {
            Self::Memory => "memory:[NAME]",
            Self::Nats => "nats://HOST[:PORT]",
            Self::JetStream => "nats+js://HOST[:PORT]/STREAM",
            Self::Amqp => "amqp[s]://HOST[:PORT][/VHOST]",
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
            Self::Amqp => &[
                "tls",
                "tls_ca",
                "tls_cert",
                "tls_key",
                "user",
                "password_file",
                "name",
                "exchange",
                "declare_exchanges",
                "heartbeat",
                "auth_mechanism",
                "connection_timeout",
                // RabbitMQ's own words for some of these.
                "cacertfile",
                "certfile",
                "keyfile",
                "connection_name",
            ],
        }
    }

    /// The cargo feature that builds its adapter.
    #[cfg(any(test, not(all(feature = "memory", feature = "nats", feature = "amqp"))))]
    const fn feature(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Nats | Self::JetStream => "nats",
            Self::Amqp => "amqp",
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
            #[cfg(feature = "amqp")]
            Self::Amqp => Some(sinew_adapter_amqp::Amqp::CAPABILITIES),
            #[cfg(not(all(feature = "memory", feature = "nats", feature = "amqp")))]
            _ => None,
        }
    }

    /// The refusal of a door that this build lacks.
    #[cfg(any(test, not(all(feature = "memory", feature = "nats", feature = "amqp"))))]
    pub(crate) fn absent(self, scheme: &str) -> Error {
        Error::new(ErrorKind::Unsupported, "connect").with_subject(scheme).with_detail(format!(
            "this build lacks it; build sinew-connect with feature `{}`",
            self.feature()
        ))
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
        for (scheme, feature) in [("nats+js", "feature `nats`"), ("pyamqp", "feature `amqp`")] {
            let err = Door::of(scheme).unwrap().absent(scheme);
            assert_eq!(err.kind(), ErrorKind::Unsupported);
            assert!(err.to_string().contains(feature), "{err}");
        }
    }
}
