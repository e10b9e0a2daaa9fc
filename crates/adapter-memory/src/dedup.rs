//! The ids of the last messages, so that a second one of the same id is dropped.
use std::collections::{HashMap, VecDeque};

use sinew_core::Receipt;

use crate::{
    clock::{self, Instant},
    options::Deduplication,
};

/// Ids, each with the receipt of its message, for as long as the window is.
#[derive(Debug)]
pub(crate) struct Ids {
    options: Deduplication,
    receipts: HashMap<Box<str>, Receipt>,
    /// In order of arrival.
    seen: VecDeque<(Instant, Box<str>)>,
}

impl Ids {
    pub(crate) fn new(options: Deduplication) -> Self {
        Self { options, receipts: HashMap::new(), seen: VecDeque::new() }
    }

    /// What the first message of this id was answered.
    pub(crate) fn known(&mut self, id: &str) -> Option<Receipt> {
        let now = clock::now();
        while let Some((at, _)) = self.seen.front()
            && now.duration_since(*at) > self.options.window
        {
            self.drop_oldest();
        }
        self.receipts.get(id).cloned()
    }

    pub(crate) fn remember(&mut self, id: &str, receipt: Receipt) {
        while self.seen.len() >= self.options.ids.max(1) {
            self.drop_oldest();
        }
        self.seen.push_back((clock::now(), id.into()));
        self.receipts.insert(id.into(), receipt);
    }

    fn drop_oldest(&mut self) {
        if let Some((_, id)) = self.seen.pop_front() {
            self.receipts.remove(&id);
        }
    }
}
