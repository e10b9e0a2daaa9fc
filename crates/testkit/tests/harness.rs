//! The harness does to servers and links what it says.
use std::{
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use libtest_mimic::{Arguments, Trial};
use sinew_core::{BoxFuture, ErrorKind};
use sinew_testkit::{
    harness::{Proxy, Recipe, Server, nats::NatsServerOptions},
    trial::{Outcome, trial_within},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    time::timeout,
};

fn main() -> ExitCode {
    if let Some(state) = std::env::var_os(VICTIM) {
        return victim(state == "frozen");
    }
    let arguments = Arguments::from_args();
    let trials = vec![
        trial("a_server_comes_up_ready_and_goes_when_dropped", comes_and_goes()),
        trial("a_killed_server_comes_back_at_its_port_with_its_files", kill_and_restart()),
        trial("a_frozen_server_answers_nothing_until_it_thaws", freeze_and_thaw()),
        trial("a_server_that_does_not_start_shows_its_log", shows_its_log()),
        trial("a_server_dies_with_a_test_that_is_killed", dies_with_its_test(false)),
        trial("a_frozen_server_dies_with_a_test_that_is_killed", dies_with_its_test(true)),
        trial("a_password_lets_in_who_has_it", password()),
        trial("options_reach_the_server", payload_and_jetstream()),
        trial("a_proxy_forwards", forwards()),
        trial("a_cut_resets_old_and_new_connections", cuts()),
        trial("a_half_open_link_swallows_and_is_reset_when_healed", swallows()),
        trial("a_delayed_link_takes_its_time", delays()),
        trial("a_program_that_is_missing_is_not_found", missing_program()),
        trial("who_answers_for_a_dead_server_is_not_adopted", adopts_nobody()),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Skipped by name where it wants a program that is missing.
fn trial(name: &str, run: impl Future<Output = Outcome> + Send + 'static) -> Trial {
    trial_within(name, PATIENCE, || run)
}

async fn comes_and_goes() -> Outcome {
    let server = NatsServerOptions::new().start().await?;
    let port = server.port();
    let id = server.id().ok_or("a running server has an id")?;
    check(greeting(port).await?.starts_with("INFO "), "it greets")?;
    check(server.url() == format!("nats://127.0.0.1:{port}"), "its URL")?;
    let folder = server.folder().to_owned();
    check(folder.is_dir() && Path::new(&format!("/proc/{id}")).exists(), "it runs")?;
    drop(server);
    check(!folder.exists() && !Path::new(&format!("/proc/{id}")).exists(), "it is gone")?;
    check(greeting(port).await.is_err(), "nobody listens any more")
}

async fn kill_and_restart() -> Outcome {
    let server = NatsServerOptions::new().with_jetstream().start().await?;
    let (port, folder) = (server.port(), server.folder().to_owned());
    let mut open = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await?);
    let mut line = String::new();
    open.read_line(&mut line).await?;
    server.kill()?;
    server.kill()?;
    check(server.id().is_none(), "a dead one has no id")?;
    check(server.freeze().is_err_and(|err| err.kind() == ErrorKind::Closed), "nor can it freeze")?;
    line.clear();
    let read = open.read_line(&mut line).await;
    check(matches!(read, Ok(0) | Err(_)), "its connections end")?;
    std::fs::write(folder.join("kept"), "x")?;
    server.restart().await?;
    check(greeting(port).await?.starts_with("INFO "), "it is back")?;
    check(server.folder() == folder && folder.join("kept").exists(), "with its files")
}

async fn freeze_and_thaw() -> Outcome {
    let server = NatsServerOptions::new().start().await?;
    let mut link = BufReader::new(TcpStream::connect(("127.0.0.1", server.port())).await?);
    let mut line = String::new();
    link.read_line(&mut line).await?;
    server.freeze()?;
    link.write_all(b"CONNECT {\"verbose\":false}\r\nPING\r\n").await?;
    line.clear();
    let early = timeout(Duration::from_millis(200), link.read_line(&mut line)).await;
    check(early.is_err(), "it answers nothing")?;
    server.thaw()?;
    while line != "PONG\r\n" {
        line.clear();
        check(link.read_line(&mut line).await? > 0, "it answers what was asked meanwhile")?;
    }
    server.freeze()?;
    // A frozen one dies, too.
    server.kill()?;
    Ok(())
}

async fn shows_its_log() -> Outcome {
    let options = NatsServerOptions::new().with_config("this is no configuration {");
    let err = options.start().await.err().ok_or("it started on nonsense")?;
    check(err.kind() == ErrorKind::Unreachable, "it is not there")?;
    let told = err.to_string();
    check(told.contains("Parse error") && told.contains("exit status"), &told)
}

async fn password() -> Outcome {
    let server = NatsServerOptions::new().with_user("u\"", "p\\$x").start().await?;
    let refused = answer_to(server.port(), "{\"verbose\":true}").await?;
    check(refused.contains("Authorization Violation"), &refused)?;
    let user = r#"{"verbose":true,"user":"u\"","pass":"p\\$x"}"#;
    let let_in = answer_to(server.port(), user).await?;
    check(let_in == "+OK\r\n", &let_in)?;
    let shown = format!("{:?}", NatsServerOptions::new().with_token("s3cret"));
    check(!shown.contains("s3cret"), &shown)
}

async fn payload_and_jetstream() -> Outcome {
    let server = NatsServerOptions::new().with_jetstream().with_max_payload(4096).start().await?;
    let greeting = greeting(server.port()).await?;
    check(greeting.contains("\"jetstream\":true"), &greeting)?;
    check(greeting.contains("\"max_payload\":4096"), &greeting)
}

async fn missing_program() -> Outcome {
    struct Missing;
    impl Recipe for Missing {
        fn name(&self) -> &str {
            "no such broker"
        }
        fn command(&self, folder: &Path, _: u16) -> sinew_core::Result<Command> {
            Ok(Command::new(folder.join("no-such-program")))
        }
        fn ready<'a>(&'a self, _: &'a Path, _: u16) -> BoxFuture<'a, io::Result<()>> {
            Box::pin(async { Ok(()) })
        }
    }
    let err = Server::start(Missing).await.err().ok_or("it started")?;
    check(err.kind() == ErrorKind::NotFound, &err.to_string())?;
    let program = PathBuf::from("/nonexistent/nats-server");
    let err = NatsServerOptions::new().with_program(program).start().await.err();
    check(err.is_some_and(|err| err.kind() == ErrorKind::NotFound), "a wrong path is not found")
}

/// Says that the broker is ready as soon as the process that ran it is gone.
async fn adopts_nobody() -> Outcome {
    struct Usurped;
    impl Recipe for Usurped {
        fn name(&self) -> &str {
            "usurped broker"
        }
        fn command(&self, folder: &Path, _: u16) -> sinew_core::Result<Command> {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", "echo $$ > \"$1\"", "sh"]).arg(folder.join("id"));
            Ok(command)
        }
        fn ready<'a>(&'a self, folder: &'a Path, _: u16) -> BoxFuture<'a, io::Result<()>> {
            Box::pin(async move {
                let is_dead = || {
                    let id = std::fs::read_to_string(folder.join("id"))?;
                    let state = std::fs::read_to_string(format!("/proc/{}/stat", id.trim()))?;
                    Ok::<_, io::Error>(state.contains(") Z "))
                };
                while !is_dead().unwrap_or_default() {
                    tokio::task::yield_now().await;
                }
                Ok(())
            })
        }
    }
    let err = Server::start(Usurped).await.err().ok_or("a dead broker is ready")?;
    check(err.kind() == ErrorKind::Unreachable, &err.to_string())
}

