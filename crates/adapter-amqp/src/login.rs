//! Who to be: a name and a password, or whoever the client certificate says.
use std::fmt;

use lapin::{
    auth::AuthProvider,
    types::{LongString, ShortString},
};

use crate::error::Cause;

/// How to log in, as SASL calls it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mechanism {
    Plain,
    External,
}

/// Who to be. The client asks for it at each login, and keeps no copy that it could print.
#[derive(Clone, PartialEq)]
pub(crate) enum Login {
    Password { user: String, password: String },
    External,
}

/// What fits into the one frame that a login is, whatever else stands in it.
const LONGEST: usize = 64 << 10;

impl Login {
    /// Refuses what the mechanism cannot carry.
    pub(crate) fn check(&self) -> Result<(), Cause> {
        match self {
            Self::Password { user, password } if user.contains('\0') || password.contains('\0') => {
                Err(Cause::options("neither user nor password can hold a zero byte"))
            }
            Self::Password { user, password } if user.len() + password.len() > LONGEST => {
                Err(Cause::options("user and password are too long, with more than 64 KiB"))
            }
            Self::Password { .. } | Self::External => Ok(()),
        }
    }

    /// Who it is, where we know.
    pub(crate) fn user(&self) -> Option<&str> {
        match self {
            Self::Password { user, .. } => Some(user),
            Self::External => None,
        }
    }
}

impl AuthProvider for Login {
    fn mechanism(&self) -> ShortString {
        match self {
            Self::Password { .. } => "PLAIN",
            Self::External => "EXTERNAL",
        }
        .into()
    }

    fn auth_starter(&self) -> Result<LongString, String> {
        Ok(match self {
            Self::Password { user, password } => format!("\0{user}\0{password}"),
            // Whom the certificate names.
            Self::External => String::new(),
        }
        .into())
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password { .. } => "user and password",
            Self::External => "client certificate",
        })
    }
}
