//! The extender's certificates: generates a certificate authority, one certificate for both of the extender's TLS
//! servers and one with which kube-scheduler authenticates as a client; makes TLS configurations of the generated
//! files.
//!
//! All are valid until 2050, because kube-scheduler and the API server read the authority's certificate once, at their
//! start.

mod expiry;

use std::{
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, anyhow, bail};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    RootCertStore, ServerConfig,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::WebPkiClientVerifier,
};

pub use self::expiry::CertificateMetrics;

/// The host name that the scheduler expects in the extender's certificate, whatever its address.
pub const SERVICE_NAME: &str = "privatekube-extender.privatekube-system.svc";
/// The host name that the API server expects there, which calls the webhooks by another Service: all replicas answer them, and only
/// the leader answers the scheduler.
pub const WEBHOOK_SERVICE_NAME: &str = "privatekube-webhooks.privatekube-system.svc";

/// The file name of the authority's certificate.
pub const CA_CERTIFICATE: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
const SERVER_CERTIFICATE: &str = "server.crt";
const SERVER_KEY: &str = "server.key";
const SCHEDULER_CERTIFICATE: &str = "scheduler.crt";
const SCHEDULER_KEY: &str = "scheduler.key";

/// What is generated, and where.
#[derive(Clone, Debug)]
pub struct CertificateRequest {
    /// The directory of the certificates and their keys: what machines need.
    pub out: PathBuf,
    /// The directory of the authority's key, which no machine needs. It isn't `out`, whose files go into a Secret.
    pub authority: PathBuf,
    /// Further names and addresses by which the extender is reached.
    pub hosts: Vec<String>,
    /// Whether an authority that exists is replaced by another one.
    pub replace_authority: bool,
}

/// What became of the authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorityChange {
    /// There was none.
    Made,
    /// It signed the new certificates.
    Kept,
    /// Another one took its place, as was requested. What trusts the old one doesn't trust the new certificates.
    Replaced,
}

impl CertificateRequest {
    /// A request for certificates in `out`, with the authority's key in a directory inside, which nothing that reads the
    /// files of `out` sees.
    #[must_use]
    pub fn new(out: PathBuf) -> Self {
        Self {
            authority: out.join("authority"),
            out,
            hosts: Vec::new(),
            replace_authority: false,
        }
    }

    /// Writes the server's and the scheduler's certificates, which replace those that exist. They are signed by the
    /// authority that exists; a new one is made only if there is none, or if that is requested.
    pub fn generate(&self) -> Result<AuthorityChange> {
        let (certificate, key) = (self.out.join(CA_CERTIFICATE), self.authority.join(CA_KEY));
        if self.out == self.authority {
            bail!(
                "the authority's key needs a directory of its own: give --authority another one than --out"
            );
        }
        let (has_certificate, has_key) = (exists(&certificate)?, exists(&key)?);
        if has_certificate && !has_key && !self.replace_authority {
            bail!(
                "{} is an authority whose key isn't at {}: move it there (earlier versions wrote {}), or give its directory by \
                 --authority; or make another authority by --replace-authority, which the scheduler and the extender have to \
                 get together",
                certificate.display(),
                key.display(),
                self.out.join(CA_KEY).display()
            );
        }
        fs::create_dir_all(&self.out).with_context(|| format!("make {}", self.out.display()))?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.authority)
            .with_context(|| format!("make {}", self.authority.display()))?;
        let keeps = has_key && !self.replace_authority;
        let ca_key = if keeps {
            let text = fs::read_to_string(&key).with_context(|| format!("read {}", key.display()))?;
            KeyPair::from_pem(&text).with_context(|| format!("{} is no key", key.display()))?
        } else {
            KeyPair::generate()?
        };
        let mut ca = params("PrivateKube", &[])?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        if !keeps {
            write(&self.authority, CA_KEY, &ca_key.serialize_pem(), 0o600)?;
        }
        // A key without its certificate was left by an interruption, or is all that was kept.
        if !keeps || !has_certificate {
            let text = ca.self_signed(&ca_key)?.pem();
            write(&self.out, CA_CERTIFICATE, &text, 0o644)?;
        }
        self.sign(&Issuer::new(ca, ca_key))?;
        Ok(match (has_certificate || has_key, keeps) {
            (_, true) => AuthorityChange::Kept,
            (true, false) => AuthorityChange::Replaced,
            (false, false) => AuthorityChange::Made,
        })
    }

    fn sign(&self, issuer: &Issuer<'_, KeyPair>) -> Result<()> {
        let service = [
            "privatekube-extender.privatekube-system",
            SERVICE_NAME,
            "privatekube-webhooks.privatekube-system",
            WEBHOOK_SERVICE_NAME,
        ];
        let service = service.map(str::to_owned);
        let names: Vec<String> = service.iter().chain(&self.hosts).cloned().collect();
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
            let certificate = leaf.signed_by(&key, issuer)?;
            if certificate_file == SERVER_CERTIFICATE {
                self.check_signed(certificate.der())?;
            }
            write(&self.out, certificate_file, &certificate.pem(), 0o644)?;
            write(&self.out, key_file, &key.serialize_pem(), 0o600)?;
        }
        Ok(())
    }

    /// Checks that the authority's certificate, which may have been there before, belongs to its key.
    fn check_signed(&self, server: &CertificateDer<'_>) -> Result<()> {
        verify(&self.out, server, SERVICE_NAME).with_context(|| {
            format!(
                "{} doesn't belong to the key {}: nothing was signed",
                self.out.join(CA_CERTIFICATE).display(),
                self.authority.join(CA_KEY).display()
            )
        })
    }
}

