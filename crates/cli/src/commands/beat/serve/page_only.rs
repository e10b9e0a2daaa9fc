//! The page for a watch of somebody else's: `sinew demo --serve`.
use std::{net::SocketAddr, path::Path, sync::Arc};

use sinew_beat::{MonitorEvent, Watch};
use tokio::sync::watch;

use super::{
    Owned,
    access::Gate,
    bind,
    board::Board,
    desk::Desk,
    routes::{self, Shown},
    server::{self, Limits},
    upkeep::Upkeep,
};
use crate::{commands::beat::config::Config, exit::Failure, output::Output};

/// A page on this machine, until it is dropped.
pub(crate) struct StatusPage {
    board: Arc<Board>,
    desk: Arc<Desk>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    server: Owned<()>,
}

impl StatusPage {
    /// Serves what `watch` knows at `listen`, a loopback address.
    pub(crate) async fn start(
        watch: &Watch,
        listen: SocketAddr,
        output: Output,
    ) -> Result<Self, Failure> {
        let gate = Gate::new(listen, None, false)?;
        let config = Config::parse("", Path::new(""))?;
        let (listener, address) = bind(listen).await?;
        let board = Arc::new(Board::new(watch.table(), config.max_processes, &[]));
        let desk = Desk::new(&config, watch.clock(), output, None, Vec::new());
        let desk = Arc::new(desk);
        let stop = watch::Sender::new(false);
        let shown = Shown {
            board: Arc::clone(&board),
            desk: Arc::clone(&desk),
            upkeep: Arc::new(Upkeep::default()),
            keeper: None,
        };
        let router = routes::router(shown, gate, stop.subscribe());
        let server = server::serve(listener, router, Limits::default(), stop.subscribe());
        let server = Owned(tokio::spawn(server));
        Ok(Self { board, desk, address, stop, server })
    }

    /// Where it is.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes in what the watch tells.
    pub(crate) fn hear(&self, event: &MonitorEvent) {
        self.board.hear(event);
        self.desk.hear(event);
    }

    /// Ends it, once what is being sent has been sent.
    pub(crate) async fn end(mut self) {
        self.board.end();
        self.stop.send_replace(true);
        let _ = (&mut self.server.0).await;
    }
}
