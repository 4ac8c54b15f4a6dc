//! What no license server can undercut: an empty answer over the same stack, and a bare durable append.

use std::convert::Infallible;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Answers every request with an empty 200 until this process ends; prints its address first. Loopback only.
pub(crate) async fn serve_empty() -> anyhow::Result<()> {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(certified.cert.der().to_vec())], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service =
                service_fn(|_: Request<hyper::body::Incoming>| async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) });
            // A client that leaves is no fault of the floor.
            let _ =
                hyper_util::server::conn::auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Appends `bytes` and waits for the disk, again and again.
pub(crate) fn append(folder: &Path, bytes: usize, length: Duration) -> anyhow::Result<Histogram<u64>> {
    let file = tempfile::Builder::new().prefix("triquest-append-").tempfile_in(folder).context("no room for the floor's file")?;
    let mut file = OpenOptions::new().append(true).open(file.path())?;
    let block = vec![0x5a; bytes];
    let mut histogram = crate::report::histogram()?;
    let began = Instant::now();
    while began.elapsed() < length {
        let start = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        histogram.saturating_record(u64::try_from(start.elapsed().as_nanos())?);
    }
    Ok(histogram)
}
