//! The control plane's own certificates: an authority, one serving certificate for 127.0.0.1, the one that identifies
//! the API server to the kubelet, the one of a real node's kubelet, and the key pair that signs service account tokens. The extender makes its own.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};

use crate::real_node::SERVICE_ADDRESS;
use crate::users::write_private;

/// The control plane's certificates, as files of one directory.
#[derive(Debug, Clone)]
pub(crate) struct Certificates {
    dir: PathBuf,
}

impl Certificates {
    /// The certificates in `dir`, which exist.
    pub(crate) fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Uses the certificates in `dir`, and creates them first if there are none.
    pub(crate) fn ensure(dir: &Path) -> Result<Self> {
        let certificates = Self { dir: dir.to_owned() };
        // The last file that `make` writes, so the others exist too; one of a cluster of an older version lacks the other.
        let exist = certificates.service_account_key().exists() && certificates.kubelet_client_key().exists();
        if !exist {
            certificates
                .make()
                .context("can't make the control plane's certificates")?;
        }
        Ok(certificates)
    }

    fn make(&self) -> Result<()> {
        let authority = CertifiedIssuer::self_signed(authority_params()?, KeyPair::generate()?)?;

        let service = SERVICE_ADDRESS.to_string();
        let names = [
            "127.0.0.1",
            "localhost",
            "kubernetes",
            "kubernetes.default.svc",
            &service,
        ]
        .map(str::to_owned);
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "127.0.0.1");
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &authority)?;

        let mut params = CertificateParams::new(Vec::new())?;
        params
            .distinguished_name
            .push(DnType::CommonName, "kube-apiserver-kubelet-client");
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let client_key = KeyPair::generate()?;
        let client = params.signed_by(&client_key, &authority)?;

        let service_accounts = KeyPair::generate()?;
        write_private(&self.authority(), &authority.as_ref().pem())?;
        write_private(&self.authority_key(), &authority.key().serialize_pem())?;
        write_private(&self.kubelet_client_certificate(), &client.pem())?;
        write_private(&self.kubelet_client_key(), &client_key.serialize_pem())?;
        write_private(&self.serving_certificate(), &certificate.pem())?;
        write_private(&self.serving_key(), &key.serialize_pem())?;
        write_private(
            &self.service_account_public_key(),
            &service_accounts.public_key_pem(),
        )?;
        write_private(&self.service_account_key(), &service_accounts.serialize_pem())
    }

    /// Makes the certificate of the kubelet at `address`. A cluster that is started again may have another address.
    pub(crate) fn make_kubelets(&self, address: Ipv4Addr) -> Result<()> {
        let path = self.authority_key();
        let key = fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))?;
        let authority = Issuer::new(authority_params()?, KeyPair::from_pem(&key)?);
        let mut params = CertificateParams::new(vec![address.to_string()])?;
        params.distinguished_name.push(DnType::CommonName, "kubelet");
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &authority)?;
        write_private(&self.kubelet_certificate(), &certificate.pem())?;
        write_private(&self.kubelet_key(), &key.serialize_pem())
    }

    /// The authority's certificate, PEM.
    pub(crate) fn authority_pem(&self) -> Result<String> {
        let path = self.authority();
        fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))
    }

    pub(crate) fn authority(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    pub(crate) fn authority_key(&self) -> PathBuf {
        self.dir.join("ca.key")
    }

    /// The certificate of a real node's kubelet.
    pub(crate) fn kubelet_certificate(&self) -> PathBuf {
        self.dir.join("kubelet.crt")
    }

    pub(crate) fn kubelet_key(&self) -> PathBuf {
        self.dir.join("kubelet.key")
    }

    /// The API server's certificate as a client of the kubelet.
    pub(crate) fn kubelet_client_certificate(&self) -> PathBuf {
        self.dir.join("kubelet-client.crt")
    }

    pub(crate) fn kubelet_client_key(&self) -> PathBuf {
        self.dir.join("kubelet-client.key")
    }

    pub(crate) fn serving_certificate(&self) -> PathBuf {
        self.dir.join("serving.crt")
    }

    pub(crate) fn serving_key(&self) -> PathBuf {
        self.dir.join("serving.key")
    }

    pub(crate) fn service_account_key(&self) -> PathBuf {
        self.dir.join("service-accounts.key")
    }

    pub(crate) fn service_account_public_key(&self) -> PathBuf {
        self.dir.join("service-accounts.pub")
    }
}

/// What the authority's certificate says, besides its key.
fn authority_params() -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params
        .distinguished_name
        .push(DnType::CommonName, "privatekube-cluster");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}
