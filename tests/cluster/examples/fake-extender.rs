//! A stand-in for PrivateKube's extender in this crate's own tests. It creates certificates and reports that
//! it is ready; it doesn't answer the scheduler.
#![forbid(unsafe_code)]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::{env, fs};

use anyhow::{Context as _, Result, bail};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let option = |name: &str| {
        let position = arguments.iter().position(|argument| argument == name);
        position
            .and_then(|position| arguments.get(position + 1))
            .with_context(|| format!("{name} is missing"))
    };
    match arguments.first().map(String::as_str) {
        Some("certificates") => certificates(Path::new(option("--out")?)),
        Some("serve") => {
            println!("fake extender started with {arguments:?}");
            if let Ok(text) = env::var("FAKE_EXTENDER_SAYS") {
                println!("{text}");
            }
            if arguments.iter().any(|argument| argument == "--fail") {
                eprintln!("told to fail");
                std::process::exit(4);
            }
            if !Path::new(option("--tls-dir")?).join("server.crt").exists() {
                bail!("there is no certificate");
            }
            serve(option("--health-address")?)
        }
        _ => bail!("unknown arguments: {arguments:?}"),
    }
}

fn serve(address: &str) -> Result<()> {
    let listener = TcpListener::bind(address).with_context(|| format!("can't listen at {address}"))?;
    for stream in listener.incoming() {
        let mut stream = stream?;
        // The request fits into one read; its content does not matter.
        let _ = stream.read(&mut [0; 1024])?;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")?;
    }
    Ok(())
}

fn certificates(out: &Path) -> Result<()> {
    fs::create_dir_all(out)?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    fs::write(out.join("ca.crt"), authority.as_ref().pem())?;
    for name in ["server", "scheduler"] {
        let key = KeyPair::generate()?;
        let names = vec![
            "127.0.0.1".to_owned(),
            "privatekube-extender.privatekube-system.svc".to_owned(),
        ];
        let certificate = CertificateParams::new(names)?.signed_by(&key, &authority)?;
        fs::write(out.join(format!("{name}.crt")), certificate.pem())?;
        fs::write(out.join(format!("{name}.key")), key.serialize_pem())?;
    }
    Ok(())
}
