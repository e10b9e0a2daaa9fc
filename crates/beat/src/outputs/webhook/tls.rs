//! TLS over rustls and ring, said explicitly: no provider of the process is asked for, and none is installed.
use std::{fs, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use sinew_core::{Error, ErrorKind, Result};

/// Whom to trust.
#[derive(Debug)]
pub(super) enum Roots<'a> {
    /// Nobody: there is no TLS.
    None,
    /// Whom the platform trusts.
    Native,
    /// Whom a file names.
    File(&'a Path),
}

/// The client's TLS configuration. It reads files, so it does not belong on an async thread.
pub(super) fn config(trust: &Roots<'_>) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match trust {
        Roots::None => {}
        Roots::Native => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                let err = invalid("the platform trusts nobody; install its root certificates");
                return Err(match found.errors.into_iter().next() {
                    Some(source) => err.with_source(source),
                    None => err,
                });
            }
        }
        Roots::File(path) => {
            let text = fs::read(path)
                .map_err(|err| invalid("the CA file cannot be read").with_source(err))?;
            for certificate in CertificateDer::pem_slice_iter(&text) {
                let no_certificate = "the CA file holds what is no certificate";
                let certificate =
                    certificate.map_err(|err| invalid(no_certificate).with_source(err))?;
                roots.add(certificate).map_err(|err| invalid(no_certificate).with_source(err))?;
            }
            if roots.is_empty() {
                return Err(invalid("no certificate in PEM form is in the CA file"));
            }
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|err| invalid("TLS cannot be set up").with_source(err))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn invalid(detail: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOptions, "webhook TLS").with_detail(detail)
}
