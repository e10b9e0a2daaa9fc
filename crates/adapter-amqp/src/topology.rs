//! What is declared at the broker: our own records of it, so that each thing is declared once per connection.
//!
//! The client's records are not used: replayed, they bind every queue twice as often after each reconnect.
use std::collections::{HashMap, HashSet};

use lapin::types::{FieldTable, ShortString};

/// A queue and where its messages come from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct QueueSpec {
    pub(crate) name: ShortString,
    pub(crate) durable: bool,
    pub(crate) exclusive: bool,
    pub(crate) auto_delete: bool,
    pub(crate) arguments: FieldTable,
    /// Assumed to be there as it should be: neither declared nor bound.
    pub(crate) assumed: bool,
    pub(crate) exchange: ShortString,
    pub(crate) bindings: Vec<ShortString>,
}

/// What there is to do at the broker.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    Exchange(ShortString),
    Queue,
    Bind(ShortString),
}

/// The records of one connection.
#[derive(Debug, Default)]
pub(crate) struct Topology {
    generation: u64,
    exchanges: HashSet<ShortString>,
    queues: HashMap<ShortString, Declared>,
}

#[derive(Debug)]
struct Declared {
    bindings: HashSet<(ShortString, ShortString)>,
    members: usize,
}

impl Topology {
    /// Forgets what was declared on connections before that of `generation`.
    pub(crate) fn turn(&mut self, generation: u64) {
        if self.generation != generation {
            *self = Self { generation, ..Self::default() };
        }
    }

    /// Whether `exchange` is known to be there.
    pub(crate) fn knows_exchange(&self, exchange: &ShortString) -> bool {
        self.exchanges.contains(exchange)
    }

    /// What is left to do for a queue that gets a member. The queue itself is declared for each one: that is how a
    /// member learns that it exists with other properties.
    pub(crate) fn plan(&self, spec: &QueueSpec) -> Vec<Step> {
        if spec.assumed {
            return vec![Step::Queue];
        }
        let mut steps = Vec::with_capacity(2 + spec.bindings.len());
        // The default exchange is there, and binds by itself.
        if !spec.exchange.as_str().is_empty() {
            if !self.knows_exchange(&spec.exchange) {
                steps.push(Step::Exchange(spec.exchange.clone()));
            }
            steps.push(Step::Queue);
            let bound = self.queues.get(&spec.name).map(|queue| &queue.bindings);
            let missing = spec.bindings.iter().filter(|key| {
                !bound.is_some_and(|bound| bound.contains(&(spec.exchange.clone(), (*key).clone())))
            });
            steps.extend(missing.cloned().map(Step::Bind));
        } else {
            steps.push(Step::Queue);
        }
        steps
    }

    /// `exchange` is there.
    pub(crate) fn add_exchange(&mut self, exchange: ShortString) {
        self.exchanges.insert(exchange);
    }

    /// `exchange` is gone.
    pub(crate) fn forget_exchange(&mut self, exchange: &ShortString) {
        self.exchanges.remove(exchange);
    }

    /// All of `spec` is there, and has a member more.
    pub(crate) fn join(&mut self, spec: &QueueSpec) {
        let queue = self
            .queues
            .entry(spec.name.clone())
            .or_insert_with(|| Declared { bindings: HashSet::new(), members: 0 });
        queue.members += 1;
        let keys = spec.bindings.iter().cloned();
        queue.bindings.extend(keys.map(|key| (spec.exchange.clone(), key)));
    }

    /// A member of `queue` is gone; with the last one the queue may be, too.
    pub(crate) fn leave(&mut self, queue: &ShortString, generation: u64) {
        if self.generation != generation {
            return;
        }
        if let Some(declared) = self.queues.get_mut(queue) {
            declared.members = declared.members.saturating_sub(1);
            if declared.members == 0 {
                self.queues.remove(queue);
            }
        }
    }

    /// `queue` is gone, whoever deleted it.
    pub(crate) fn forget_queue(&mut self, queue: &ShortString) {
        self.queues.remove(queue);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(keys: &[&str]) -> QueueSpec {
        QueueSpec {
            name: "q".into(),
            durable: true,
            exclusive: false,
            auto_delete: false,
            arguments: FieldTable::default(),
            assumed: false,
            exchange: "x".into(),
            bindings: keys.iter().map(|key| ShortString::from(*key)).collect(),
        }
    }

    fn done(topology: &mut Topology, spec: &QueueSpec) -> Vec<Step> {
        let steps = topology.plan(spec);
        for step in &steps {
            if let Step::Exchange(exchange) = step {
                topology.add_exchange(exchange.clone());
            }
        }
        topology.join(spec);
        steps
    }

    #[test]
    fn a_second_member_binds_nothing_twice() {
        let mut topology = Topology::default();
        topology.turn(1);
        let first = done(&mut topology, &spec(&["a", "b"]));
        assert_eq!(
            first,
            [
                Step::Exchange("x".into()),
                Step::Queue,
                Step::Bind("a".into()),
                Step::Bind("b".into())
            ]
        );
        assert_eq!(done(&mut topology, &spec(&["a", "b"])), [Step::Queue]);
        assert_eq!(done(&mut topology, &spec(&["c"])), [Step::Queue, Step::Bind("c".into())]);
    }

    #[test]
    fn a_reconnect_binds_each_queue_once() {
        let mut topology = Topology::default();
        for generation in 1..=20 {
            topology.turn(generation);
            let binds = |steps: Vec<Step>| {
                steps.iter().filter(|step| matches!(step, Step::Bind(_))).count()
            };
            let all = binds(done(&mut topology, &spec(&["a"])))
                + binds(done(&mut topology, &spec(&["a"])));
            assert_eq!(all, 1, "generation {generation}");
        }
    }

    #[test]
    fn a_queue_without_members_is_bound_anew() {
        let mut topology = Topology::default();
        topology.turn(1);
        done(&mut topology, &spec(&["a"]));
        topology.leave(&"q".into(), 1);
        assert_eq!(topology.plan(&spec(&["a"])), [Step::Queue, Step::Bind("a".into())]);
        // One that leaves late changes nothing on the next connection.
        topology.turn(2);
        done(&mut topology, &spec(&["a"]));
        topology.leave(&"q".into(), 1);
        assert_eq!(topology.plan(&spec(&["a"])), [Step::Queue]);
    }
}
