//! Who is let in: passwords, tokens, nkeys, credentials, TLS both ways, and permissions, on real servers.
use std::{
    error::Error as StdError,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use libtest_mimic::Arguments;
use nkeys::KeyPair;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair as TlsKey};
use sinew_adapter_nats::{Nats, NatsOptions};
use sinew_core::{
    Error, ErrorKind, Message, Pattern, Publish, PublishExt, Request, Result, Subscribe,
    Subscription,
};
use sinew_testkit::harness::nats::{NatsServer, NatsServerOptions};
use sinew_testkit::trial::{Outcome, trial};
use tempfile::TempDir;
use tokio::time::timeout;

const SECRET: &str = "s3cret";
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let trials = vec![
        trial("a_password_lets_in_and_a_wrong_one_is_denied", password),
        trial("a_token_lets_in_and_a_wrong_one_is_denied", token),
        trial("an_nkey_lets_in_and_another_one_is_denied", nkey),
        trial("credentials_let_in_and_those_of_another_operator_are_denied", credentials),
        trial("a_certificate_of_the_given_ca_is_trusted_and_no_other", tls),
        trial("a_plain_client_is_told_that_the_server_requires_tls", tls_of_a_plain_client),
        trial("a_certificate_for_another_name_is_refused", tls_name),
        trial("a_client_certificate_is_shown_where_it_is_asked_for", mutual_tls),
        trial("waiting_for_a_server_ends_at_what_it_does_not_mend", waiting),
        trial("a_permission_that_is_missing_is_denied", permissions),
        trial("a_request_to_a_subject_that_is_denied_is_told_so", denied_request),
        trial("without_permission_to_publish_to_its_inbox_it_still_subscribes", listener),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn quick(url: String) -> NatsOptions {
    NatsOptions::new(url)
        .with_connect_timeout(Duration::from_secs(5))
        .with_answer_timeout(Duration::from_secs(2))
}

/// It is connected, and carries a message.
async fn works(options: NatsOptions) -> Result<Nats> {
    let nats = options.connect().await?;
    let mut intake = nats.subscribe(Subscription::new(Pattern::parse("a")?)).await?;
    nats.send_to("a", "x").await?;
    match intake.next_item().await {
        Some(Ok(message)) if message.payload == "x" => Ok(nats),
        other => Err(Error::new(ErrorKind::Internal, "carry a message")
            .with_detail(format!("{other:?} came"))),
    }
}

/// The refusal is of that kind, and tells no secret.
async fn refused(options: NatsOptions, kind: ErrorKind) -> std::result::Result<Error, String> {
    let shown = format!("{options:?}");
    let Err(err) = options.connect().await else { return Err("it was let in".to_owned()) };
    let mut text = format!("{shown} {err} {err:?}");
    let mut source = err.source();
    while let Some(cause) = source {
        text.push_str(&format!(" {cause} {cause:?}"));
        source = cause.source();
    }
    if text.contains(SECRET) || text.contains("SUA") {
        return Err(format!("a secret is shown: {text}"));
    }
    if err.kind() == kind { Ok(err) } else { Err(format!("{kind:?} was expected: {text}")) }
}

fn with_login(server: &NatsServer, login: &str) -> String {
    server.url().replace("://", &format!("://{login}@"))
}

async fn password() -> Outcome {
    let server = NatsServerOptions::new().with_user("me", SECRET).start().await?;
    works(quick(server.url()).with_user("me", SECRET)).await?;
    works(quick(with_login(&server, &format!("me:{SECRET}")))).await?;
    refused(quick(server.url()), ErrorKind::Denied).await?;
    refused(quick(with_login(&server, &format!("me:not-{SECRET}"))), ErrorKind::Denied).await?;
    Ok(())
}

async fn token() -> Outcome {
    let server = NatsServerOptions::new().with_token(SECRET).start().await?;
    works(quick(server.url()).with_token(SECRET)).await?;
    works(quick(with_login(&server, SECRET))).await?;
    refused(quick(server.url()).with_token(format!("not-{SECRET}")), ErrorKind::Denied).await?;
    Ok(())
}

async fn nkey() -> Outcome {
    let user = KeyPair::new_user();
    let server = NatsServerOptions::new().with_nkey(&user.public_key()).start().await?;
    works(quick(server.url()).with_nkey(user.seed()?)).await?;
    let other = KeyPair::new_user().seed()?;
    refused(quick(server.url()).with_nkey(other), ErrorKind::Denied).await?;
    refused(quick(server.url()).with_nkey(SECRET), ErrorKind::Denied).await?;
    Ok(())
}

/// An operator, an account of its own and a user of that, as `nsc` makes them.
struct Chain {
    operator: String,
    account_key: String,
    account: String,
    credentials: String,
}

impl Chain {
    fn new() -> std::result::Result<Self, nkeys::error::Error> {
        let (operator, account, user) =
            (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_user());
        let limits = r#""subs":-1,"data":-1,"payload":-1"#;
        let operator_token =
            jwt(&operator, &operator.public_key(), r#"{"type":"operator","version":2}"#)?;
        let account_claims = format!(
            r#"{{"type":"account","version":2,"limits":{{{limits},"imports":-1,"exports":-1,"wildcards":true,"conn":-1,"leaf":-1}}}}"#
        );
        let account_token = jwt(&operator, &account.public_key(), &account_claims)?;
        let user_claims = format!(r#"{{"type":"user","version":2,{limits}}}"#);
        let user_token = jwt(&account, &user.public_key(), &user_claims)?;
        let credentials = format!(
            "-----BEGIN NATS USER JWT-----\n{user_token}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            user.seed()?
        );
        let account_key = account.public_key();
        Ok(Self { operator: operator_token, account_key, account: account_token, credentials })
    }
}

fn jwt(
    issuer: &KeyPair,
    subject: &str,
    claims: &str,
) -> std::result::Result<String, nkeys::error::Error> {
    let header = URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let body = URL_SAFE_NO_PAD.encode(format!(
        r#"{{"jti":"test","iat":1700000000,"iss":"{}","sub":"{subject}","name":"test","nats":{claims}}}"#,
        issuer.public_key()
    ));
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(format!("{header}.{body}").as_bytes())?);
    Ok(format!("{header}.{body}.{signature}"))
}

async fn credentials() -> Outcome {
    let folder = TempDir::new()?;
    let chain = Chain::new()?;
    let accounts = [(chain.account_key.as_str(), chain.account.as_str())];
    let server = NatsServerOptions::new().with_operator(&chain.operator, accounts).start().await?;
    let file = write(&folder, "user.creds", &chain.credentials)?;
    works(quick(server.url()).with_credentials_file(file)).await?;
    let stranger = write(&folder, "stranger.creds", &Chain::new()?.credentials)?;
    refused(quick(server.url()).with_credentials_file(stranger), ErrorKind::Denied).await?;
    let broken = write(&folder, "broken.creds", SECRET)?;
    refused(quick(server.url()).with_credentials_file(broken), ErrorKind::InvalidOptions).await?;
    let missing = folder.path().join("missing.creds");
    refused(quick(server.url()).with_credentials_file(missing), ErrorKind::InvalidOptions).await?;
    Ok(())
}

/// A certificate authority, and the files that it signed.
struct Authority {
    folder: TempDir,
    ca: PathBuf,
    issuer: CertifiedIssuer<'static, TlsKey>,
}

impl Authority {
    fn new() -> Outcome<Self> {
        let folder = TempDir::new()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, TlsKey::generate()?)?;
        let ca = write(&folder, "ca.pem", &issuer.pem())?;
        Ok(Self { folder, ca, issuer })
    }

    /// A certificate for `name` and its key.
    fn sign(&self, name: &str) -> Outcome<(PathBuf, PathBuf)> {
        let key = TlsKey::generate()?;
        let cert = CertificateParams::new(vec![name.to_owned()])?.signed_by(&key, &self.issuer)?;
        let cert = write(&self.folder, &format!("{name}.pem"), &cert.pem())?;
        Ok((cert, write(&self.folder, &format!("{name}.key"), &key.serialize_pem())?))
    }
}

fn write(folder: &TempDir, name: &str, text: &str) -> std::io::Result<PathBuf> {
    let path = folder.path().join(name);
    fs::write(&path, text)?;
    Ok(path)
}

async fn serve_tls(authority: &Authority, name: &str) -> Outcome<NatsServer> {
    let (cert, key) = authority.sign(name)?;
    Ok(NatsServerOptions::new().with_tls(&cert, &key).start().await?)
}

async fn tls() -> Outcome {
    let (authority, other) = (Authority::new()?, Authority::new()?);
    let server = serve_tls(&authority, "127.0.0.1").await?;
    works(quick(server.url()).with_ca_file(&authority.ca)).await?;
    // `nats://` turns to TLS, too, once a CA is given.
    works(quick(server.url().replace("tls://", "nats://")).with_ca_file(&authority.ca)).await?;
    for options in [quick(server.url()).with_ca_file(&other.ca), quick(server.url())] {
        let err = refused(options, ErrorKind::Unreachable).await?;
        if err.is_transient() || !err.to_string().contains("TLS") {
            return Err(format!("it does not tell what to do: {err}").into());
        }
    }
    let missing = Path::new("/no/such/ca.pem");
    refused(quick(server.url()).with_ca_file(missing), ErrorKind::InvalidOptions).await?;
    let no_pem = write(&authority.folder, "no.pem", SECRET)?;
    refused(quick(server.url()).with_ca_file(no_pem), ErrorKind::InvalidOptions).await?;
    Ok(())
}

async fn tls_of_a_plain_client() -> Outcome {
    let server = serve_tls(&Authority::new()?, "127.0.0.1").await?;
    let plain = quick(with_login(&server, &format!("me:{SECRET}")).replace("tls://", "nats://"));
    let err = refused(plain, ErrorKind::Unreachable).await?;
    if !err.to_string().contains("requires TLS") {
        return Err(format!("it does not tell what to do: {err}").into());
    }
    Ok(())
}

async fn tls_name() -> Outcome {
    let authority = Authority::new()?;
    let server = serve_tls(&authority, "elsewhere.example").await?;
    refused(quick(server.url()).with_ca_file(&authority.ca), ErrorKind::Unreachable).await?;
    Ok(())
}

async fn mutual_tls() -> Outcome {
    let (authority, other) = (Authority::new()?, Authority::new()?);
    let (cert, key) = authority.sign("127.0.0.1")?;
    let server =
        NatsServerOptions::new().with_mutual_tls(&cert, &key, &authority.ca).start().await?;
    let options = || quick(server.url()).with_ca_file(&authority.ca);
    let (mine, my_key) = authority.sign("me")?;
    works(options().with_client_cert(&mine, &my_key)).await?;
    refused(options(), ErrorKind::Denied).await?;
    let (forged, forged_key) = other.sign("me")?;
    refused(options().with_client_cert(forged, forged_key), ErrorKind::Denied).await?;
    refused(options().with_client_cert(mine, key), ErrorKind::InvalidOptions).await?;
    Ok(())
}

async fn waiting() -> Outcome {
    let (authority, other) = (Authority::new()?, Authority::new()?);
    let server = serve_tls(&authority, "127.0.0.1").await?;
    let plain = server.url().replace("tls://", "nats://");
    for (options, kind) in [
        (quick(server.url()).with_ca_file(&other.ca), ErrorKind::Unreachable),
        (quick(plain), ErrorKind::Unreachable),
    ] {
        timeout(PATIENCE, refused(options.with_retry_first(true), kind)).await??;
    }
    let server = NatsServerOptions::new().with_user("me", SECRET).start().await?;
    let stranger = quick(server.url()).with_retry_first(true);
    timeout(PATIENCE, refused(stranger, ErrorKind::Denied)).await??;
    Ok(())
}

const PERMISSIONS: &str = r#"authorization { users: [ { user: me, password: s3cret, permissions: {
    publish: { deny: "secret.>" }, subscribe: { deny: "secret.>" } } } ] }"#;

