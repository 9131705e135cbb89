//! When the certificates that the extender uses end. They are read once, at the start, like the certificates themselves: a
//! process that starts after they were renewed measures the new ones.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use prometheus::IntGaugeVec;
use rustls::pki_types::CertificateDer;
use tracing::warn;
use x509_parser::parse_x509_certificate;

use super::{CA_CERTIFICATE, SERVER_CERTIFICATE, certificates};
use crate::metrics::Declarations;

/// The files of certificates that the extender uses, and the values of the label `certificate` for them.
const MEASURED: [(&str, &str); 2] = [("authority", CA_CERTIFICATE), ("serving", SERVER_CERTIFICATE)];

/// The metric of when certificates end.
#[derive(Debug)]
pub struct CertificateMetrics {
    expiry: IntGaugeVec,
}

impl CertificateMetrics {
    /// Declares it.
    pub fn declare(declare: &mut Declarations) -> Result<Self, prometheus::Error> {
        declare.room("Certificates");
        Ok(Self {
            expiry: declare.gauge(
                "certificate_expiry_timestamp_seconds",
                "When a certificate that the extender read at its start ends, in seconds since 1970; if its file has several, \
                 when the first of them does.",
                &[(
                    "certificate",
                    "authority (which signed the scheduler's certificate, and which the API server trusts), serving (of the \
                     ports for the scheduler and for the webhooks)",
                )],
            )?,
        })
    }

    /// Measures the certificates in a directory. One that can't be read has no series and is logged: the servers that use it
    /// report an error if they can't, either.
    pub fn measure(&self, dir: &Path) {
        for (certificate, file) in MEASURED {
            let path = dir.join(file);
            match first_end(&path) {
                Ok(end) => self.expiry.with_label_values(&[certificate]).set(end),
                Err(error) => {
                    // It may never have been there.
                    let _ = self.expiry.remove_label_values(&[certificate]);
                    let error = format!("{error:#}");
                    warn!(file = %path.display(), error, "it can't be read when the certificate ends");
                }
            }
        }
    }
}

/// When the first of a file's certificates ends, in seconds since 1970.
fn first_end(path: &Path) -> Result<i64> {
    let certificates = certificates(path)?;
    let ends: Vec<i64> = certificates.iter().map(end).collect::<Result<_>>()?;
    ends.into_iter().min().context("the file has no certificate")
}

/// The last second at which a certificate is valid.
fn end(certificate: &CertificateDer<'_>) -> Result<i64> {
    let (_, parsed) =
        parse_x509_certificate(certificate).map_err(|error| anyhow!("parse a certificate: {error}"))?;
    Ok(parsed.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::KeyPair;

    use super::super::{CertificateRequest, params};
    use super::*;
    use crate::metrics::Metrics;

    /// A certificate that ends at the beginning of a year, as PEM text.
    fn ending_in(year: i32) -> String {
        let mut certificate = params("test", &[]).unwrap();
        certificate.not_after = rcgen::date_time_ymd(year, 1, 1);
        certificate
            .self_signed(&KeyPair::generate().unwrap())
            .unwrap()
            .pem()
    }

    /// The series of the metric.
    fn series(metrics: &Metrics) -> Vec<String> {
        let text = metrics.text().unwrap();
        let lines = text.lines().filter_map(|line| {
            let series = line.strip_prefix("privatekube_certificate_expiry_timestamp_seconds")?;
            Some(series.to_owned())
        });
        lines.collect()
    }

    #[test]
    fn certificates_in_use_say_when_they_end() {
        let dir = tempfile::tempdir().unwrap();
        let metrics = Metrics::new().unwrap();
        CertificateRequest::new(dir.path().to_owned()).generate().unwrap();
        metrics.certificates.measure(dir.path());
        assert_eq!(
            series(&metrics),
            [
                r#"{certificate="authority"} 2524608000"#,
                r#"{certificate="serving"} 2524608000"#
            ]
        );
        // Somebody's own certificate with what signed it, of which one ends earlier.
        let chain = ending_in(2031) + &ending_in(2030);
        fs::write(dir.path().join(SERVER_CERTIFICATE), chain).unwrap();
        metrics.certificates.measure(dir.path());
        assert_eq!(
            series(&metrics),
            [
                r#"{certificate="authority"} 2524608000"#,
                r#"{certificate="serving"} 1893456000"#
            ]
        );
    }

    #[test]
    fn a_certificate_that_cannot_be_read_has_no_end() {
        let dir = tempfile::tempdir().unwrap();
        let metrics = Metrics::new().unwrap();
        CertificateRequest::new(dir.path().to_owned()).generate().unwrap();
        metrics.certificates.measure(dir.path());
        fs::write(dir.path().join(SERVER_CERTIFICATE), "").unwrap();
        fs::remove_file(dir.path().join(CA_CERTIFICATE)).unwrap();
        metrics.certificates.measure(dir.path());
        assert_eq!(series(&metrics), [""; 0]);
    }
}
