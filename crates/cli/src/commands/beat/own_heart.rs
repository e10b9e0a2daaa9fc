//! A watch's own heart: it hears itself, and judges nobody while it does not.
use std::{fs, time::Duration};

use clap::Args;
use sinew_beat::{Heart, HeartOptions, Instance, Process, Watch, WatchOptions};
use sinew_core::{AnyBackend, AnyPublisher};

use super::config::HeartConfig;
use crate::{exit::Failure, session::Session};

/// How long a heart that nobody asked for is waited for at the start.
const PATIENCE: Duration = Duration::from_secs(5);

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
    /// cannot be heard, as we may not publish, the watch goes on without it, and says so.
    pub(super) async fn watch(
        self,
        session: &Session,
        backend: &AnyBackend,
        config: &HeartConfig,
        options: WatchOptions,
        within: Option<Duration>,
    ) -> Result<Watch, Failure> {
        let subscriber = backend.subscriber()?;
        let start = async |options| {
            let starting = async { Ok(Watch::start(&subscriber, options).await?) };
            session.interrupt.unless(starting).await
        };
        if self.no_heart || !config.enabled {
            return start(options).await;
        }
        let within = within.map_or(PATIENCE, |it| it.min(PATIENCE));
        let own = HeartOptions::default().with_period(config.period);
        if let Some(name) = &config.process {
            let heart = own.build(backend.publisher()?, name)?;
            return start(options.with_heart(heart)).await;
        }
        let heart =
            backend.publisher().and_then(|publisher| unlisted(own.with_timeout(within), publisher));
        let failure = match heart {
            Ok(heart) => match start(options.clone().with_heart(heart)).await {
                Ok(watch) => return Ok(watch),
                Err(failure) => failure,
            },
            Err(err) => err.into(),
        };
        // Where it is not for the heart, this fails for the same reason.
        let watch = start(options).await?;
        let why = failure.message.unwrap_or_default();
        session.output.remark(format_args!(
            "no heart of its own: {why}; a broker that hangs is noticed late (say --no-heart if that is meant)"
        ));
        Ok(watch)
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
