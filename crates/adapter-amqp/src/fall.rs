//! What it says of a publish that the broker closed its channel: to which message it objected, it does not say.
use lapin::{
    ErrorKind as ClientKind,
    protocol::{AMQPErrorKind, AMQPSoftError},
};
use sinew_core::ErrorKind;

use crate::error::{Cause, client_kind};

/// The end of a channel under messages to one exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fall {
    /// One message was in flight, no more.
    is_alone: bool,
    /// The size of the largest payload in flight.
    largest: usize,
    /// The exchange is declared where it is missing.
    declares: bool,
}

impl Fall {
    /// That of a channel which had messages in flight whose payloads had these `sizes`.
    pub(crate) fn of(sizes: impl IntoIterator<Item = usize>, declares: bool) -> Self {
        let (count, largest) =
            sizes.into_iter().fold((0_usize, 0), |(count, most), size| (count + 1, size.max(most)));
        Self { is_alone: count == 1, largest, declares }
    }

    /// What became of a message with a payload of `size` bytes: where it is not known to be refused, it may be sent again.
    pub(crate) fn cause(self, size: usize, source: lapin::Error) -> Cause {
        match self.refusal(size, &source) {
            Some(kind) => Cause::Refused { kind, source },
            None => Cause::Fell { source },
        }
    }

    /// What the broker has against the message, as far as that is known.
    fn refusal(self, size: usize, source: &lapin::Error) -> Option<ErrorKind> {
        let ClientKind::ProtocolError(said) = source.kind() else { return None };
        // What ends the connection may have come by any channel.
        let AMQPErrorKind::Soft(soft) = said.kind() else { return None };
        // What it quotes may be the publisher's own words.
        let about = said.get_message().as_str().split('\'').next().unwrap_or_default();
        match soft {
            // All of them went to that exchange. One that is declared has gone in between, and comes with the next try.
            AMQPSoftError::NOTFOUND if self.declares => Some(ErrorKind::Unreachable),
            AMQPSoftError::NOTFOUND => Some(ErrorKind::NotFound),
            // The other refusal is about a topic in it.
            AMQPSoftError::ACCESSREFUSED
                if ["access to exchange ", "internal exchange "]
                    .iter()
                    .any(|whole| about.ends_with(whole)) =>
            {
                Some(ErrorKind::Denied)
            }
            // If any is too large, the largest is.
            AMQPSoftError::PRECONDITIONFAILED if about.contains("message size") => {
                (size == self.largest).then_some(ErrorKind::TooLarge)
            }
            _ if !self.is_alone => None,
            AMQPSoftError::PRECONDITIONFAILED => Some(ErrorKind::InvalidOptions),
            _ => Some(client_kind(source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use lapin::protocol::{AMQPError, AMQPHardError};

    use super::*;

    const MANY: Fall = Fall { is_alone: false, largest: 9, declares: false };
    const ALONE: Fall = Fall { is_alone: true, largest: 9, declares: false };

    fn kind(fall: Fall, size: usize, code: impl Into<AMQPErrorKind>, text: &str) -> ErrorKind {
        let said = AMQPError::new(code.into(), text.into());
        fall.cause(size, ClientKind::ProtocolError(said).into()).kind()
    }

    #[test]
    fn one_of_many_is_refused_only_where_the_refusal_holds_for_it() {
        use AMQPSoftError::{ACCESSREFUSED, NOTFOUND, PRECONDITIONFAILED};
        let large = "PRECONDITION_FAILED - message size 9 is larger than configured max size 8";
        let user = "PRECONDITION_FAILED - user_id property set to 'message size' but authenticated user was 'b'";
        let exchange = "ACCESS_REFUSED - access to exchange 'x' in vhost '/' refused for user 'a'";
        let internal = "ACCESS_REFUSED - cannot publish to internal exchange 'x' in vhost '/'";
        let topic =
            "ACCESS_REFUSED - access to topic 'access to exchange ' in exchange 'x' refused";
        for (size, code, text, many, alone) in [
            (9, NOTFOUND, "", ErrorKind::NotFound, ErrorKind::NotFound),
            (9, PRECONDITIONFAILED, large, ErrorKind::TooLarge, ErrorKind::TooLarge),
            (8, PRECONDITIONFAILED, large, ErrorKind::Disconnected, ErrorKind::Disconnected),
            (9, PRECONDITIONFAILED, user, ErrorKind::Disconnected, ErrorKind::InvalidOptions),
            (9, ACCESSREFUSED, exchange, ErrorKind::Denied, ErrorKind::Denied),
            (9, ACCESSREFUSED, internal, ErrorKind::Denied, ErrorKind::Denied),
            (9, ACCESSREFUSED, topic, ErrorKind::Disconnected, ErrorKind::Denied),
        ] {
            assert_eq!(kind(MANY, size, code.clone(), text), many, "{text}");
            assert_eq!(kind(ALONE, size, code, text), alone, "{text}");
        }
    }

    #[test]
    fn the_end_of_a_connection_blames_no_message() {
        for code in [AMQPHardError::FRAMEERROR, AMQPHardError::CONNECTIONFORCED] {
            assert_eq!(kind(ALONE, 9, code, ""), ErrorKind::Disconnected);
        }
    }

    #[test]
    fn a_declared_exchange_that_went_comes_back() {
        let declared = Fall { declares: true, ..MANY };
        let gone = kind(declared, 9, AMQPSoftError::NOTFOUND, "");
        assert_eq!(gone, ErrorKind::Unreachable);
    }
}