/// This program once more, as a test that starts a server; it is killed, and the server goes.
async fn dies_with_its_test(frozen: bool) -> Outcome {
    let mut test = tokio::process::Command::new(std::env::current_exe()?)
        .env(VICTIM, if frozen { "frozen" } else { "running" })
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let out = test.stdout.take().ok_or("no output")?;
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line).await?;
    let (port, folder) = line.trim_end().split_once(' ').ok_or("it names no server")?;
    let port: u16 = port.parse()?;
    let mut open = TcpStream::connect(("127.0.0.1", port)).await?;
    test.kill().await?;
    // Its connections end with it, and with nothing else; how, is the system's affair.
    drop(open.read_to_end(&mut Vec::new()).await);
    // Only the broker goes by itself.
    Ok(std::fs::remove_dir_all(folder)?)
}

/// The test that is killed: says where its server is, and waits for the end.
fn victim(frozen: bool) -> ExitCode {
    let run = async {
        let server = NatsServerOptions::new().start().await?;
        if frozen {
            server.freeze()?;
        }
        writeln!(io::stdout(), "{} {}", server.port(), server.folder().display())?;
        std::future::pending::<Outcome>().await
    };
    let ended = Runtime::new().map(|it| it.block_on(async { timeout(PATIENCE, run).await }));
    if matches!(ended, Ok(Ok(Ok(())))) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn forwards() -> Outcome {
    let (proxy, mut link) = echoed().await?;
    check(echo(&mut link, b"hello").await? == b"hello", "it comes back")?;
    // What one side has ended, the other may go on with.
    link.shutdown().await?;
    let mut rest = Vec::new();
    link.read_to_end(&mut rest).await?;
    check(rest == b"bye", "the far side has the last word")?;
    drop(proxy);
    Ok(())
}

async fn cuts() -> Outcome {
    let (proxy, mut link) = echoed().await?;
    proxy.cut();
    check(echo(&mut link, b"hello").await.is_err(), "the old connection is reset")?;
    let reset = match TcpStream::connect(proxy.address()).await {
        Ok(mut new) => echo(&mut new, b"hello").await.is_err(),
        Err(_) => true,
    };
    check(reset, "a new one is reset")?;
    proxy.heal();
    let mut healed = TcpStream::connect(proxy.address()).await?;
    check(echo(&mut healed, b"hello").await? == b"hello", "a healed one carries")
}

async fn swallows() -> Outcome {
    let (proxy, mut used) = echoed().await?;
    let (mut idle, mut ears) = (TcpStream::connect(proxy.address()).await?, Vec::new());
    check(echo(&mut idle, b"before").await? == b"before", "it carries")?;
    proxy.half_open();
    used.write_all(b"lost").await?;
    let mut new = TcpStream::connect(proxy.address()).await?;
    new.write_all(b"lost").await?;
    let silent = Duration::from_millis(100);
    check(timeout(silent, used.read_u8()).await.is_err(), "nothing comes back")?;
    check(timeout(silent, new.read_u8()).await.is_err(), "nor on a new connection")?;
    proxy.heal();
    check(echo(&mut idle, b"after").await? == b"after", "one that lost nothing goes on")?;
    check(used.read_to_end(&mut ears).await.is_err(), "one that lost something is reset")?;
    check(new.read_to_end(&mut ears).await.is_err(), "so is one that never arrived")
}

async fn delays() -> Outcome {
    let (proxy, mut link) = echoed().await?;
    let delay = Duration::from_millis(50);
    proxy.delay(delay);
    let start = Instant::now();
    check(echo(&mut link, b"hello").await? == b"hello", "it comes back")?;
    check(start.elapsed() >= 2 * delay, "delayed both ways")
}

/// A proxy before a server that sends back what it gets, and `bye` at the end; and one connection through it.
async fn echoed() -> Outcome<(Proxy, TcpStream)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let upstream: SocketAddr = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await?;
                to.write_all(b"bye").await
            });
        }
    });
    let proxy = Proxy::start(upstream).await?;
    let link = TcpStream::connect(proxy.address()).await?;
    Ok((proxy, link))
}

async fn echo(link: &mut TcpStream, text: &[u8]) -> io::Result<Vec<u8>> {
    link.write_all(text).await?;
    let mut back = vec![0; text.len()];
    link.read_exact(&mut back).await?;
    Ok(back)
}

async fn greeting(port: u16) -> Outcome<String> {
    let mut link = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await?);
    let mut line = String::new();
    link.read_line(&mut line).await?;
    Ok(line)
}

/// What a server says to a `CONNECT` with these options.
async fn answer_to(port: u16, options: &str) -> Outcome<String> {
    let mut link = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await?);
    let mut line = String::new();
    link.read_line(&mut line).await?;
    link.write_all(format!("CONNECT {options}\r\n").as_bytes()).await?;
    line.clear();
    link.read_line(&mut line).await?;
    Ok(line)
}

fn check(held: bool, what: &str) -> Outcome {
    if held { Ok(()) } else { Err(format!("was not so: {what}").into()) }
}

/// Set where this program is to be the test that is killed.
const VICTIM: &str = "SINEW_HARNESS_VICTIM";

const PATIENCE: Duration = Duration::from_secs(60);
