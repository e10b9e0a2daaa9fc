//! nameko's configuration file: what it says of the broker, and of events.
mod expand;
mod yaml;

use std::{env, fmt, time::Duration};

use sinew_core::{Result, Value};

use crate::{AmqpOptions, ExchangePolicy, error::Cause};

/// What a configuration file of nameko says, so that a service of ours can take the place of one in Python: the broker it
/// connects to, the exchanges it declares, and the numbers and names that events take.
///
/// ```
/// use sinew_adapter_amqp::NamekoConfig;
///
/// let config = NamekoConfig::parse_with(
///     "AMQP_URI: pyamqp://${USER:guest}:${PASSWORD}@rabbit/shop\nmax_workers: 20\n",
///     |name| (name == "PASSWORD").then(|| "s3cret".to_owned()),
/// )?;
/// let options = config.options();
/// assert_eq!(config.max_workers(), 20);
/// assert!(!format!("{config:?} {options:?}").contains("s3cret"));
/// # Ok::<(), sinew_core::Error>(())
/// ```
///
/// | key | what becomes of it |
/// |---|---|
/// | `AMQP_URI` | [`AmqpOptions::new`]; it must be there |
/// | `HEARTBEAT` | [`AmqpOptions::with_heartbeat`], in seconds; where it is not there, ours, 10 s |
/// | `AMQP_SSL` | [`with_tls`](AmqpOptions::with_tls); `ca_certs`, `certfile` and `keyfile` of it; else it is refused |
/// | `LOGIN_METHOD` | `PLAIN`, or `EXTERNAL` for [`with_external_login`](AmqpOptions::with_external_login) |
/// | `DECLARE_EVENT_EXCHANGES`, `AUTO_DELETE_EVENT_EXCHANGES` | [`AmqpOptions::with_exchanges`] |
/// | `max_workers`, `PREFETCH_COUNT`, `parent_calls_tracked` | asked for by methods |
/// | `serializer`, `ACCEPT`, `SERIALIZERS` | the same |
/// | any other | [`NamekoConfig::value`]; what of nameko it sets up (`LOGGING`, `TRANSPORT_OPTIONS`, ...) is not ours |
#[derive(Clone)]
pub struct NamekoConfig {
    values: Vec<(String, Value)>,
    options: AmqpOptions,
    max_workers: usize,
    prefetch_count: Option<u16>,
    calls_tracked: usize,
    serializer: String,
    accept: Vec<String>,
    serializers: Vec<NamekoSerializer>,
}

/// A serializer of a service's own, as `SERIALIZERS` names it; what it does is code in Python.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct NamekoSerializer {
    /// By which `serializer` and `ACCEPT` name it.
    pub name: String,
    /// The media type of what it writes.
    pub content_type: String,
    /// Its encoding; `utf-8` where nothing is said.
    pub content_encoding: String,
}

impl NamekoConfig {
    /// Reads the text of a configuration file, with the variables of this process for `${NAME}` and `${NAME:default}`,
    /// as nameko has them: in values that are not quoted, or are tagged `!env_var` or `!raw_env_var`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidOptions`](sinew_core::ErrorKind::InvalidOptions), naming the line or the key.
    pub fn parse(text: &str) -> Result<Self> {
        Self::parse_with(text, |name| env::var(name).ok())
    }

    /// The same, with variables from elsewhere.
    ///
    /// # Errors
    ///
    /// As [`NamekoConfig::parse`] has them.
    pub fn parse_with(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        Self::read(text, &variable)
            .map_err(|cause| cause.during("read nameko's configuration").into())
    }

    fn read(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, Cause> {
        let Value::Map(values) = yaml::parse(text, variable)? else {
            return Err(Cause::options("it has to be a mapping of keys"));
        };
        let section = Section(&values);
        let serializers = section.serializers()?;
        let serializer = section.text("serializer")?.unwrap_or("json").to_owned();
        let accept = match section.get("ACCEPT") {
            None => vec![serializer.clone()],
            Some(Value::List(list)) => {
                list.iter().map(|it| text_of("ACCEPT", it)).collect::<Result<_, _>>()?
            }
            Some(one) => vec![text_of("ACCEPT", one)?],
        };
        Ok(Self {
            options: section.options()?,
            max_workers: section.count("max_workers")?.unwrap_or(10),
            prefetch_count: match section.count("PREFETCH_COUNT")? {
                Some(count) => Some(
                    u16::try_from(count)
                        .map_err(|_| wrong("PREFETCH_COUNT", "a number up to 65535"))?,
                ),
                None => None,
            },
            calls_tracked: match section.get("parent_calls_tracked") {
                Some(Value::Integer(0)) => 0,
                _ => section.count("parent_calls_tracked")?.unwrap_or(10),
            },
            serializer,
            accept,
            serializers,
            values,
        })
    }

    /// How to connect, and which exchanges to declare.
    #[must_use]
    pub fn options(&self) -> AmqpOptions {
        self.options.clone()
    }

    /// How many events a service handles at once, and where [`NamekoConfig::prefetch_count`] says nothing, how many each
    /// handler is sent ahead. Default: 10.
    #[must_use]
    pub fn max_workers(&self) -> usize {
        self.max_workers
    }

    /// How many events each handler is sent ahead, in nameko 3. Default: none, which is as many as are handled at once.
    #[must_use]
    pub fn prefetch_count(&self) -> Option<u16> {
        self.prefetch_count
    }

    /// How many parents of a call go on with what it emits. Default: 10.
    #[must_use]
    pub fn calls_tracked(&self) -> usize {
        self.calls_tracked
    }

    /// The name of what writes payloads: `json`, or one of [`NamekoConfig::serializers`]. Default: `json`.
    #[must_use]
    pub fn serializer(&self) -> &str {
        &self.serializer
    }

    /// The names of what payloads may be written by that are read. Default: that of the serializer.
    pub fn accept(&self) -> impl Iterator<Item = &str> {
        self.accept.iter().map(String::as_str)
    }

    /// The serializers of the service's own.
    pub fn serializers(&self) -> impl Iterator<Item = &NamekoSerializer> {
        self.serializers.iter()
    }

    /// What it says under `key`, nameko's own keys included: where a service reads a broadcast's identifier, for one.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&Value> {
        Section(&self.values).get(key)
    }
}

