//! Why no connection was made: what a client's error means before the login is done.
use std::io;

use lapin::{
    Error, ErrorKind as ClientKind,
    protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError},
};
use rustls::AlertDescription as Alert;
use sinew_core::ErrorKind;

/// How the connection was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) tls: bool,
    /// The login is by client certificate.
    pub(crate) external: bool,
}

/// What it is to callers.
pub(crate) fn kind(err: &Error) -> ErrorKind {
    if let Some(fault) = tls_fault(err) {
        return match fault {
            rustls::Error::AlertReceived(alert) if is_about_us(*alert) => ErrorKind::Denied,
            _ => ErrorKind::Unreachable,
        };
    }
    match err.kind() {
        ClientKind::ProtocolError(said) => match said.kind() {
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => ErrorKind::Denied,
            AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => {
                not_allowed(said.get_message().as_str())
            }
            AMQPErrorKind::Hard(AMQPHardError::CONNECTIONFORCED | AMQPHardError::INTERNALERROR) => {
                ErrorKind::Unreachable
            }
            AMQPErrorKind::Hard(AMQPHardError::RESOURCEERROR) => ErrorKind::Overloaded,
            _ => ErrorKind::Protocol,
        },
        ClientKind::InvalidProtocolVersion(_) | ClientKind::ParsingError(_) => ErrorKind::Protocol,
        _ => ErrorKind::Unreachable,
    }
}

/// What to do about it.
pub(crate) fn detail(terms: Terms, err: &Error) -> String {
    let text = match (tls_fault(err), err.kind()) {
        (Some(_), _) if kind(err) == ErrorKind::Denied => {
            "the broker refuses the client certificate, or asks for one; give it with `with_client_cert`"
        }
        (Some(_), _) => {
            "the TLS handshake failed; check the port, the server's certificate, its host name and the CA"
        }
        (None, ClientKind::ProtocolError(said)) if kind(err) == ErrorKind::Denied => {
            return format!("the broker refuses the login: {}", said.get_message());
        }
        (None, ClientKind::ProtocolError(said)) => {
            return format!("the broker says {}: {}", said.get_id(), said.get_message());
        }
        _ if kind(err) == ErrorKind::Protocol && terms.tls => {
            "what answered is no AMQP 0-9-1 broker"
        }
        _ if kind(err) == ErrorKind::Protocol => {
            "what answered is no AMQP 0-9-1 broker; if it speaks TLS, use `amqps://`"
        }
        // RabbitMQ says nothing about a way to log in that it does not know.
        (None, ClientKind::IOError(io)) if is_hang_up(io) && terms.external => {
            "the connection was closed during the handshake; does RabbitMQ take EXTERNAL logins there?"
        }
        // TLS 1.3 refuses a client after its handshake, and the reset that follows may overtake the reason.
        (None, ClientKind::IOError(io)) if is_hang_up(io) && terms.tls => {
            "the connection was closed during the handshake; is RabbitMQ ready, and does it take our certificate?"
        }
        (None, ClientKind::IOError(io)) if is_hang_up(io) => {
            "the connection was closed during the handshake; is RabbitMQ ready, or does it want `amqps://`?"
        }
        _ => "is RabbitMQ running there?",
    };
    text.to_owned()
}

/// Whether TLS was what failed: the peer would fail it again.
pub(crate) fn tls_fault(err: &Error) -> Option<&rustls::Error> {
    let ClientKind::IOError(io) = err.kind() else { return None };
    io.get_ref()?.downcast_ref::<rustls::Error>()
}

/// RabbitMQ has one code for a virtual host that is missing, closed to the user, or full, and says which in words.
fn not_allowed(said: &str) -> ErrorKind {
    if said.contains("connection limit") {
        ErrorKind::Overloaded
    } else if said.contains("not found") {
        ErrorKind::NotFound
    } else {
        ErrorKind::Denied
    }
}

fn is_about_us(alert: Alert) -> bool {
    matches!(
        alert,
        Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnknownCA
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::CertificateUnknown
    )
}

fn is_hang_up(err: &io::Error) -> bool {
    use io::ErrorKind as Io;
    matches!(
        err.kind(),
        Io::ConnectionReset | Io::ConnectionAborted | Io::BrokenPipe | Io::UnexpectedEof
    )
}
