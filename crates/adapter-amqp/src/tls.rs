//! TLS over rustls and ring, said explicitly: no provider of the process is asked for, and none is installed.
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::error::Cause;

/// The files of a TLS client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files {
    /// Trusted instead of the platform's roots.
    pub(crate) ca: Option<PathBuf>,
    /// A certificate chain and its key.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
}

/// The client's TLS configuration. It reads files, so it does not belong on an async thread.
pub(crate) fn config(files: &Files) -> Result<Arc<ClientConfig>, Cause> {
    let mut roots = RootCertStore::empty();
    match &files.ca {
        Some(path) => {
            for cert in certificates("CA file", path)? {
                roots.add(cert)?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    Ok(Arc::new(match &files.client {
        Some((cert, key)) => builder
            .with_client_auth_cert(certificates("client certificate", cert)?, private_key(key)?)?,
        None => builder.with_no_client_auth(),
    }))
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Cause> {
    let text = read(what, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(invalid(what, "no certificate in PEM form is in it")),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Cause> {
    let what = "client key";
    PrivateKeyDer::from_pem_slice(&read(what, path)?)
        .map_err(|_| invalid(what, "no private key in PEM form is in it"))
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, Cause> {
    fs::read(path).map_err(|source| Cause::File { what, source: Arc::new(source) })
}

fn invalid(what: &'static str, why: &'static str) -> Cause {
    Cause::File { what, source: Arc::new(io::Error::new(io::ErrorKind::InvalidData, why)) }
}
