//! The commands that run and steer a RabbitMQ of one's own, beside whatever else the machine runs. `xtask` compiles
//! this file, too: there is one way to run the broker.
//!
//! No epmd, the daemon that tells Erlang's nodes each other's ports, and outlives them: the port is a fixed one. A node
//! whose name is given by `-sname` finds its distribution running, and starts no epmd when it boots; the one that it
//! would start each minute, to be sure, is forbidden by `ERL_FLAGS`, and looked for where there is none.
use std::{
    env, fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

/// A broker in a folder: its node's name (`NAME@localhost`), its AMQP port and the one of Erlang's distribution.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) scripts: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) node: String,
    pub(crate) port: u16,
    pub(crate) distribution: u16,
}

/// The folder of RabbitMQ's own scripts, found by its `rabbitmq-server` or by the wrapper that packages put into
/// `/usr/sbin`, which changes to a user and a folder of its own.
pub(crate) fn scripts(program: &Path) -> Option<PathBuf> {
    let program = program.canonicalize().ok()?;
    let packaged =
        program.starts_with("/usr/sbin").then(|| PathBuf::from("/usr/lib/rabbitmq/bin/"));
    let folders = program.parent().map(Path::to_owned).into_iter().chain(packaged);
    folders.filter_map(|folder| folder.join(SERVER).canonicalize().ok()).find_map(|script| {
        let folder = script.parent()?;
        folder.join("rabbitmq-env").is_file().then(|| folder.to_owned())
    })
}

impl Launch {
    /// The broker in the foreground: the shell becomes `erl` becomes `beam.smp`, so the process id stays.
    pub(crate) fn server(
        &self,
        config: &str,
        plugins: &str,
        arguments: &str,
    ) -> io::Result<Command> {
        fs::write(self.folder.join(CONFIG), config)?;
        fs::write(self.folder.join(PLUGINS), plugins)?;
        self.link_home()?;
        let Self { node, distribution, .. } = self;
        let mut command = self.command(&self.folder.join(HOME).join(SCRIPTS), SERVER);
        command
            // What makes the script `exec` instead of waiting for its child; `-noinput` keeps the input unread.
            .env("RABBITMQ_ALLOW_INPUT", "1")
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                format!(
                    "-noinput -sname {node} -erl_epmd_port {distribution} \
                     -kernel inet_dist_use_interface {{127,0,0,1}} +S 2:2 {arguments}"
                ),
            );
        Ok(command)
    }

    /// `rabbitmqctl`, for this broker.
    pub(crate) fn control(&self) -> Command {
        let mut command = self.command(&self.scripts, "rabbitmqctl");
        let arguments = format!("-erl_epmd_port {} -dist_listen false", self.distribution);
        command.env("RABBITMQ_CTL_ERL_ARGS", arguments);
        command
    }

    fn command(&self, scripts: &Path, script: &str) -> Command {
        let Self { folder, node, port, distribution, .. } = self;
        let mut command = Command::new(scripts.join(script));
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("RABBITMQ_") || text.starts_with("ERL_") {
                command.env_remove(&name);
            }
        }
        command
            .current_dir(folder)
            // The home of the cookie by which the broker knows `rabbitmqctl`.
            .env("HOME", folder)
            .env("ERL_FLAGS", "-start_epmd false")
            .env("ERL_EPMD_PORT", "1")
            .env("ERL_CRASH_DUMP_SECONDS", "0")
            .env("RABBITMQ_SCRIPTS_DIR", scripts)
            .env("RABBITMQ_NODENAME", node)
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", port.to_string())
            .env("RABBITMQ_DIST_PORT", distribution.to_string())
            .env("RABBITMQ_LOGS", "-");
        // All in the folder, and named, there or not: otherwise the machine's own files would be read.
        for (name, file) in [
            ("RABBITMQ_CONF_ENV_FILE", "rabbitmq-env.conf"),
            ("RABBITMQ_CONFIG_FILE", CONFIG),
            ("RABBITMQ_CONFIG_FILES", "conf.d"),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", "advanced.config"),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", PLUGINS),
            ("RABBITMQ_MNESIA_BASE", "data"),
            ("RABBITMQ_LOG_BASE", "log"),
            ("RABBITMQ_PID_FILE", "pid"),
        ] {
            command.env(name, folder.join(file));
        }
        command
    }

    /// RabbitMQ's own files by links, without the plugins that nobody asks for: Erlang before 26 looks for each of
    /// a thousand modules in the folder of every plugin, which doubles the time to start.
    fn link_home(&self) -> io::Result<()> {
        let installed = self.scripts.parent().unwrap_or(&self.scripts);
        let home = self.folder.join(HOME);
        // Links only: the installed files stay.
        match fs::remove_dir_all(&home) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
            _ => fs::create_dir_all(home.join("plugins"))?,
        }
        symlink(&self.scripts, home.join(SCRIPTS))?;
        symlink(installed.join("escript"), home.join("escript"))?;
        for plugin in fs::read_dir(installed.join("plugins"))? {
            let (path, name) = plugin.map(|it| (it.path(), it.file_name()))?;
            let text = name.to_string_lossy();
            if !text.starts_with("rabbitmq_") || WANTED.iter().any(|it| text.starts_with(it)) {
                symlink(path, home.join("plugins").join(&name))?;
            }
        }
        Ok(())
    }
}

const SERVER: &str = "rabbitmq-server";
const CONFIG: &str = "rabbitmq.conf";
const PLUGINS: &str = "enabled_plugins";
const HOME: &str = "home";
const SCRIPTS: &str = "sbin";
const WANTED: [&str; 2] = ["rabbitmq_prelaunch", "rabbitmq_auth_mechanism_ssl"];
