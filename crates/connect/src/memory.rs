//! The brokers inside this process, one per name.
use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, PoisonError},
};

use sinew_adapter_memory::MemoryBroker;
use sinew_core::{AnyBackend, Error, ErrorKind, Result};

use crate::ConnectOptions;

/// They live as long as the process, as what is published to them is meant to be found by whoever connects next.
static BROKERS: LazyLock<Mutex<HashMap<String, MemoryBroker>>> = LazyLock::new(Mutex::default);

pub(crate) fn connect(options: &ConnectOptions) -> Result<AnyBackend> {
    let url = options.url();
    let refuse = |detail: &'static str| {
        Error::new(ErrorKind::InvalidOptions, "memory connect")
            .with_subject(url.to_string())
            .with_detail(detail)
    };
    if url.hosts().is_some() {
        return Err(refuse(
            "it lives in this process and has no host; write memory: or memory:NAME",
        ));
    }
    let security = &options.security;
    if security.tls == Some(true) || security.ca_file.is_some() || security.client_cert.is_some() {
        return Err(refuse("it lives in this process; leave TLS out"));
    }
    if options.login.is_some() {
        return Err(refuse("it lives in this process and asks for no login; leave it out"));
    }
    let mut brokers = BROKERS.lock().unwrap_or_else(PoisonError::into_inner);
    let broker = brokers.entry(url.path().to_owned()).or_default();
    Ok(broker.connect().into_any())
}
