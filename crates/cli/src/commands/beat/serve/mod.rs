//! `sinew beat serve`: the monitor with a status page, and with what it tells people.
mod access;
mod badge;
mod board;
mod desk;
mod events;
mod hearing;
mod html;
mod metrics;
mod operate;
mod page_only;
mod reload;
mod routes;
mod server;
mod snapshots;
mod upkeep;
mod uptime;
mod view;

#[cfg(test)]
mod tests;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use sinew_beat::{Process, Snapshot, Watch, WatchOptions};
use sinew_core::{AnyBackend, Backend as _};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
};

pub(crate) use self::page_only::StatusPage;
use self::{
    access::{Gate, Token},
    board::Board,
    desk::{Desk, outputs},
    hearing::{Printing, hear, heard, say_unprinted},
    reload::{Hangups, Reloader},
    routes::Shown,
    server::Limits,
    snapshots::Keeper,
    upkeep::Upkeep,
};
use super::{
    Report,
    config::{self, Config},
    hears_expected,
    own_heart::{OwnHeart, Trying},
};
use crate::{
    args::Format,
    connection::ConnectionArgs,
    examples::{Example, section_with_note},
    exit::{Failure, Outcome, Status, plain},
    interrupt::{Ending, Stop},
    session::{DRAIN, Session},
};

pub(crate) const EXAMPLES: &[Example] = &[
    ("everyone, at http://127.0.0.1:2328/ for twenty seconds", "sinew beat serve --for 20s"),
    (
        "those of one region, one of which should be there",
        "sinew beat serve 'eu.>' --expect eu.billing --listen 127.0.0.1:0 --for 20s",
    ),
];

const NOTE: &str = "The page needs nothing from elsewhere. Beside it: /api/processes (?state=, ?q=, ?limit=, ?offset=), \
    /api/processes/PROCESS, /api/events, /api/silences, /metrics, /badge/PROCESS.svg, /healthz (we live) and /readyz \
    (we see). Whoever can reach it can read all of it: that is this machine, unless --listen says otherwise. \
    --config FILE says whom to alert, and how patient to be; SIGHUP reads it anew.";

/// How many events may wait to be printed.
const UNPRINTED: usize = 4096;

/// Where the page is when nobody says: `2328` spells `beat` on a phone's keys.
pub(crate) const LISTEN: SocketAddr =
    SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 2328));

/// Show who lives on a status page, with metrics, badges, JSON and alerts; print each change as `beat watch` does
#[derive(Args, Debug)]
#[command(after_help = section_with_note(NOTE, EXAMPLES))]
pub(crate) struct Serve {
    /// Whom to watch: a process's name, in which `*` stands for a word and a last `>` for all that follow
    #[arg(value_name = "PATTERN")]
    pattern: Option<String>,
    /// A process that should be there: down when not heard of within a minute. May be given more than once
    #[arg(long, value_name = "PROCESS", value_parser = super::parse_expected)]
    expect: Vec<Process>,
    /// Where to serve the page: an IP address and a port, 0 for any that is free [default: 127.0.0.1:2328]
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    listen: Option<SocketAddr>,
    /// Show the page only to who has the token in this file: as a bearer token, or as the password that a browser
    /// asks for. Put a proxy with TLS before it: it is sent as it is
    #[arg(long, value_name = "FILE")]
    access_token_file: Option<PathBuf>,
    /// Show the page to everybody who can reach ADDR
    #[arg(long, conflicts_with = "access_token_file")]
    open: bool,
    /// Read whom to alert, how patient to be and more from this file (TOML), and anew with each SIGHUP. What stands on
    /// the command line beats it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Say whether the file can be used, and end
    #[arg(long, requires = "config")]
    check_config: bool,
    /// Keep what is known of everyone in this file, so that a restart calls nobody down
    #[arg(long, value_name = "FILE")]
    snapshot: Option<PathBuf>,
    #[command(flatten)]
    heart: OwnHeart,
    #[command(flatten)]
    ending: Ending,
    #[command(flatten)]
    pub(crate) format: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "write an IP address and a port, as 127.0.0.1:2328 or [::1]:2328".to_owned())
}

