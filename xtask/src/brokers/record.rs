//! What `brokers up` notes about a broker that it left running, for `status` and `down`.

use std::{fs, io, path::Path};

use serde_json::{Value, json};

use super::identity::Identity;
use crate::{
    failure::{Context, Result},
    json,
};

/// A broker that outlives the chore which started it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Record {
    pub(crate) identity: Identity,
    pub(crate) port: u16,
    pub(crate) url: String,
}

impl Record {
    /// Reads the note at `path`; `None` where there is none.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context(path.display()),
        };
        let value: Value = serde_json::from_str(&text).context(path.display())?;
        let record = Self::from_json(&value)
            .context(format_args!("{} is no broker record: remove it", path.display()))?;
        Ok(Some(record))
    }

    pub(crate) fn write(&self, path: &Path) -> Result {
        fs::write(path, format!("{:#}\n", self.to_json())).context(path.display())
    }

    fn to_json(&self) -> Value {
        let Identity { pid, started } = self.identity;
        json!({ "pid": pid, "started": started, "port": self.port, "url": self.url })
    }

    fn from_json(value: &Value) -> Option<Self> {
        Some(Self {
            identity: Identity {
                pid: json::number(value, "pid")?.try_into().ok()?,
                started: json::number(value, "started")?,
            },
            port: json::number(value, "port")?.try_into().ok()?,
            url: json::text(value, "url")?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_as_written() {
        let record = Record {
            identity: Identity { pid: 42, started: 4711 },
            port: 4222,
            url: "nats://127.0.0.1:4222".to_owned(),
        };
        assert_eq!(Record::from_json(&record.to_json()), Some(record));
    }

    #[test]
    fn a_record_with_a_field_missing_or_out_of_range_is_refused() {
        assert_eq!(Record::from_json(&json!({ "pid": 42 })), None);
        let port = json!({ "pid": 42, "started": 1, "port": 70_000, "url": "nats://127.0.0.1" });
        assert_eq!(Record::from_json(&port), None);
    }
}
