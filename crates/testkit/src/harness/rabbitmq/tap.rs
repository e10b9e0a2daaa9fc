//! A wire tap before a broker: it notes what clients ask for, and can strand a connection.
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::{self, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// A proxy on loopback that forwards to a broker, and counts the methods that clients send it, by class and method as the
/// protocol numbers them.
///
/// Dropping it ends it and every connection through it.
#[derive(Debug)]
pub struct Tap {
    address: SocketAddr,
    wires: Arc<Mutex<Vec<Arc<Wire>>>>,
    accept: JoinHandle<()>,
}

/// One connection, as its client uses it.
#[derive(Debug, Default)]
struct Wire {
    methods: Mutex<Vec<Method>>,
    stranded: watch::Sender<bool>,
}

/// A method that a client sent.
#[derive(Debug)]
struct Method {
    id: (u16, u16),
    arguments: Vec<u8>,
}

impl Tap {
    /// `connection.open`.
    pub const CONNECTION_OPEN: (u16, u16) = (10, 40);
    /// `channel.close`.
    pub const CHANNEL_CLOSE: (u16, u16) = (20, 40);
    /// `exchange.declare`.
    pub const EXCHANGE_DECLARE: (u16, u16) = (40, 10);
    /// `queue.bind`.
    pub const QUEUE_BIND: (u16, u16) = (50, 20);
    /// `basic.consume`.
    pub const BASIC_CONSUME: (u16, u16) = (60, 20);
    /// `basic.publish`.
    pub const BASIC_PUBLISH: (u16, u16) = (60, 40);

    /// Listens on a free port of 127.0.0.1 and forwards to `upstream`. Must be called on a tokio runtime.
    ///
    /// # Errors
    ///
    /// What the system says when there is no port to listen on.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn start(upstream: SocketAddr) -> io::Result<Self> {
        Self::listen(TcpListener::bind("127.0.0.1:0").await?, upstream)
    }

    /// Forwards to `upstream` whoever comes to `listener`. Must be called on a tokio runtime.
    ///
    /// # Errors
    ///
    /// What the system says when the listener has no address.
    pub fn listen(listener: TcpListener, upstream: SocketAddr) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let wires = Arc::<Mutex<Vec<_>>>::default();
        let accept = tokio::spawn(accept(listener, upstream, Arc::clone(&wires)));
        Ok(Self { address, wires, accept })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often `queue` was bound, on whatever connection.
    #[must_use]
    pub fn binds(&self, queue: &str) -> usize {
        let is_it = |it: &&Method| it.id == Self::QUEUE_BIND && it.queue() == queue.as_bytes();
        let bound = |wire: &Arc<Wire>| lock(&wire.methods).iter().filter(is_it).count();
        lock(&self.wires).iter().map(bound).sum()
    }

    /// The queue that was bound last.
    #[must_use]
    pub fn bound(&self) -> Option<String> {
        let last = |wire: &Arc<Wire>| {
            let methods = lock(&wire.methods);
            let bind = methods.iter().rev().find(|it| it.id == Self::QUEUE_BIND)?;
            Some(String::from_utf8_lossy(bind.queue()).into_owned())
        };
        lock(&self.wires).iter().rev().find_map(last)
    }

    /// How often `method` was asked for, on whatever connection.
    #[must_use]
    pub fn count(&self, method: (u16, u16)) -> usize {
        let asked =
            |wire: &Arc<Wire>| lock(&wire.methods).iter().filter(|it| it.id == method).count();
        lock(&self.wires).iter().map(asked).sum()
    }

    /// Lets the connections on which `method` was sent carry nothing any more, in either direction. Each side keeps its
    /// end open until it misses the heartbeats of the other one.
    pub fn strand(&self, method: (u16, u16)) {
        for wire in lock(&self.wires).iter() {
            if lock(&wire.methods).iter().any(|it| it.id == method) {
                wire.stranded.send_replace(true);
            }
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

impl Method {
    /// The queue of a `queue.bind`, which follows a reserved number.
    fn queue(&self) -> &[u8] {
        let length = self.arguments.get(2).copied().map_or(0, usize::from);
        self.arguments.get(3..3 + length).unwrap_or_default()
    }
}

async fn accept(listener: TcpListener, upstream: SocketAddr, wires: Arc<Mutex<Vec<Arc<Wire>>>>) {
    // Aborted with this task.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let wire = Arc::<Wire>::default();
        lock(&wires).push(Arc::clone(&wire));
        connections.spawn(carry(client, upstream, wire));
    }
}

/// Carries one connection until either side ends it.
async fn carry(mut client: TcpStream, upstream: SocketAddr, wire: Arc<Wire>) -> io::Result<()> {
    let mut server = TcpStream::connect(upstream).await?;
    let mut stranded = wire.stranded.subscribe();
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let asking = async {
        let mut frames = Frames::default();
        let mut piece = vec![0; 64 << 10];
        loop {
            let read = from_client.read(&mut piece).await?;
            let read = piece.get(..read).unwrap_or_default();
            if read.is_empty() {
                return io::Result::Ok(());
            }
            lock(&wire.methods).extend(frames.feed(read));
            to_server.write_all(read).await?;
        }
    };
    tokio::select! {
        ended = asking => return ended,
        ended = io::copy(&mut from_server, &mut to_client) => return ended.map(drop),
        () = async { drop(stranded.wait_for(|stranded| *stranded).await) } => {}
    }
    std::future::pending().await
}

/// A client's bytes, of which the first 8 are the protocol's name.
#[derive(Default)]
struct Frames {
    greeted: bool,
    rest: Vec<u8>,
}

impl Frames {
    /// The methods that are complete now.
    fn feed(&mut self, read: &[u8]) -> Vec<Method> {
        self.rest.extend_from_slice(read);
        let mut methods = Vec::new();
        if !self.greeted && self.rest.len() >= 8 {
            self.greeted = true;
            self.rest.drain(..8);
        }
        // Kind, channel, size, payload, end.
        while self.greeted
            && let [kind, _, _, a, b, c, d, ..] = self.rest[..]
            && let size = u32::from_be_bytes([a, b, c, d]) as usize
            && self.rest.len() >= size + 8
        {
            let frame: Vec<_> = self.rest.drain(..size + 8).collect();
            if let (1, [class, class_low, method, method_low, arguments @ ..]) =
                (kind, frame.get(7..size + 7).unwrap_or_default())
            {
                let number = |high: &u8, low: &u8| u16::from_be_bytes([*high, *low]);
                let id = (number(class, class_low), number(method, method_low));
                methods.push(Method { id, arguments: arguments.to_vec() });
            }
        }
        methods
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
