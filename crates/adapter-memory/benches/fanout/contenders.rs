//! What is compared: the same rounds through each way to reach several tasks of one process.
use std::mem;

use sinew_adapter_memory::Memory;
use sinew_core::{Buffer, Incoming, Message, Overflow, Pattern, Publish, Subscribe, Subscription};
use tokio::{
    runtime::Runtime,
    sync::{broadcast, mpsc},
    task::JoinSet,
};

use crate::{BATCH, BUFFER};

pub(crate) trait Contender {
    fn name(&self) -> &'static str;

    /// Publishes a batch, and has every subscriber receive it: one after the other, or each in a task of its own.
    fn round(&mut self, runtime: &Runtime, message: &Message, is_spawned: bool);
}

pub(crate) struct Sinew {
    memory: Memory,
    subscribers: Vec<Incoming<Message>>,
}

pub(crate) struct Broadcast {
    sender: broadcast::Sender<Message>,
    subscribers: Vec<broadcast::Receiver<Message>>,
}

pub(crate) struct Mpsc {
    senders: Vec<mpsc::Sender<Message>>,
    subscribers: Vec<mpsc::Receiver<Message>>,
}

pub(crate) struct Flume {
    senders: Vec<flume::Sender<Message>>,
    subscribers: Vec<flume::Receiver<Message>>,
}

impl Sinew {
    pub(crate) fn new(runtime: &Runtime, subscribers: usize) -> Self {
        let memory = Memory::new();
        let buffer = Buffer::default().with_messages(BUFFER).with_overflow(Overflow::Block);
        let wanted = Subscription::new(Pattern::parse("bench.*").unwrap()).with_buffer(buffer);
        let subscribers = (0..subscribers)
            .map(|_| runtime.block_on(memory.subscribe(wanted.clone())).unwrap())
            .collect();
        Self { memory, subscribers }
    }
}

impl Broadcast {
    pub(crate) fn new(subscribers: usize) -> Self {
        let (sender, _) = broadcast::channel(BUFFER);
        let subscribers = (0..subscribers).map(|_| sender.subscribe()).collect();
        Self { sender, subscribers }
    }
}

impl Mpsc {
    pub(crate) fn new(subscribers: usize) -> Self {
        let (senders, subscribers) = (0..subscribers).map(|_| mpsc::channel(BUFFER)).unzip();
        Self { senders, subscribers }
    }
}

impl Flume {
    pub(crate) fn new(subscribers: usize) -> Self {
        let (senders, subscribers) = (0..subscribers).map(|_| flume::bounded(BUFFER)).unzip();
        Self { senders, subscribers }
    }
}

/// Runs one round: `publish` sends the batch, `receive` takes one message.
macro_rules! round {
    ($self:ident, $runtime:ident, $is_spawned:ident, $publish:expr, |$subscriber:ident| $receive:expr) => {
        $runtime.block_on(async {
            if !$is_spawned {
                $publish.await;
                for $subscriber in &mut $self.subscribers {
                    for _ in 0..BATCH {
                        std::hint::black_box($receive);
                    }
                }
                return;
            }
            let mut tasks = JoinSet::new();
            for mut subscriber in mem::take(&mut $self.subscribers) {
                tasks.spawn(async move {
                    let $subscriber = &mut subscriber;
                    for _ in 0..BATCH {
                        std::hint::black_box($receive);
                    }
                    subscriber
                });
            }
            $publish.await;
            $self.subscribers = tasks.join_all().await;
        })
    };
}

impl Contender for Sinew {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn round(&mut self, runtime: &Runtime, message: &Message, is_spawned: bool) {
        let memory = self.memory.clone();
        let publish = async {
            for _ in 0..BATCH {
                memory.publish(message.clone()).await.unwrap().await.unwrap();
            }
        };
        round!(self, runtime, is_spawned, publish, |it| it.next_item().await.unwrap().unwrap());
    }
}

impl Contender for Broadcast {
    fn name(&self) -> &'static str {
        "tokio broadcast"
    }

    fn round(&mut self, runtime: &Runtime, message: &Message, is_spawned: bool) {
        let sender = self.sender.clone();
        let publish = async {
            for _ in 0..BATCH {
                sender.send(message.clone()).unwrap();
            }
        };
        round!(self, runtime, is_spawned, publish, |it| it.recv().await.unwrap());
    }
}

impl Contender for Mpsc {
    fn name(&self) -> &'static str {
        "tokio mpsc"
    }

    fn round(&mut self, runtime: &Runtime, message: &Message, is_spawned: bool) {
        let senders = self.senders.clone();
        let publish = async {
            for _ in 0..BATCH {
                for sender in &senders {
                    sender.send(message.clone()).await.unwrap();
                }
            }
        };
        round!(self, runtime, is_spawned, publish, |it| it.recv().await.unwrap());
    }
}

impl Contender for Flume {
    fn name(&self) -> &'static str {
        "flume"
    }

    fn round(&mut self, runtime: &Runtime, message: &Message, is_spawned: bool) {
        let senders = self.senders.clone();
        let publish = async {
            for _ in 0..BATCH {
                for sender in &senders {
                    sender.send_async(message.clone()).await.unwrap();
                }
            }
        };
        round!(self, runtime, is_spawned, publish, |it| it.recv_async().await.unwrap());
    }
}
