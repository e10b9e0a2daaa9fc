//! Who gets a message: patterns resolved to mailboxes and queues, remembered per subject.
use std::{collections::HashMap, sync::Arc};

use sinew_core::{Pattern, Queue, Scope, Subject};

use crate::{mailbox::Mailbox, queue::Backlog, trie::Trie};

/// All bindings of the broker, per scope.
#[derive(Debug, Default)]
pub(crate) struct Index {
    targets: HashMap<u64, Target>,
    /// Of names in no scope.
    root: Space,
    scopes: HashMap<Scope, Space>,
}

/// Who wants something.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// A copy of each message.
    Copy(Arc<Mailbox>),
    /// A member's share.
    Member(Queue, Arc<Mailbox>),
    /// A queue's copy.
    Queue(Arc<Backlog>),
}

#[derive(Debug, Default)]
struct Space {
    trie: Trie,
    /// Made when first asked for; all are forgotten when `trie` changes.
    routes: Routes,
}

/// The last subjects' routes. One lookup finds a route: the map has its place among them.
#[derive(Debug, Default)]
struct Routes {
    places: HashMap<Subject, usize, foldhash::fast::RandomState>,
    routes: Vec<Route>,
}

/// Everyone who gets the messages of one name.
#[derive(Debug, Default)]
pub(crate) struct Route {
    pub(crate) copies: Vec<Arc<Mailbox>>,
    pub(crate) groups: Vec<Group>,
    pub(crate) queues: Vec<Arc<Backlog>>,
    /// A publisher may have to wait for one of them.
    pub(crate) blocks: bool,
}

/// The members of one group that want the same name; each message goes to one.
#[derive(Debug)]
pub(crate) struct Group {
    name: Queue,
    members: Vec<Arc<Mailbox>>,
    turn: usize,
}

impl Index {
    pub(crate) fn insert(
        &mut self,
        id: u64,
        scope: Option<&Scope>,
        patterns: &[Pattern],
        target: Target,
    ) {
        let space = match scope {
            None => &mut self.root,
            Some(scope) => self.scopes.entry(scope.clone()).or_default(),
        };
        patterns.iter().for_each(|pattern| space.trie.insert(pattern, id));
        space.routes.clear();
        let before = self.targets.insert(id, target);
        debug_assert!(
            before.is_none(),
            "bound twice: once unbound, it would leave patterns behind"
        );
    }

    pub(crate) fn remove<'a>(
        &mut self,
        id: u64,
        scope: Option<&Scope>,
        patterns: impl IntoIterator<Item = &'a Pattern>,
    ) {
        if self.targets.remove(&id).is_none() {
            return;
        }
        let space = match scope {
            None => Some(&mut self.root),
            Some(scope) => self.scopes.get_mut(scope),
        };
        let Some(space) = space else { return };
        patterns.into_iter().for_each(|pattern| space.trie.remove(pattern, id));
        space.routes.clear();
        if let Some(scope) = scope
            && space.trie.is_empty()
        {
            self.scopes.remove(scope);
        }
    }

    /// Who gets what is published under `subject`; `None` where `scope` is wanted by nobody at all.
    pub(crate) fn route(&mut self, scope: Option<&Scope>, subject: &Subject) -> Option<&mut Route> {
        let space = match scope {
            None => &mut self.root,
            Some(scope) => self.scopes.get_mut(scope)?,
        };
        let place = match space.routes.places.get(subject) {
            Some(place) => *place,
            None => {
                let route = Route::resolve(&self.targets, space.trie.matching(subject));
                space.routes.insert(subject.clone(), route)
            }
        };
        space.routes.routes.get_mut(place)
    }

    /// Who gets what is published under a name that is no subject.
    pub(crate) fn route_foreign(&self, scope: Option<&Scope>, name: &[u8]) -> Route {
        let space = match scope {
            None => Some(&self.root),
            Some(scope) => self.scopes.get(scope),
        };
        let ids = space.map(|space| space.trie.matching_foreign(name)).unwrap_or_default();
        Route::resolve(&self.targets, ids)
    }
}

impl Routes {
    fn insert(&mut self, subject: Subject, route: Route) -> usize {
        if self.routes.len() >= REMEMBERED {
            self.clear();
        }
        let place = self.routes.len();
        self.routes.push(route);
        self.places.insert(subject, place);
        place
    }

    fn clear(&mut self) {
        self.places.clear();
        self.routes.clear();
    }
}

impl Route {
    fn resolve(targets: &HashMap<u64, Target>, ids: Vec<u64>) -> Self {
        let mut route = Self::default();
        for target in ids.iter().filter_map(|id| targets.get(id)) {
            match target {
                Target::Copy(mailbox) => route.copies.push(Arc::clone(mailbox)),
                Target::Queue(queue) => route.queues.push(Arc::clone(queue)),
                Target::Member(name, mailbox) => {
                    let mailbox = Arc::clone(mailbox);
                    match route.groups.iter_mut().find(|group| group.name == *name) {
                        Some(group) => group.members.push(mailbox),
                        None => route.groups.push(Group {
                            name: name.clone(),
                            members: vec![mailbox],
                            turn: 0,
                        }),
                    }
                }
            }
        }
        route.blocks = !route.queues.is_empty()
            || route.copies.iter().any(|mailbox| mailbox.blocks())
            || route.groups.iter().any(|group| group.members.iter().any(|it| it.blocks()));
        route
    }

    /// What is published straight to a queue, if it is there.
    pub(crate) fn straight_to(queue: Option<Arc<Backlog>>) -> Self {
        Self { blocks: queue.is_some(), queues: queue.into_iter().collect(), ..Self::default() }
    }

    /// How many copies a message under this name needs.
    pub(crate) fn copies_needed(&self) -> usize {
        self.copies.len() + self.groups.len() + self.queues.len()
    }

    /// Whether everyone who makes publishers wait has room. Who has none is asked to tell when there is some.
    pub(crate) fn await_room(&self, bytes: usize) -> bool {
        !self.blocks
            || (self.copies.iter().all(|mailbox| !mailbox.blocks() || mailbox.await_room(bytes))
                && self.queues.iter().all(|queue| queue.await_room(bytes))
                && self.groups.iter().all(|group| {
                    group.chosen(bytes).is_none_or(|it| !it.blocks() || it.await_room(bytes))
                }))
    }
}

impl Group {
    /// Whose turn it is: the next one in line that has room, else the next one.
    fn chosen(&self, bytes: usize) -> Option<&Arc<Mailbox>> {
        let (before, from) = self.members.split_at_checked(self.turn)?;
        let mut line = from.iter().chain(before);
        line.clone().find(|member| member.has_room(bytes)).or_else(|| line.next())
    }

    /// The same, and the turn goes on.
    pub(crate) fn choose(&mut self, bytes: usize) -> Option<Arc<Mailbox>> {
        let chosen = Arc::clone(self.chosen(bytes)?);
        self.turn = (self.turn + 1) % self.members.len().max(1);
        Some(chosen)
    }
}

/// How many subjects' routes each scope remembers; one more, and all are forgotten.
const REMEMBERED: usize = 4096;
