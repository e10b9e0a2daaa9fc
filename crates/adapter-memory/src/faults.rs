//! What befalls a broker: it is killed, started, frozen and thawed.
use sinew_core::Event;

use crate::{
    log::Log,
    state::{Health, State},
    wait::Wakers,
};

impl State {
    /// Forgets everything that a broker keeps: messages, ids, unsettled deliveries, queues without a consumer. The
    /// intakes are their clients', who declare them again when the broker is back.
    pub(crate) fn kill(&mut self, wakers: &mut Wakers) {
        if self.health == Health::Down {
            return;
        }
        self.health = Health::Down;
        let index = &mut self.index;
        self.queues.retain(|_, queue| {
            let is_consumed = queue.forget(wakers);
            if !is_consumed {
                index.remove(
                    queue.id,
                    queue.declaration.scope.as_ref(),
                    &queue.declaration.patterns,
                );
            }
            is_consumed
        });
        let replays = self.log.as_ref().map(Log::replays).unwrap_or_default();
        self.begin_life();
        replays.into_iter().for_each(|id| self.go_live(id));
        for intake in self.intakes.values() {
            intake.mailbox.signal(Event::Down, wakers);
        }
        self.waiting.drain(wakers);
    }

    /// Runs again after [`State::kill`]; what was published in between is missing.
    pub(crate) fn start(&mut self, wakers: &mut Wakers) {
        if self.health != Health::Down {
            return;
        }
        self.resume(wakers);
        for intake in self.intakes.values() {
            intake.mailbox.signal(Event::Up { gap: true }, wakers);
        }
    }

    /// Takes nothing, delivers nothing, answers nothing; nobody is told.
    pub(crate) fn freeze(&mut self, wakers: &mut Wakers) {
        if self.health == Health::Running {
            self.health = Health::Frozen;
            self.queues.values().for_each(|queue| queue.freeze(true, wakers));
        }
    }

    /// Goes on after [`State::freeze`].
    pub(crate) fn thaw(&mut self, wakers: &mut Wakers) {
        if self.health == Health::Frozen {
            self.resume(wakers);
            self.intakes.values().for_each(|intake| intake.mailbox.wake(wakers));
        }
    }

    fn resume(&mut self, wakers: &mut Wakers) {
        self.health = Health::Running;
        self.queues.values().for_each(|queue| queue.freeze(false, wakers));
        self.waiting.drain(wakers);
    }
}