/// Checks that the extender's certificate in `dir` has the name by which the API server calls the webhooks. One that an earlier version
/// made lacks it.
pub fn check_webhook_name(dir: &Path) -> Result<()> {
    let path = dir.join(SERVER_CERTIFICATE);
    let all = certificates(&path)?;
    let first = all
        .first()
        .with_context(|| format!("{} is empty", path.display()))?;
    verify(dir, first, WEBHOOK_SERVICE_NAME).with_context(|| {
        format!(
            "{} is no certificate for {WEBHOOK_SERVICE_NAME}, by which the API server calls the webhooks: make it again with \
             privatekube-extender certificates, which keeps the authority, and put it into the Secret",
            path.display()
        )
    })
}

/// Checks that the authority in `dir` has signed a server's certificate for this name.
fn verify(dir: &Path, server: &CertificateDer<'_>, name: &str) -> Result<()> {
    let roots = Arc::new(authorities(dir)?);
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build()?;
    let name = ServerName::try_from(name)?;
    verifier.verify_server_cert(server, &[], &name, &[], UnixTime::now())?;
    Ok(())
}

fn exists(path: &Path) -> Result<bool> {
    path.try_exists()
        .with_context(|| format!("look for {}", path.display()))
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
            let roots = authorities(dir)?;
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
    // Not HTTP/2: the scheduler would send all its requests over one connection, and keep it for 45 s after its requests have
    // begun to time out, because the leader's node is gone. Of HTTP/1.1 it drops a connection whose request has timed out, and
    // the Service sends the next one to the new leader. The API server uses HTTP/1.1 with webhooks, too.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The authorities in `dir`.
fn authorities(dir: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&dir.join(CA_CERTIFICATE))? {
        roots
            .add(certificate)
            .with_context(|| format!("{CA_CERTIFICATE} is not an authority"))?;
    }
    Ok(roots)
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

    fn request(dir: &Path) -> CertificateRequest {
        CertificateRequest {
            hosts: vec!["127.0.0.1".to_owned(), "localhost".to_owned()],
            ..CertificateRequest::new(dir.to_owned())
        }
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn generated_files_configure_both_servers() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(request(dir.path()).generate().unwrap(), AuthorityChange::Made);
        for clients in [Clients::Anyone, Clients::Authenticated] {
            server_config(dir.path(), clients).unwrap();
        }
        assert!(authority(dir.path()).unwrap().contains("BEGIN CERTIFICATE"));
        let mode = |name: &str| {
            use std::os::unix::fs::PermissionsExt;
            fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777
        };
        assert_eq!((mode("server.key"), mode("ca.crt")), (0o600, 0o644));
        assert_eq!((mode("authority"), mode("authority/ca.key")), (0o700, 0o600));
    }

    #[test]
    fn the_files_that_go_into_a_cluster_have_no_key_of_the_authority() {
        let dir = tempfile::tempdir().unwrap();
        request(dir.path()).generate().unwrap();
        let files = fs::read_dir(dir.path()).unwrap().map(Result::unwrap);
        // kubectl reads the files of a directory, and no directory inside.
        let files = files.filter(|file| file.file_type().unwrap().is_file());
        let mut names: Vec<String> = files
            .map(|file| file.file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "ca.crt",
                "scheduler.crt",
                "scheduler.key",
                "server.crt",
                "server.key"
            ]
        );
        let same = CertificateRequest {
            authority: dir.path().to_owned(),
            ..request(dir.path())
        };
        assert!(same.generate().is_err());
    }

    #[test]
    fn certificates_are_renewed_by_the_authority_that_exists() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        request(path).generate().unwrap();
        let (ca, server) = (read(&path.join("ca.crt")), read(&path.join("server.crt")));
        assert_eq!(request(path).generate().unwrap(), AuthorityChange::Kept);
        assert_eq!(read(&path.join("ca.crt")), ca);
        assert_ne!(read(&path.join("server.crt")), server);
        server_config(path, Clients::Authenticated).unwrap();
        let replaced = CertificateRequest {
            replace_authority: true,
            ..request(path)
        };
        assert_eq!(replaced.generate().unwrap(), AuthorityChange::Replaced);
        assert_ne!(read(&path.join("ca.crt")), ca);
    }

    #[test]
    fn an_authority_without_its_key_is_not_replaced_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        request(path).generate().unwrap();
        // Somebody keeps the key elsewhere, as they should.
        let elsewhere = path.join("safe");
        fs::rename(path.join("authority"), &elsewhere).unwrap();
        let (ca, server) = (read(&path.join("ca.crt")), read(&path.join("server.crt")));
        let error = request(path).generate().unwrap_err().to_string();
        assert!(
            error.contains("--authority") && error.contains("authority/ca.key"),
            "{error}"
        );
        assert_eq!(
            (read(&path.join("ca.crt")), read(&path.join("server.crt"))),
            (ca.clone(), server)
        );
        let found = CertificateRequest {
            authority: elsewhere,
            ..request(path)
        };
        assert_eq!(found.generate().unwrap(), AuthorityChange::Kept);
        assert_eq!(read(&path.join("ca.crt")), ca);
    }

    #[test]
    fn a_key_of_another_authority_signs_nothing() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        request(dir.path()).generate().unwrap();
        request(other.path()).generate().unwrap();
        let server = read(&dir.path().join("server.crt"));
        let mixed = CertificateRequest {
            authority: other.path().join("authority"),
            ..request(dir.path())
        };
        let error = mixed.generate().unwrap_err().to_string();
        assert!(error.contains("doesn't belong to the key"), "{error}");
        assert_eq!(read(&dir.path().join("server.crt")), server);
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = server_config(Path::new("/nowhere"), Clients::Anyone).unwrap_err();
        assert!(format!("{error:#}").contains("/nowhere/server"), "{error:#}");
    }
}
