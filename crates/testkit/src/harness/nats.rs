//! nats-server for tests.
use std::{
    fmt::{self, Write},
    fs, io,
    ops::Deref,
    path::{Path, PathBuf},
    process::Command,
};

use sinew_core::{BoxFuture, Error, ErrorKind, Result};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
};

use super::{Recipe, Server, locate::find_nats_server};

/// How to run nats-server. Starts without JetStream, without passwords, without TLS.
#[derive(Clone, Default)]
pub struct NatsServerOptions {
    program: Option<PathBuf>,
    jetstream: bool,
    max_payload: Option<usize>,
    authorization: Option<String>,
    operator: Option<String>,
    tls: Option<String>,
    extra: String,
}

impl NatsServerOptions {
    /// Without JetStream, passwords and TLS.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs this program. Default: what [`find_nats_server`] finds.
    #[must_use]
    pub fn with_program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = Some(program.into());
        self
    }

    /// With JetStream, its files in the server's folder. Default: without.
    #[must_use]
    pub fn with_jetstream(mut self) -> Self {
        self.jetstream = true;
        self
    }

    /// Takes payloads, headers included, of at most this many bytes. Default: the server's, 1 MiB.
    #[must_use]
    pub fn with_max_payload(mut self, bytes: usize) -> Self {
        self.max_payload = Some(bytes);
        self
    }

    /// Lets this user in, and nobody else. Default: everybody.
    #[must_use]
    pub fn with_user(mut self, user: &str, password: &str) -> Self {
        self.authorization =
            Some(format!("user: {}, password: {}", quoted(user), quoted(password)));
        self
    }

    /// Lets in whoever has the token. Default: everybody.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        self.authorization = Some(format!("token: {}", quoted(token)));
        self
    }

    /// Lets in whoever holds the seed of this public key (`U...`). Default: everybody.
    #[must_use]
    pub fn with_nkey(mut self, public_key: &str) -> Self {
        self.authorization = Some(format!("users: [ {{ nkey: {} }} ]", quoted(public_key)));
        self
    }

    /// Lets in whoever has credentials that descend from `operator`, a JSON Web Token, by one of `accounts`, each a
    /// public key (`A...`) and a JSON Web Token. Default: everybody.
    #[must_use]
    pub fn with_operator<'a>(
        mut self,
        operator: &str,
        accounts: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let accounts: String = accounts
            .into_iter()
            .map(|(key, token)| format!("  {key}: {}\n", quoted(token)))
            .collect();
        self.operator = Some(format!(
            "operator: {}\nresolver: MEMORY\nresolver_preload: {{\n{accounts}}}\n",
            quoted(operator)
        ));
        self
    }

    /// Speaks TLS only, with a certificate and its key in PEM files. Default: no TLS.
    #[must_use]
    pub fn with_tls(mut self, certificate: &Path, key: &Path) -> Self {
        self.tls = Some(format!("cert_file: {}, key_file: {}", path(certificate), path(key)));
        self
    }

    /// Speaks TLS only, and asks clients for a certificate that descends from the authority in `ca`, a PEM file.
    #[must_use]
    pub fn with_mutual_tls(self, certificate: &Path, key: &Path, ca: &Path) -> Self {
        let mut this = self.with_tls(certificate, key);
        if let Some(tls) = &mut this.tls {
            tls.push_str(&format!(", ca_file: {}, verify: true", path(ca)));
        }
        this
    }

    /// Adds lines to its configuration, in its own syntax. Default: none.
    #[must_use]
    pub fn with_config(mut self, lines: &str) -> Self {
        self.extra.push_str(lines);
        self.extra.push('\n');
        self
    }

    /// Starts it, and ends when it takes connections.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] when this machine has no nats-server, and as [`Server::start`] has them.
    ///
    /// # Cancel safety
    ///
    /// A dropped call leaves no process.
    pub async fn start(self) -> Result<NatsServer> {
        let program = match &self.program {
            Some(program) => program.clone(),
            None => find_nats_server()?,
        };
        let scheme = if self.tls.is_some() { "tls" } else { "nats" };
        let server = Server::start(NatsRecipe { program, options: self }).await?;
        Ok(NatsServer { server, scheme })
    }

    fn config(&self, folder: &Path, port: u16) -> String {
        let mut text =
            format!("listen: \"127.0.0.1:{port}\"\nserver_name: {}\n", server_name(port));
        if self.jetstream {
            let store = folder.join("jetstream");
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "jetstream {{ store_dir: {}, max_mem: 256MB, max_file: 4GB }}",
                path(&store)
            );
        }
        if let Some(bytes) = self.max_payload {
            let _ = writeln!(text, "max_payload: {bytes}");
        }
        if let Some(authorization) = &self.authorization {
            let _ = writeln!(text, "authorization {{ {authorization} }}");
        }
        if let Some(tls) = &self.tls {
            let _ = writeln!(text, "tls {{ {tls} }}");
        }
        text.push_str(self.operator.as_deref().unwrap_or_default());
        text.push_str(&self.extra);
        text
    }
}

/// Shows no password.
impl fmt::Debug for NatsServerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsServerOptions")
            .field("program", &self.program)
            .field("jetstream", &self.jetstream)
            .field("max_payload", &self.max_payload)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

/// A running nats-server; a [`Server`], with its URL.
#[derive(Debug)]
pub struct NatsServer {
    server: Server,
    scheme: &'static str,
}

impl NatsServer {
    /// Where to connect: `nats://127.0.0.1:PORT`, or `tls://` where it speaks TLS. Without passwords.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.server.port())
    }
}

impl Deref for NatsServer {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

struct NatsRecipe {
    program: PathBuf,
    options: NatsServerOptions,
}

impl Recipe for NatsRecipe {
    fn name(&self) -> &str {
        "nats-server"
    }

    fn command(&self, folder: &Path, port: u16) -> Result<Command> {
        let config = folder.join("nats.conf");
        fs::write(&config, self.options.config(folder, port)).map_err(|err| {
            Error::new(ErrorKind::Internal, "configure nats-server").with_source(err)
        })?;
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(config);
        Ok(command)
    }

    /// A server greets with `INFO {...}`, before any TLS; its name shows that it is ours.
    fn ready<'a>(&'a self, _: &'a Path, port: u16) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let stream = TcpStream::connect(("127.0.0.1", port)).await?;
            let mut greeting = String::new();
            BufReader::new(stream).read_line(&mut greeting).await?;
            let name = format!("\"server_name\":\"{}\"", server_name(port));
            if greeting.starts_with("INFO ") && greeting.contains(&name) {
                return Ok(());
            }
            Err(io::Error::new(io::ErrorKind::InvalidData, "another program has its port"))
        })
    }
}

/// Different in each process that runs tests.
fn server_name(port: u16) -> String {
    format!("sinew-{}-{port}", std::process::id())
}

fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// A string of nats-server's configuration.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}