impl Serve {
    pub(crate) async fn run(mut self, session: &Session) -> Outcome {
        let file = match &self.config {
            Some(path) => Config::load(path)?,
            None => Config::parse("", Path::new(""))?,
        };
        // A file that is read anew does not change it.
        let pattern = self.pattern.clone().or_else(|| file.processes.clone());
        let is_other = |it: &&Process| !self.heart.is(it, &file.heart);
        hears_expected(pattern.as_deref(), self.expect.iter().filter(is_other))?;
        hears_expected(pattern.as_deref(), file.expected.iter().filter(is_other))
            .map_err(|failure| file.blame(config::EXPECTED, failure))?;
        let listen = self.listen.or(file.listen).unwrap_or(LISTEN);
        let gate = self.gate(listen, &file)?;
        let snapshots = self.snapshot.clone().or_else(|| file.snapshot_file.clone());
        if let Some(path) = &snapshots {
            snapshots::check(path)?;
            let is_read = |path: &Path| {
                self.access_token_file.iter().any(|it| config::is_same(it, path))
                    || file.reads(path)
            };
            if is_read(path) || is_read(&desk::kept::beside(path)) {
                let failure = Failure::usage(format!(
                    "cannot keep a snapshot at {}: it would be written over what is read from there",
                    path.display()
                ));
                return Err(match self.snapshot {
                    Some(_) => failure,
                    None => file.blame(config::SNAPSHOT_FILE, failure),
                });
            }
        }
        if self.check_config {
            let Some(doubt) = file.doubts.first() else {
                session.output.remark("the file can be used");
                return Ok(Status::Done);
            };
            let more = match file.doubts.len() {
                1 => String::new(),
                all => format!(" (and {} more)", all - 1),
            };
            return Err(Failure::usage(format!("{doubt}{more}")));
        }
        file.doubts.iter().for_each(|doubt| session.output.remark(doubt));
        let hangups = self.config.is_some().then(Hangups::listen).transpose()?;
        if hangups.is_some() {
            session.interrupt.leave_hangups();
        }
        let (listener, address) = bind(listen).await?;
        let connection = std::mem::take(&mut self.connection);
        let backend = session.connect(connection, self.ending.within).await?;
        let upkeep = Arc::new(Upkeep::default());
        let _hold = snapshots.as_ref().map(|it| snapshots::hold(it, session.output)).transpose()?;
        let snapshot = match &snapshots {
            Some(path) => snapshots::load(path, session.output)?,
            None => None,
        };
        let is_known = snapshot.is_some();
        let uptimes = snapshot.as_ref().map(|it| it.attached().to_vec()).unwrap_or_default();
        let (watch, _trying) = self.watch(session, &backend, &file, snapshot).await?;

        let (table, clock) = (watch.table(), watch.clock());
        let webhooks = outputs::start(file.webhooks.clone(), clock, session.output).await?;
        let publisher = backend.publisher().ok();
        let desk = Desk::new(&file, clock, session.output, publisher, webhooks);
        let desk = Arc::new(desk);
        let expected = self.expect.len() + file.expected.len();
        let board = Arc::new(Board::new(table.clone(), file.max_processes + expected, &uptimes));
        drop(uptimes);
        reload::expect(&table, self.expect.iter().chain(&file.expected));
        if let Some(path) = &snapshots {
            let mut kept = snapshots::load_kept(path, session.output)?;
            if !is_known {
                kept.forget_told();
            }
            desk.resume(&kept, &table.processes());
        }
        let keeper = snapshots.map(|path| {
            let desk = Arc::clone(&desk);
            Keeper::new(
                path,
                file.snapshot_every,
                (table.clone(), Arc::clone(&board)),
                desk,
                Arc::clone(&upkeep),
                session.output,
            )
        });
        let report = Report { output: session.output, clock };
        let stop = watch::Sender::new(false);
        let is_open = gate.is_open();
        let shown = Shown {
            board: Arc::clone(&board),
            desk: Arc::clone(&desk),
            upkeep: Arc::clone(&upkeep),
            keeper: keeper.clone(),
        };
        let router = routes::router(shown, gate, stop.subscribe());
        let server = server::serve(listener, router, Limits::default(), stop.subscribe());
        let mut server = Owned(tokio::spawn(server));
        let (events, unprinted) = mpsc::channel(UNPRINTED);
        let mut printing = Printing::start(unprinted, report, self.ending)?;
        let hearing = hear(
            watch,
            Arc::clone(&board),
            Arc::clone(&desk),
            Arc::clone(&upkeep),
            events,
            stop.subscribe(),
        );
        let mut hearing = Owned(tokio::spawn(hearing));
        let _keeping = keeper.clone().map(|it| Owned(tokio::spawn(it.run())));
        let reloader = self.config.zip(hangups).map(|(path, hangups)| {
            let reloader = Reloader {
                path,
                file,
                expect: self.expect,
                heart: self.heart,
                pattern,
                table,
                board,
                desk: Arc::clone(&desk),
                upkeep: Arc::clone(&upkeep),
                output: session.output,
            };
            reloader.run(hangups)
        });
        let _reloading = reloader.map(|it| Owned(tokio::spawn(it)));
        session
            .output
            .remark(format_args!("serving http://{address}/ ({})", backend.capabilities().backend));
        if is_open {
            session.output.remark("everybody who can reach it can read all of it");
        }

        let printed = printing.until(session, self.ending).await;
        if let Some(keeper) = &keeper {
            keeper.save().await;
        }
        stop.send_replace(true);
        let _ = (&mut server.0).await;
        let ended = (&mut hearing.0).await;
        printing.finish(session.output).await;
        let undelivered = desk.finish(DRAIN).await;
        if !undelivered.is_none() {
            session.output.remark(undelivered);
        }
        if let Some(keeper) = &keeper {
            // What was delivered meanwhile need not be told again.
            keeper.save().await;
        }
        session.drain(&backend).await;
        // Whoever closes the pipe wants no more, and no word on it.
        let (stop, told) = printed?;
        say_unprinted(&upkeep, session.output);
        if stop == Stop::Ended && !self.ending.reached(told) {
            // The intake has ended: nothing new will ever be shown.
            heard(ended)?;
        }
        Ok(self.ending.status(stop, told))
    }

