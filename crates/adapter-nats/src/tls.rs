//! TLS over rustls and ring, said explicitly: no provider of the process is asked for, and none is installed.
use std::{fs, io, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::{NatsOptions, error::Cause};

/// The client's TLS configuration. It reads files, so it does not belong on an async thread.
///
/// Without TLS in the options it trusts nobody: the client turns to TLS whenever a server asks for it, and would
/// then build a configuration of its own, with whichever provider the program happens to have.
pub(crate) fn config(options: &NatsOptions) -> Result<ClientConfig, Cause> {
    let mut roots = RootCertStore::empty();
    match &options.ca_file {
        Some(path) => {
            for cert in certificates("CA file", path)? {
                roots.add(cert)?;
            }
        }
        None if options.tls => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        None => {}
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    Ok(match &options.client_cert {
        Some((cert, key)) => builder
            .with_client_auth_cert(certificates("client certificate", cert)?, private_key(key)?)?,
        None => builder.with_no_client_auth(),
    })
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
    fs::read(path).map_err(|source| Cause::File { what, source })
}

fn invalid(what: &'static str, why: &'static str) -> Cause {
    Cause::File { what, source: io::Error::new(io::ErrorKind::InvalidData, why) }
}
