//! What the trials on real brokers have in common: logins and certificates, and examples that are pasted.
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use crate::common::{Ran, Result, examples, run, run_with};

pub(crate) const SECRET: &str = "hush-7431";

/// A refusal: 69, one line, no secret, however much is told.
pub(crate) fn refused(args: &[&str]) -> Result<Ran> {
    let verbose = run(&[&["-vv"], args].concat())?.expect(69)?;
    assert!(!verbose.stderr.contains(SECRET), "{verbose:?}");
    let ran = run(args)?.expect(69)?;
    assert!(ran.stdout.is_empty() && ran.stderr.lines().count() == 1, "{ran:?}");
    assert!(!ran.stderr.contains(SECRET), "{ran:?}");
    Ok(ran)
}

/// Taken in: 0, and no secret, however much is told.
pub(crate) fn accepted(args: &[&str]) -> Result<()> {
    let ran = run(&[&["-vv"], args].concat())?.expect(0)?;
    assert!(!ran.stderr.contains(SECRET), "{ran:?}");
    Ok(())
}

/// An authority, a server's certificate and a client's, as PEM files.
pub(crate) struct Certificates {
    folder: TempDir,
}

impl Certificates {
    pub(crate) fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        for (ca, leaves) in [("ca", &["server", "client"][..]), ("stranger", &[])] {
            let mut params = CertificateParams::new(Vec::<String>::new())?;
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
            fs::write(folder.path().join(format!("{ca}.pem")), issuer.pem())?;
            for leaf in leaves {
                let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
                let key = KeyPair::generate()?;
                let mut params = CertificateParams::new(names)?;
                params.distinguished_name.push(DnType::CommonName, *leaf);
                let certificate = params.signed_by(&key, &issuer)?;
                fs::write(folder.path().join(format!("{leaf}.pem")), certificate.pem())?;
                fs::write(folder.path().join(format!("{leaf}.key")), key.serialize_pem())?;
            }
        }
        Ok(Self { folder })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

/// The examples that talk to a broker.
pub(crate) fn examples_of_brokers() -> Result<Vec<String>> {
    let alone = ["memory:", "sinew demo", "completions"];
    let mut examples = examples()?;
    examples.retain(|line| !alone.iter().any(|it| line.contains(it)));
    assert!(examples.len() >= 15, "{examples:#?}");
    Ok(examples)
}

/// Pastes each example into a shell, all at once, and has it talk to the broker at `url` unless it names one.
pub(crate) fn paste(url: &str, examples: impl Iterator<Item = String>) -> Result<()> {
    let bin = Path::new(env!("CARGO_BIN_EXE_sinew")).parent().ok_or("no folder")?;
    let path = format!("{}:{}", bin.display(), env::var("PATH")?);
    let folder = tempfile::tempdir()?;
    thread::scope(|scope| {
        // Who waits for nothing need not wait for long; and all at once they take a while to begin.
        let lines = examples.map(|line| line.replace("--wait 65s", "--wait 2s"));
        let lines = lines.map(|line| line.replace("--timeout 1s", "--timeout 5s"));
        // The usual port may be taken on this machine.
        let lines =
            lines.map(|line| line.replace("serve --for", "serve --listen 127.0.0.1:0 --for"));
        let runs: Vec<_> = lines
            .map(|line| {
                let mut command = Command::new("bash");
                command.args(["-c", &line]).env("PATH", &path).env("SINEW_URL", url);
                command.current_dir(folder.path()).stdin(Stdio::null());
                (line, scope.spawn(move || run_with(command, b"")))
            })
            .collect();
        for (line, ran) in runs {
            let ran = ran
                .join()
                .map_err(|_| "a thread panicked")?
                .map_err(|err| format!("{line}: {err}"))?;
            let allowed: &[i32] = match &line {
                _ if line.contains("request") => &[1, 75],
                _ if line.contains("beat check") => &[0, 1, 2, 3],
                _ if line.contains("sinew ask") => &[0, 1, 75],
                _ if line.contains("sinew agents") => &[0, 1],
                _ if line.contains("--expect") => &[0, 1],
                // Nothing is kept there, and core NATS keeps nothing at all.
                _ if line.contains("events errors") => &[1, 64],
                _ if line.contains("--count 1 ") => &[0, 75],
                _ => &[0],
            };
            let status = ran.status.unwrap_or(-1);
            if !allowed.contains(&status) {
                return Err(format!("{line}: {ran:?}").into());
            }
        }
        Ok(())
    })
}