/// Any value may be a secret.
impl fmt::Debug for NamekoConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamekoConfig")
            .field("options", &self.options)
            .field("max_workers", &self.max_workers)
            .field("serializer", &self.serializer)
            .finish_non_exhaustive()
    }
}

/// Keys and their values, read as what they have to be. Null is as good as no key.
struct Section<'v>(&'v [(String, Value)]);

impl<'v> Section<'v> {
    fn get(&self, key: &str) -> Option<&'v Value> {
        let (_, value) = self.0.iter().find(|(name, _)| name == key)?;
        (*value != Value::Null).then_some(value)
    }

    fn text(&self, key: &str) -> Result<Option<&'v str>, Cause> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(wrong(key, "text")),
        }
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool, Cause> {
        match self.get(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(wrong(key, "true or false")),
        }
    }

    fn count(&self, key: &str) -> Result<Option<usize>, Cause> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Integer(count)) if *count > 0 => {
                usize::try_from(*count).map(Some).map_err(|_| wrong(key, "a smaller number"))
            }
            Some(_) => Err(wrong(key, "a whole number, 1 or more")),
        }
    }

    fn options(&self) -> Result<AmqpOptions, Cause> {
        let uri = self.text("AMQP_URI")?.ok_or_else(|| wrong("AMQP_URI", "the broker's URL"))?;
        let mut options = AmqpOptions::new(uri);
        match self.get("HEARTBEAT") {
            None => {}
            Some(Value::Integer(seconds)) if *seconds >= 0 => {
                options = options.with_heartbeat(Duration::from_secs(seconds.unsigned_abs()));
            }
            Some(Value::Float(seconds)) => {
                let interval = Duration::try_from_secs_f64(*seconds)
                    .map_err(|_| wrong("HEARTBEAT", "a number of seconds"))?;
                options = options.with_heartbeat(interval);
            }
            Some(_) => return Err(wrong("HEARTBEAT", "a number of seconds")),
        }
        let declared = match self.flag("DECLARE_EVENT_EXCHANGES", true)? {
            true => ExchangePolicy::declare()
                .with_auto_delete(self.flag("AUTO_DELETE_EVENT_EXCHANGES", false)?),
            false => ExchangePolicy::assume(),
        };
        options = self.tls(options.with_exchanges(declared))?;
        match self.text("LOGIN_METHOD")? {
            None | Some("PLAIN") => Ok(options),
            Some("EXTERNAL") => Ok(options.with_external_login()),
            Some(_) => {
                Err(wrong("LOGIN_METHOD", "PLAIN or EXTERNAL, which this adapter logs in by"))
            }
        }
    }

    fn tls(&self, options: AmqpOptions) -> Result<AmqpOptions, Cause> {
        let Value::Map(files) = (match self.get("AMQP_SSL") {
            None | Some(Value::Bool(false)) => return Ok(options),
            Some(Value::Bool(true)) => return Ok(options.with_tls(true)),
            Some(other) => other,
        }) else {
            return Err(wrong("AMQP_SSL", "true, or a mapping of files"));
        };
        let files = Section(files);
        let known = ["ca_certs", "certfile", "keyfile"];
        if let Some((name, _)) = files.0.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            return Err(Cause::options(format!(
                "AMQP_SSL: `{name}` is not read: certificates and host names are always verified, by {known:?} or the \
                 platform's roots"
            )));
        }
        let mut options = options.with_tls(true);
        if let Some(ca) = files.text("ca_certs")? {
            options = options.with_ca_file(ca);
        }
        match (files.text("certfile")?, files.text("keyfile")?) {
            (Some(cert), Some(key)) => Ok(options.with_client_cert(cert, key)),
            (None, None) => Ok(options),
            _ => Err(wrong("AMQP_SSL", "both of `certfile` and `keyfile`, or neither")),
        }
    }

    fn serializers(&self) -> Result<Vec<NamekoSerializer>, Cause> {
        let Some(Value::Map(named)) = self.get("SERIALIZERS") else {
            return match self.get("SERIALIZERS") {
                None => Ok(Vec::new()),
                Some(_) => Err(wrong("SERIALIZERS", "a mapping of names")),
            };
        };
        let read = |(name, value): &(String, Value)| {
            let Value::Map(said) = value else { return Err(wrong("SERIALIZERS", "mappings")) };
            let said = Section(said);
            let content_type = said.text("content_type")?;
            Ok(NamekoSerializer {
                name: name.clone(),
                content_type: content_type
                    .ok_or_else(|| wrong("SERIALIZERS", "a `content_type` for each"))?
                    .to_owned(),
                content_encoding: said.text("content_encoding")?.unwrap_or("utf-8").to_owned(),
            })
        };
        named.iter().map(read).collect()
    }
}

fn text_of(key: &str, value: &Value) -> Result<String, Cause> {
    match value {
        Value::Text(text) => Ok(text.as_str().to_owned()),
        _ => Err(wrong(key, "names")),
    }
}

/// The value itself may be a secret.
fn wrong(key: &str, wanted: &str) -> Cause {
    Cause::options(format!("{key} has to be {wanted}"))
}

#[cfg(test)]
mod tests;
