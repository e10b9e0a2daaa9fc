//! As much of AMQP as shows what a broker was told: the handshake, and methods on channel 0.
use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

pub(crate) const START: (u16, u16) = (10, 10);
pub(crate) const TUNE: (u16, u16) = (10, 30);
pub(crate) const OPEN_OK: (u16, u16) = (10, 41);
pub(crate) const CLOSE: (u16, u16) = (10, 50);
const START_OK: (u16, u16) = (10, 11);
const TUNE_OK: (u16, u16) = (10, 31);
const OPEN: (u16, u16) = (10, 40);

/// What the broker proposes.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Tune {
    pub(crate) channel_max: u16,
    pub(crate) frame_max: u32,
    pub(crate) heartbeat: u16,
}

/// One connection, over TCP or TLS.
pub(crate) struct Amqp<S> {
    stream: S,
}

/// A connection that is open to the virtual host `/`, where each read has a deadline.
pub(crate) fn connect(port: u16) -> io::Result<Amqp<TcpStream>> {
    let mut amqp = Amqp::over(tcp(port)?);
    amqp.start()?;
    let tune = amqp.log_in("PLAIN", b"\0guest\0guest")?;
    amqp.open(&tune)?;
    Ok(amqp)
}

pub(crate) fn tcp(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(stream)
}

impl<S: Read + Write> Amqp<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self { stream }
    }

    /// Says that it speaks AMQP 0-9-1; gives what `connection.start` holds.
    pub(crate) fn start(&mut self) -> io::Result<Vec<u8>> {
        self.stream.write_all(b"AMQP\x00\x00\x09\x01")?;
        self.expect(START)
    }

    pub(crate) fn log_in(&mut self, mechanism: &str, response: &[u8]) -> io::Result<Tune> {
        // No properties, mechanism, response, locale.
        let mut body = vec![0; 4];
        short(&mut body, mechanism);
        body.extend(u32::try_from(response.len()).map_err(io::Error::other)?.to_be_bytes());
        body.extend(response);
        short(&mut body, "en_US");
        self.send(START_OK, &body)?;
        let [c0, c1, f0, f1, f2, f3, h0, h1] =
            <[u8; 8]>::try_from(self.expect(TUNE)?).map_err(|_| io::Error::other("no tune"))?;
        Ok(Tune {
            channel_max: u16::from_be_bytes([c0, c1]),
            frame_max: u32::from_be_bytes([f0, f1, f2, f3]),
            heartbeat: u16::from_be_bytes([h0, h1]),
        })
    }

    pub(crate) fn open(&mut self, tune: &Tune) -> io::Result<()> {
        let mut body = tune.channel_max.to_be_bytes().to_vec();
        body.extend(tune.frame_max.to_be_bytes());
        body.extend(tune.heartbeat.to_be_bytes());
        self.send(TUNE_OK, &body)?;
        // Virtual host, and two that are reserved.
        let mut body = Vec::new();
        short(&mut body, "/");
        short(&mut body, "");
        body.push(0);
        self.send(OPEN, &body)?;
        self.expect(OPEN_OK).map(drop)
    }

    /// The arguments of the next method, which has to be this one; heartbeats are skipped.
    pub(crate) fn expect(&mut self, method: (u16, u16)) -> io::Result<Vec<u8>> {
        loop {
            let mut head = [0; 7];
            self.stream.read_exact(&mut head)?;
            let [kind, _, _, l0, l1, l2, l3] = head;
            let length = u32::from_be_bytes([l0, l1, l2, l3]).min(1 << 20);
            let mut body = vec![0; usize::try_from(length).map_err(io::Error::other)?];
            self.stream.read_exact(&mut body)?;
            self.stream.read_exact(&mut [0])?;
            match (kind, body.split_first_chunk()) {
                (8, _) => {}
                (1, Some((&[c0, c1, m0, m1], rest)))
                    if method == (u16::from_be_bytes([c0, c1]), u16::from_be_bytes([m0, m1])) =>
                {
                    return Ok(rest.to_vec());
                }
                _ => return Err(io::Error::other(format!("{method:?} wanted, {body:?} came"))),
            }
        }
    }

    fn send(&mut self, (class, method): (u16, u16), arguments: &[u8]) -> io::Result<()> {
        let length = u32::try_from(4 + arguments.len()).map_err(io::Error::other)?;
        let mut frame = vec![1, 0, 0];
        frame.extend(length.to_be_bytes());
        frame.extend(class.to_be_bytes());
        frame.extend(method.to_be_bytes());
        frame.extend(arguments);
        frame.push(0xCE);
        self.stream.write_all(&frame)
    }
}

fn short(body: &mut Vec<u8>, text: &str) {
    body.push(u8::try_from(text.len()).unwrap_or_default());
    body.extend(text.as_bytes());
}
