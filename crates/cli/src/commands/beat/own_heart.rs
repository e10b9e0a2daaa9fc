//! A watch's own heart: it hears itself, and judges nobody while it does not.
use std::{fs, time::Duration};

use clap::Args;
use sinew_beat::{Heart, HeartOptions, Instance, Process, Watch, WatchOptions, WatchTable};
use sinew_core::{AnyBackend, AnyPublisher};
use tokio::{task::JoinHandle, time::sleep};

use super::config::HeartConfig;
use crate::{exit::Failure, output::Output, session::Session};

/// How long a heart that nobody asked for is waited for at the start, and how soon it is tried again where it was not heard.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long it is left alone at most between two tries: a broker that refuses it may log each of them.
const RETRY: Duration = Duration::from_secs(60);

/// Whether a watch has a heart of its own.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct OwnHeart {
    /// Have no heart of its own, by which it hears that the broker carries beats: one that hangs is noticed late then,
    /// and who lives may be called down
    #[arg(long)]
    no_heart: bool,
}

impl OwnHeart {
    /// Whether this is the watch's own process, which it hears whatever else it listens to.
    pub(super) fn is(self, process: &Process, config: &HeartConfig) -> bool {
        !self.no_heart && config.enabled && config.process.as_deref() == Some(process.as_str())
    }

    /// Starts to watch, with a heart as `config` has it unless none is wanted.
    ///
    /// One that has a name is there or is an error: others rely on it. One without is for this watch alone. Where it
    /// cannot be heard, as we may not publish or the broker hangs, the watch goes on without it, says so, and tries again
    /// for as long as what is given beside it lives.
    pub(super) async fn watch(
        self,
        session: &Session,
        backend: &AnyBackend,
        config: &HeartConfig,
        options: WatchOptions,
        within: Option<Duration>,
    ) -> Result<(Watch, Option<Trying>), Failure> {
        let subscriber = backend.subscriber()?;
        let start = async |options| {
            let starting = async { Ok(Watch::start(&subscriber, options).await?) };
            session.interrupt.unless(starting).await
        };
        if self.no_heart || !config.enabled {
            return Ok((start(options).await?, None));
        }
        let within = within.map_or(PATIENCE, |it| it.min(PATIENCE));
        let own = HeartOptions::default().with_period(config.period);
        if let Some(name) = &config.process {
            let heart = own.build(backend.publisher()?, name)?;
            return Ok((start(options.with_heart(heart)).await?, None));
        }
        let heart =
            backend.publisher().and_then(|publisher| unlisted(own.with_timeout(within), publisher));
        let (watch, failure, can_begin) = match heart {
            Ok(heart) => {
                let watch = start(options.with_heart_later(heart)).await?;
                let table = watch.table();
                let beginning = async { Ok(table.begin_heart().await) };
                match session.interrupt.unless(beginning).await? {
                    Ok(()) => return Ok((watch, None)),
                    Err(err) => (watch, Failure::from(err), true),
                }
            }
            Err(err) => (start(options).await?, Failure::from(err), false),
        };
        let why = failure.message.unwrap_or_default();
        session.output.remark(format_args!(
            "no heart of its own: {why}; a broker that hangs is noticed late (say --no-heart if that is meant)"
        ));
        let trying = can_begin.then(|| Trying::start(watch.table(), session.output));
        Ok((watch, trying))
    }
}

/// Tries again to begin a heart that was not heard, until it is. Dropping it ends that.
pub(super) struct Trying(JoinHandle<()>);

impl Trying {
    fn start(table: WatchTable, output: Output) -> Self {
        Self(tokio::spawn(async move {
            let mut wait = PATIENCE;
            loop {
                sleep(wait).await;
                if table.begin_heart().await.is_ok() {
                    output.remark("its own heart is heard now");
                    return;
                }
                wait = (wait * 2).min(RETRY);
            }
        }))
    }
}

impl Drop for Trying {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A heart under a name that no other has, and that nobody lists: that of the host, for who looks at the broker.
fn unlisted(
    options: HeartOptions,
    publisher: AnyPublisher,
) -> sinew_core::Result<Heart<AnyPublisher>> {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    let host: String = host.trim().chars().take(64).map(plain).collect();
    let name = format!("{}{host}-{}", Process::UNLISTED, Instance::unique());
    options.build(publisher, &name)
}