    /// Who may look: as the command line says, if it says anything of it.
    fn gate(&self, listen: SocketAddr, file: &Config) -> Result<Gate, Failure> {
        let says = self.open || self.access_token_file.is_some();
        let (token, open) = match says {
            true => (&self.access_token_file, self.open),
            false => (&file.access_token_file, file.open),
        };
        let token = token.as_deref().map(Token::read).transpose();
        let token = token.map_err(|failure| match says {
            true => failure,
            false => file.blame(config::ACCESS_TOKEN_FILE, failure),
        })?;
        Gate::new(listen, token, open).map_err(|failure| match self.listen {
            Some(_) => failure,
            None => file.blame(config::LISTEN, failure),
        })
    }

    /// Starts to watch, from where an earlier run ended if that is known.
    async fn watch(
        &self,
        session: &Session,
        backend: &AnyBackend,
        file: &Config,
        snapshot: Option<Snapshot>,
    ) -> Result<(Watch, Option<Trying>), Failure> {
        let mut options = WatchOptions::default().with_monitor(file.monitor.clone());
        if let Some(pattern) = self.pattern.clone().or_else(|| file.processes.clone()) {
            options = options.with_processes(pattern);
        }
        if let Some(stall_after) = file.stall_after {
            options = options.with_stall_after(stall_after);
        }
        if file.republish {
            backend.publisher()?;
        }
        let expected = self.expect.iter().chain(&file.expected).cloned();
        options = expected.fold(options, WatchOptions::with_expected);
        if let Some(snapshot) = snapshot {
            options = options.with_snapshot(snapshot);
        }
        self.heart.watch(session, backend, &file.heart, options, self.ending.within).await
    }
}

/// Binds the address, and tells which one it is.
async fn bind(wanted: SocketAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    let refused = |err: std::io::Error| {
        let why = plain(&err);
        Failure::usage(format!(
            "cannot listen on {wanted}: {why}; choose another one with --listen"
        ))
        .with_source(err)
    };
    let listener = TcpListener::bind(wanted).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    Ok((listener, address))
}

/// A task that ends with whoever started it.
struct Owned<T>(JoinHandle<T>);

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
