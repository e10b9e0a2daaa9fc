//! A server that breaks the protocol as it is told.
use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::{interval, timeout},
};

use crate::{Fallible, LONG};

/// What it does once it has read a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Says it, and closes.
    Say(&'static str),
    /// Says it, and then nothing for as long as the other side waits.
    Hang(&'static str),
    /// Says the first, then the second over and over as fast as it is read.
    Flood(&'static str, &'static str),
    /// Says the first, then the second over and over, every 5 ms.
    Drip(&'static str, &'static str),
}

/// An answer as it should be.
pub(crate) const TAKEN: Fault = Fault::Say("HTTP/1.1 204 No Content\r\n\r\n");

/// A server on a port of its own, until it is dropped.
pub(crate) struct Broken {
    address: SocketAddr,
    asked: mpsc::UnboundedReceiver<()>,
    said: mpsc::UnboundedReceiver<usize>,
    task: JoinHandle<()>,
}

impl Broken {
    /// Has a fault for each connection, and takes no more than that.
    pub(crate) async fn start(faults: impl IntoIterator<Item = Fault>) -> Fallible<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let faults: Vec<_> = faults.into_iter().collect();
        let (told, asked) = mpsc::unbounded_channel();
        let (sender, said) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            for fault in faults {
                let Ok((mut stream, _)) = listener.accept().await else { break };
                if read_request(&mut stream).await.is_ok() {
                    let _unread = told.send(());
                    let _unread = sender.send(misbehave(stream, fault).await);
                }
            }
        });
        Ok(Self { address, asked, said, task })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Waits until a request was read.
    pub(crate) async fn asked(&mut self) -> Fallible<()> {
        Ok(timeout(LONG, self.asked.recv()).await?.ok_or("the server ended")?)
    }

    /// How many bytes the next connection that ended took.
    pub(crate) async fn said(&mut self) -> Fallible<usize> {
        Ok(timeout(LONG, self.said.recv()).await?.ok_or("the server ended")?)
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Ends when its part is said, or the other side has closed.
async fn misbehave(mut stream: TcpStream, fault: Fault) -> usize {
    let (first, then) = match fault {
        Fault::Say(first) | Fault::Hang(first) => (first, ""),
        Fault::Flood(first, then) | Fault::Drip(first, then) => (first, then),
    };
    let mut ticks = interval(Duration::from_millis(5));
    let mut said = 0;
    let mut text = first;
    while stream.write_all(text.as_bytes()).await.is_ok() {
        said += text.len();
        match fault {
            Fault::Say(_) => break,
            Fault::Hang(_) => {
                let _closed = stream.read_u8().await;
                break;
            }
            Fault::Flood(..) => {}
            Fault::Drip(..) => {
                ticks.tick().await;
            }
        }
        text = then;
    }
    said
}

/// Reads a request to its end, so that closing the connection resets nothing.
async fn read_request(stream: &mut TcpStream) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or_default()];
    stream.read_exact(&mut body).await.map(drop)
}
