//! What the options come to, checked.
use std::{collections::HashMap, time::Duration};

use lapin::types::ShortString;
use sinew_core::Value;

use crate::{
    delay,
    login::Login,
    policy::{DelayLayout, ExchangeKind, ExchangePolicy},
    tls::Files,
};

/// What making a connection takes, checked.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) vhost: ShortString,
    pub(crate) tls: Option<Files>,
    pub(crate) login: Login,
    pub(crate) name: Option<String>,
    /// In seconds.
    pub(crate) heartbeat: u16,
    pub(crate) connect_timeout: Duration,
}

/// What everything after the connection takes, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) answer_timeout: Duration,
    pub(crate) blocked_timeout: Duration,
    pub(crate) confirm_window: usize,
    pub(crate) reconnect_wait: Duration,
    pub(crate) retry_first: bool,
    pub(crate) default_exchange: ShortString,
    pub(crate) user: Option<String>,
    pub(crate) assume_queues: bool,
    pub(crate) queue_arguments: Vec<(ShortString, Value)>,
    pub(crate) delays: DelayLayout,
    pub(crate) heartbeat: Duration,
    pub(crate) exchanges: HashMap<String, ExchangePolicy>,
    pub(crate) other_exchanges: ExchangePolicy,
}

impl Settings {
    /// What to do about the exchange called `name`. The ones that are there on every broker are never declared unless
    /// named themselves.
    pub(crate) fn exchange(&self, name: &str) -> ExchangePolicy {
        match self.exchanges.get(name) {
            Some(policy) => *policy,
            None if name.starts_with("amq.") => ExchangePolicy::assume(),
            None if name == delay::BACKOFF && self.delays == DelayLayout::NamekoAmqpRetry => {
                ExchangePolicy::declare().with_kind(ExchangeKind::Headers)
            }
            None => self.other_exchanges,
        }
    }

    /// How long the broker may hold for us what a connection held that is gone: RabbitMQ takes between two and three
    /// heartbeats to miss one, and then closes it.
    pub(crate) fn patience(&self) -> Duration {
        self.heartbeat * 3 + self.answer_timeout
    }
}
