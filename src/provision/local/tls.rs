//! A TLS front before a server of this process, for clients that insist on TLS: a certificate of this run for `localhost`,
//! and every connection handed on in the clear.
//!
//! It owns its port and its certificate, and ends when it is dropped. Not here: what is spoken through it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use ed25519_dalek::pkcs8::EncodePrivateKey as _;
use ed25519_dalek::{Signer as _, SigningKey};
use rcgen::{CertificateParams, KeyIdMethod, PKCS_ED25519, SerialNumber, SignatureAlgorithm};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::error::{Doing, Error, Result};
use crate::service::Tls;

const HOST: &str = "localhost";
/// How long to wait when no more connections can be accepted, before trying again.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

/// A front that answers.
#[derive(Debug)]
pub struct TlsFront {
    /// How it is reached.
    pub tls: Tls,
    serving: JoinHandle<()>,
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl TlsFront {
    /// Starts one on a free port of 127.0.0.1 before whatever answers at `port` there, also when that changes.
    pub async fn start(port: Arc<AtomicU16>) -> Result<Self> {
        let (config, certificate) = identity()?;
        let listener = TcpListener::bind(("127.0.0.1", 0));
        let listener = listener.await.doing("listen on 127.0.0.1")?;
        let tls = Tls {
            host: HOST,
            port: listener.local_addr().doing("ask for the port")?.port(),
            certificate,
        };
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let serving = tokio::spawn(serve(listener, acceptor, port));
        Ok(Self { tls, serving })
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, port: Arc<AtomicU16>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(hand_on(stream, acceptor.clone(), port.clone()));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
}

/// A connection that breaks is its client's to notice.
async fn hand_on(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    port: Arc<AtomicU16>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut sealed = acceptor.accept(stream).await?;
    let mut plain = TcpStream::connect(("127.0.0.1", port.load(Ordering::Relaxed))).await?;
    plain.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut sealed, &mut plain).await?;
    Ok(())
}

/// A new key with a certificate that it signed itself, and that certificate in PEM.
fn identity() -> Result<(ServerConfig, String)> {
    let wrong = |error: &dyn std::fmt::Display| {
        Error::defect(format!("no certificate can be made for TLS: {error}"))
    };
    let key = Key::new();
    let mut params = CertificateParams::new([HOST.to_owned()]).map_err(|error| wrong(&error))?;
    params.serial_number = Some(SerialNumber::from(rand::random::<[u8; 16]>().to_vec()));
    params.key_identifier_method = KeyIdMethod::PreSpecified(key.public.to_vec());
    let certificate = params.self_signed(&key).map_err(|error| wrong(&error))?;
    let private = key.private.to_pkcs8_der().map_err(|error| wrong(&error))?;
    let private = PrivatePkcs8KeyDer::from(private.as_bytes().to_vec());
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&error))?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::from(private),
        )
        .map_err(|error| wrong(&error))?;
    Ok((config, certificate.pem()))
}

struct Key {
    private: SigningKey,
    public: [u8; 32],
}

impl Key {
    fn new() -> Self {
        let private = SigningKey::from_bytes(&rand::random());
        let public = private.verifying_key().to_bytes();
        Self { private, public }
    }
}

impl rcgen::PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.private.sign(message).to_bytes().to_vec())
    }
}
