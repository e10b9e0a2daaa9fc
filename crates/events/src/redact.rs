//! Payloads in logs, without what is sensitive in them.
use serde_json::Value;

use crate::{Body, error::cut};

/// Which parts of a payload are not shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Redacted(Vec<Box<str>>);

const HIDDEN: &str = "********";
/// How much of a payload is shown, in bytes.
const SHOWN: usize = 4096;

impl Redacted {
    pub(crate) fn new<'a>(paths: impl IntoIterator<Item = &'a str>) -> Self {
        Self(paths.into_iter().map(Into::into).collect())
    }

    /// Whether nothing is to be hidden.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The payload as JSON, cut; what cannot be read as a value is not shown at all.
    pub(crate) fn show(&self, body: &Body) -> String {
        let Ok(mut value) = body.decode::<Value>() else { return "(not shown)".to_owned() };
        for path in &self.0 {
            hide(&mut value, Some(&**path).filter(|path| !path.is_empty()));
        }
        let text = value.to_string();
        cut(&text, SHOWN).to_owned()
    }
}

fn hide(value: &mut Value, path: Option<&str>) {
    let Some(path) = path else {
        *value = HIDDEN.into();
        return;
    };
    let (key, rest) = match path.split_once('.') {
        Some((key, rest)) => (key, Some(rest)),
        None => (path, None),
    };
    match value {
        Value::Object(object) => {
            let wanted = object.iter_mut().filter(|(name, _)| key == "*" || *name == key);
            wanted.for_each(|(_, value)| hide(value, rest));
        }
        Value::Array(list) => {
            let index = key.parse::<usize>().ok();
            let wanted =
                list.iter_mut().enumerate().filter(|(at, _)| key == "*" || index == Some(*at));
            wanted.for_each(|(_, value)| hide(value, rest));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_sensitive_is_hidden_wherever_its_path_leads() {
        let shown = |path: &str| {
            let mut value =
                json!({"card": {"number": 7, "name": "x"}, "items": [{"k": 1}, {"k": 2}]});
            hide(&mut value, Some(path).filter(|path| !path.is_empty()));
            value
        };
        assert_eq!(shown("card.number")["card"], json!({"number": HIDDEN, "name": "x"}));
        assert_eq!(shown("items.*.k")["items"], json!([{"k": HIDDEN}, {"k": HIDDEN}]));
        assert_eq!(shown("items.1")["items"], json!([{"k": 1}, HIDDEN]));
        assert_eq!(shown(""), json!(HIDDEN));
        assert_eq!(shown("no.such.path"), shown("none"));
    }
}
