//! What operators do: silences, maintenance windows, and setting the wall's clock.
use std::time::SystemTime;

use sinew_core::{Error, ErrorKind, Result};

use super::{Alerts, Mute, MuteId, Notification};
use crate::Timestamp;

impl Alerts {
    /// Adds a silence or a maintenance window. It ends by itself, or by [`Alerts::unmute`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidOptions`] when it is over already, [`ErrorKind::Overloaded`] when there are as many as
    /// [`AlertOptions::with_max_mutes`](super::AlertOptions::with_max_mutes) allows.
    pub fn mute(
        &mut self,
        mute: Mute,
        now: Timestamp,
        out: &mut impl Extend<Notification>,
    ) -> Result<MuteId> {
        self.advance(now, out);
        if mute.next_end(self.wall_now()).is_none() {
            return Err(
                Error::new(ErrorKind::InvalidOptions, "mute").with_detail("it is over already")
            );
        }
        if self.mutes.iter().len() >= self.options.max_mutes {
            return Err(Error::new(ErrorKind::Overloaded, "mute")
                .with_detail("there are as many silences and windows as are allowed"));
        }
        let id = self.mutes.add(mute);
        self.look_at_mutes();
        Ok(id)
    }

    /// Ends a silence or a maintenance window, and tells what it alone held back. `false` if there is none of that id.
    pub fn unmute(
        &mut self,
        id: MuteId,
        now: Timestamp,
        out: &mut impl Extend<Notification>,
    ) -> bool {
        self.advance(now, out);
        let mut batch = Vec::new();
        let found = self.mutes.remove(id);
        if found {
            self.look_at_mutes();
            self.release(&mut batch);
        }
        self.send(batch, out);
        found
    }

    /// The silences and maintenance windows that are not over, in force or not, in the order in which they were made.
    #[must_use = "iterators are lazy"]
    pub fn mutes(&self) -> impl ExactSizeIterator<Item = (MuteId, &Mute)> {
        self.mutes.iter()
    }

    /// Learns that the wall's clock was set: `wall` is what it would have said at [`Timestamp::START`]. Keys of
    /// incidents that are open stay what they are.
    pub fn set_wall(
        &mut self,
        wall: SystemTime,
        now: Timestamp,
        out: &mut impl Extend<Notification>,
    ) {
        self.advance(now, out);
        self.wall = wall;
        let mut batch = Vec::new();
        self.look_at_mutes();
        self.release(&mut batch);
        self.send(batch, out);
    }
}
