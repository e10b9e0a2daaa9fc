//! What every command is given: a voice, an ear for Ctrl-C, and a way to the broker.
use std::time::Duration;

use sinew_connect::ConnectOptions;
use sinew_core::{AnyBackend, Link};

use crate::{
    connection::{ConnectionArgs, connect},
    exit::Failure,
    interrupt::Interrupt,
    output::{Chatter, Output},
};

/// How long a drain may take: what is under way is finished, then we are gone.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);

/// One run of the command.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) output: Output,
    pub(crate) interrupt: Interrupt,
    /// The connection options that stood before the command's name.
    before: ConnectionArgs,
}

impl Session {
    pub(crate) fn new(
        chatter: Chatter,
        json: bool,
        before: ConnectionArgs,
    ) -> Result<Self, Failure> {
        Ok(Self { output: Output::new(json, chatter), interrupt: Interrupt::install()?, before })
    }

    /// What to connect with.
    pub(crate) fn options(&self, args: ConnectionArgs) -> Result<ConnectOptions, Failure> {
        args.or(self.before.clone()).options()
    }

    /// Connects within the time that the command has, if it has one, unless interrupted.
    pub(crate) async fn connect(
        &self,
        args: ConnectionArgs,
        within: Option<Duration>,
    ) -> Result<AnyBackend, Failure> {
        self.connect_with(self.options(args)?, within).await
    }

    /// The same with options that were looked at before.
    pub(crate) async fn connect_with(
        &self,
        options: ConnectOptions,
        within: Option<Duration>,
    ) -> Result<AnyBackend, Failure> {
        self.interrupt.unless(connect(options, within)).await
    }

    /// Ends the connection. What a command published or settled it has seen through before, so that a drain which
    /// fails, as with a broker that is gone, loses nothing.
    pub(crate) async fn drain(&self, backend: &AnyBackend) {
        if let Err(err) = backend.link().drain(DRAIN).await {
            self.output.detail(err);
        }
    }
}
