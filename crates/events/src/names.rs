//! Names: of who emits, of what is emitted, of who handles it.
use std::{fmt, str::FromStr, sync::Arc};

use bytes::Bytes;
use sinew_core::{Address, Error, ErrorKind, MAX_NAME_LEN, Pattern, Result, Scope};

/// A service that emits events, by the scope that they live in: `orders` emits in `orders.events`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Source {
    name: Arc<str>,
    scope: Scope,
}

/// A method of a service that handles events: `billing.on_created`.
///
/// It is part of names of queues and of call ids, so two handlers of one name are one handler.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct HandlerName {
    text: Arc<str>,
    /// Where the dot between service and method is.
    dot: usize,
}

impl Source {
    /// The service called `name`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidName`] when it is empty, longer than 248 bytes, or holds a control character.
    pub fn parse(name: &str) -> Result<Self> {
        check("parse service name", name)?;
        Ok(Self { name: name.into(), scope: Scope::parse(&format!("{name}.events"))? })
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The space of its events: over AMQP the topic exchange `{name}.events`.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Where its event of this type is published: a subject where the type is one, else a foreign name, which a backend
    /// takes whose [names](sinew_core::Names) are any text.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidSubject`] when the type is longer than 255 bytes.
    pub fn address(&self, event_type: &str) -> Result<Address> {
        if event_type.len() > MAX_NAME_LEN {
            return Err(Error::new(ErrorKind::InvalidSubject, "emit event")
                .with_subject(event_type)
                .with_detail("an event type is 255 bytes at most"));
        }
        let name = Bytes::copy_from_slice(event_type.as_bytes());
        Ok(Address::from_wire(Some(self.scope.clone()), name))
    }

    /// What a handler of this type wants: words joined by dots, of which `*` is any one and `#` any number.
    ///
    /// A word `>` is that word, as on the broker, and no wildcard.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidPattern`] when the type is longer than 255 bytes, or has a wildcard beside a word that is in
    /// no subject: an empty one, `>`, one with whitespace or with a wildcard within it.
    pub fn pattern(&self, event_type: &str) -> Result<Pattern> {
        let refuse = |detail| {
            Err(Error::new(ErrorKind::InvalidPattern, "handle event")
                .with_subject(event_type)
                .with_detail(detail))
        };
        if event_type.len() > MAX_NAME_LEN {
            return refuse("an event type is 255 bytes at most");
        }
        let has_tail = event_type.split('.').any(|word| word == ">");
        if !has_tail && let Ok(pattern) = Pattern::parse(event_type) {
            return Ok(pattern);
        }
        if event_type.split('.').any(|word| matches!(word, "*" | "#")) {
            return refuse("a wildcard stands beside a word that is in no subject");
        }
        Ok(Pattern::exact(Bytes::copy_from_slice(event_type.as_bytes())))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

impl FromStr for Source {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::parse(name)
    }
}

impl HandlerName {
    /// The method called `method` of the service called `service`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidName`] when one is empty or holds a control character, when both are longer than 254 bytes,
    /// or when the method holds a dot.
    pub fn new(service: &str, method: &str) -> Result<Self> {
        check("parse service name", service)?;
        if method.contains('.') {
            return Err(invalid("parse method name", method, "a method's name has no dot"));
        }
        check("parse method name", method)?;
        let text = format!("{service}.{method}");
        check("parse handler name", &text)?;
        Ok(Self { text: text.into(), dot: service.len() })
    }

    /// Parses `service.method`: the method is what follows the last dot.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidName`] when there is no dot, and as [`HandlerName::new`] has it.
    pub fn parse(text: &str) -> Result<Self> {
        let Some((service, method)) = text.rsplit_once('.') else {
            return Err(invalid("parse handler name", text, "it is SERVICE.METHOD"));
        };
        Self::new(service, method)
    }

    /// `service.method`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> &str {
        self.text.get(..self.dot).unwrap_or_default()
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &str {
        self.text.get(self.dot + 1..).unwrap_or_default()
    }
}

impl fmt::Display for HandlerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl FromStr for HandlerName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

fn invalid(operation: &'static str, name: &str, detail: &'static str) -> Error {
    Error::new(ErrorKind::InvalidName, operation).with_subject(name).with_detail(detail)
}

/// The alphabet of queues and scopes, which these names become a part of.
pub(crate) fn check(operation: &'static str, name: &str) -> Result<()> {
    if name.is_empty() {
        Err(invalid(operation, name, "empty"))
    } else if name.len() > MAX_NAME_LEN {
        Err(invalid(operation, name, "longer than 255 bytes"))
    } else if name.chars().any(char::is_control) {
        Err(invalid(operation, name, "holds a control character"))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sinew_core::{PatternKind, Wildcards};

    use super::*;

    fn source() -> Source {
        Source::parse("orders").unwrap()
    }

    #[test]
    fn a_service_emits_in_a_scope_of_its_own() {
        assert_eq!(source().scope().as_str(), "orders.events");
        assert_eq!(Source::parse("a.b c").unwrap().scope().as_str(), "a.b c.events");
        assert!(Source::parse(&"s".repeat(248)).is_ok());
        for name in ["", "a\n", &"s".repeat(249)] {
            assert_eq!(Source::parse(name).unwrap_err().kind(), ErrorKind::InvalidName, "{name:?}");
        }
    }

    #[test]
    fn an_event_type_is_a_subject_where_it_can_be_and_its_own_bytes_where_not() {
        let scope = || Some(source().scope().clone());
        assert_eq!(
            source().address("created.eu").unwrap(),
            Address::from_wire(scope(), "created.eu")
        );
        for foreign in ["", "order created", "a..b", "a.>", "a.*"] {
            let address = source().address(foreign).unwrap();
            assert_eq!(address, Address::Foreign(scope(), Bytes::from(foreign)), "{foreign:?}");
        }
        let err = source().address(&"t".repeat(256)).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::InvalidSubject);
    }

    #[test]
    fn stars_and_hashes_are_wildcards_and_a_tail_is_a_word() {
        let pattern = |text| source().pattern(text).unwrap();
        assert_eq!(pattern("a.*").needs(), Wildcards::Tokens);
        assert_eq!(pattern("a.#.b").needs(), Wildcards::Full);
        for exact in [">", "a.>", "", "order created", "a..b"] {
            assert_eq!(pattern(exact).kind(), PatternKind::Exact(&Bytes::from(exact)), "{exact:?}");
            assert!(pattern(exact).matches_address(&source().address(exact).unwrap()));
        }
    }

    #[test]
    fn a_wildcard_beside_what_no_subject_has_is_refused_when_it_is_said() {
        for mixed in ["*.>", "#..a", "a b.*", &"t".repeat(256)] {
            let err = source().pattern(mixed).unwrap_err();
            assert_eq!(err.kind(), ErrorKind::InvalidPattern, "{mixed}");
        }
    }

    #[test]
    fn a_handlers_name_is_split_at_its_last_dot() {
        let name = HandlerName::parse("acme.billing.on_created").unwrap();
        assert_eq!((name.service(), name.method()), ("acme.billing", "on_created"));
        assert_eq!(name, HandlerName::new("acme.billing", "on_created").unwrap());
        for text in ["", "billing", ".a", "a.", "a\0.b", &format!("a.{}", "b".repeat(254))] {
            assert_eq!(HandlerName::parse(text).unwrap_err().kind(), ErrorKind::InvalidName);
        }
        assert!(HandlerName::new("a", "b.c").is_err());
    }
}
