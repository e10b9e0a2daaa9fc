//! A publish on its way to the broker: the message, and what it asks of the broker alone.
use std::mem;

use sinew_core::{Address, Message, Position};

use crate::held::Held;

/// A message to be taken, as often tried as it takes.
#[derive(Debug)]
pub(crate) struct Offer {
    /// Until it is taken.
    pub(crate) held: Option<Held>,
    /// Apart, for most messages have none: what most have is two pointers, and moves as such.
    pub(crate) terms: Option<Box<Terms>>,
}

/// On which terms the broker may take a message.
#[derive(Debug, Default)]
pub(crate) struct Terms {
    /// Not where nobody gets it.
    pub(crate) must_route: bool,
    /// Not unless the log ends here.
    pub(crate) end: Option<Position>,
}

impl Offer {
    /// Takes out of `message` what is said to the broker: who forwards what arrives must not repeat it.
    pub(crate) fn new(mut message: Message, must_route: bool) -> Self {
        if let Address::Foreign(scope, name) = &message.address {
            // A subject is one, whoever calls it a foreign name.
            message.address = Address::from_wire(scope.clone(), name.clone());
        }
        if message.position().is_some() {
            unplace(&mut message);
        }
        let mut terms = must_route.then(|| Box::new(Terms { must_route, end: None }));
        if message.properties().is_some_and(|it| it.must_route || it.expected_position.is_some()) {
            let properties = message.properties_mut();
            let terms = terms.get_or_insert_default();
            terms.must_route |= mem::take(&mut properties.must_route);
            terms.end = properties.expected_position.take();
        }
        Self { held: Some(Held::new(message)), terms }
    }
}

/// Takes out where a message that is forwarded was stored before.
fn unplace(message: &mut Message) {
    let mut fresh = Message::to(message.address.clone(), message.payload.clone());
    fresh.headers = mem::take(&mut message.headers);
    fresh.reply_to = message.reply_to.take();
    if let Some(properties) = message.properties() {
        *fresh.properties_mut() = properties.clone();
    }
    *message = fresh;
}
