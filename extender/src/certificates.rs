//! The extender's certificates: generates a certificate authority, one certificate for both of the extender's TLS
//! servers and one with which kube-scheduler authenticates as a client; makes TLS configurations of the generated
//! files.
//!
//! All are valid until 2050, because kube-scheduler and the API server read the authority's certificate once, at their
//! start.

use std::{fs, io::Write, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc};

use anyhow::{Context, Result, anyhow};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};

/// The host name that the scheduler and the API server expect in the extender's certificate, whatever its address.
pub const SERVICE_NAME: &str = "privatekube-extender.privatekube-system.svc";

/// The file name of the authority's certificate.
pub const CA_CERTIFICATE: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
const SERVER_CERTIFICATE: &str = "server.crt";
const SERVER_KEY: &str = "server.key";
const SCHEDULER_CERTIFICATE: &str = "scheduler.crt";
const SCHEDULER_KEY: &str = "scheduler.key";

/// Writes a new authority, and the server's and scheduler's certificates that it signs, into `dir`: `ca`, `server` and
/// `scheduler`, each `.crt` and `.key`.
///
/// `hosts` are further names and addresses by which the extender is reached.
pub fn generate(dir: &Path, hosts: &[String]) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    let ca_key = KeyPair::generate()?;
    let mut ca = params("PrivateKube", &[])?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_certificate = ca.self_signed(&ca_key)?;
    write(dir, CA_CERTIFICATE, &ca_certificate.pem(), 0o644)?;
    write(dir, CA_KEY, &ca_key.serialize_pem(), 0o600)?;
    let issuer = Issuer::new(ca, ca_key);

    let service = ["privatekube-extender.privatekube-system", SERVICE_NAME].map(str::to_owned);
    let names: Vec<String> = service.iter().chain(hosts).cloned().collect();
    let server = (
        ExtendedKeyUsagePurpose::ServerAuth,
        SERVER_CERTIFICATE,
        SERVER_KEY,
    );
    let scheduler = (
        ExtendedKeyUsagePurpose::ClientAuth,
        SCHEDULER_CERTIFICATE,
        SCHEDULER_KEY,
    );
    for (common_name, names, (usage, certificate_file, key_file)) in [
        ("privatekube-extender", names.as_slice(), server),
        ("kube-scheduler", &[], scheduler),
    ] {
        let key = KeyPair::generate()?;
        let mut leaf = params(common_name, names)?;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![usage];
        let certificate = leaf.signed_by(&key, &issuer)?;
        write(dir, certificate_file, &certificate.pem(), 0o644)?;
        write(dir, key_file, &key.serialize_pem(), 0o600)?;
    }
    Ok(())
}

fn params(common_name: &str, names: &[String]) -> Result<CertificateParams> {
    let mut params =
        CertificateParams::new(names.to_vec()).context("a host is neither a name nor an address")?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2050, 1, 1);
    Ok(params)
}

fn write(dir: &Path, name: &str, text: &str, mode: u32) -> Result<()> {
    let path = dir.join(name);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&path)
        .with_context(|| format!("write {}", path.display()))?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("write {}", path.display()))
}

/// Which clients a TLS server accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// Clients with a certificate of the generated authority: kube-scheduler.
    Authenticated,
    /// Any client. The API server calls webhooks without a certificate, so a webhook doesn't trust its caller: it only
    /// answers whether the object that it is sent would be admitted.
    Anyone,
}

/// The TLS configuration of a server, from the files in `dir`.
pub fn server_config(dir: &Path, clients: Clients) -> Result<Arc<ServerConfig>> {
    let provider = Arc::new(ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match clients {
        Clients::Anyone => builder.with_no_client_auth(),
        Clients::Authenticated => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(&dir.join(CA_CERTIFICATE))? {
                roots
                    .add(certificate)
                    .with_context(|| format!("{CA_CERTIFICATE} is not an authority"))?;
            }
            builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?,
            )
        }
    };
    let key_path = dir.join(SERVER_KEY);
    let key = PrivateKeyDer::from_pem_file(&key_path)
        .map_err(|error| anyhow!("read the key {}: {error}", key_path.display()))?;
    let mut config = builder
        .with_single_cert(certificates(&dir.join(SERVER_CERTIFICATE))?, key)
        .with_context(|| format!("{SERVER_CERTIFICATE} and {SERVER_KEY} do not belong together"))?;
    // The scheduler sends all its requests over one HTTP/2 connection if it can. The API server uses HTTP/1.1 with
    // webhooks.
    config.alpn_protocols = match clients {
        Clients::Authenticated => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        Clients::Anyone => vec![b"http/1.1".to_vec()],
    };
    Ok(Arc::new(config))
}

/// The authority's certificate as PEM text, for the API server's webhook configuration.
pub fn authority(dir: &Path) -> Result<String> {
    let path = dir.join(CA_CERTIFICATE);
    fs::read_to_string(&path).with_context(|| {
        format!(
            "read {}; `privatekube-extender certificates --out DIR` makes it",
            path.display()
        )
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| anyhow!("read certificates from {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_files_configure_both_servers() {
        let dir = tempfile::tempdir().unwrap();
        generate(dir.path(), &["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        for clients in [Clients::Anyone, Clients::Authenticated] {
            server_config(dir.path(), clients).unwrap();
        }
        assert!(authority(dir.path()).unwrap().contains("BEGIN CERTIFICATE"));
        let mode = |name: &str| {
            use std::os::unix::fs::PermissionsExt;
            fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777
        };
        assert_eq!((mode("server.key"), mode("ca.crt")), (0o600, 0o644));
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = server_config(Path::new("/nowhere"), Clients::Anyone).unwrap_err();
        assert!(format!("{error:#}").contains("/nowhere/server"), "{error:#}");
    }
}