async fn permissions() -> Outcome {
    let server = NatsServerOptions::new().with_config(PERMISSIONS).start().await?;
    let nats = works(quick(with_login(&server, &format!("me:{SECRET}")))).await?;
    let is_denied =
        |err: &Error| err.kind() == ErrorKind::Denied && err.subject() == Some("secret.a");
    // The refusal has a way of its own through the client, and may be told a moment later.
    match nats.subscribe(Subscription::new(Pattern::parse("secret.a")?)).await {
        Err(err) if is_denied(&err) => {}
        Ok(mut intake) => match timeout(PATIENCE, intake.next()).await? {
            Some(Err(err)) if is_denied(&err) => {}
            other => return Err(format!("{other:?}").into()),
        },
        other => return Err(format!("{other:?}").into()),
    }
    nats.send_to("secret.a", "x").await?;
    let told = async {
        loop {
            if let Err(err) = nats.flush().await {
                return err;
            }
        }
    };
    let err = timeout(PATIENCE, told).await?;
    if !is_denied(&err) {
        return Err(err.into());
    }
    // It is told once, and spoils nothing else.
    nats.flush().await?;
    Ok(())
}

async fn denied_request() -> Outcome {
    let server = NatsServerOptions::new().with_config(PERMISSIONS).start().await?;
    let nats = works(quick(with_login(&server, &format!("me:{SECRET}")))).await?;
    let mut replies = nats.request(Message::encode("secret.a", "x")?).await?;
    match timeout(PATIENCE, replies.next()).await? {
        Some(Err(err)) if err.kind() == ErrorKind::Denied && err.subject() == Some("secret.a") => {}
        other => return Err(format!("{other:?}").into()),
    }
    // The requester was told, hence nobody else is.
    nats.flush().await?;
    Ok(())
}

const LISTENER: &str = r#"authorization { users: [
    { user: me, password: s3cret, permissions: { publish: { deny: ">" } } },
    { user: other, password: s3cret } ] }"#;

async fn listener() -> Outcome {
    let server = NatsServerOptions::new().with_config(LISTENER).start().await?;
    let nats = quick(with_login(&server, &format!("me:{SECRET}"))).connect().await?;
    let other = quick(with_login(&server, &format!("other:{SECRET}"))).connect().await?;
    for round in 0..50 {
        let subject = format!("a.{round}");
        let mut intake = nats.subscribe(Subscription::new(Pattern::parse(&subject)?)).await?;
        other.send_to(subject.as_str(), "x").await?;
        other.flush().await?;
        intake.next_item().await.ok_or("it ended")??;
    }
    Ok(())
}
