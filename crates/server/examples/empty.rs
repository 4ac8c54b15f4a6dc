//! The floor of the benchmarks: the same hyper and rustls stack, with the same TLS settings and limits on headers, answering every request
//! with an empty 200. `empty ADDRESS:PORT` prints the address that it serves; `empty ADDRESS:PORT THREADS` sets the number of threads.

use std::{convert::Infallible, sync::Arc};

use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio_rustls::TlsAcceptor;
use triquest_server::{
    Config,
    identity::{self, Certificate},
    sys,
};
use triquest_wire::limits::{HEADERS_BYTES_MAX, HEADERS_MAX, STREAMS_MAX};

async fn answer(request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    // As every handler, it reads what was sent.
    let _ = request.into_body().collect().await;
    Ok(Response::new(Empty::new()))
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:0".to_owned()).parse()?;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = arguments.next() {
        builder.worker_threads(threads.parse()?);
    }
    builder.enable_all().build()?.block_on(serve(address))
}

async fn serve(address: std::net::SocketAddr) -> anyhow::Result<()> {
    let dir = std::env::temp_dir().join(format!("triquest-empty-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let certificate = Certificate::load(&Config { data: Some(dir.clone()), ..Config::default() });
    std::fs::remove_dir_all(&dir)?;
    let tls = TlsAcceptor::from(Arc::new(identity::tls_config(Arc::new(certificate?))));
    let listener = tokio::net::TcpListener::from_std(sys::listen(address, false)?)?;
    println!("{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let tls = tls.clone();
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let Ok(stream) = tls.accept(stream).await else { return };
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let service = hyper::service::service_fn(answer);
            if http2 {
                let builder = &mut hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _ = builder
                    .timer(TokioTimer::new())
                    .max_concurrent_streams(STREAMS_MAX)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            } else {
                let builder = &mut hyper::server::conn::http1::Builder::new();
                builder.timer(TokioTimer::new()).header_read_timeout(None).max_headers(HEADERS_MAX).max_buf_size(HEADERS_BYTES_MAX);
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            }
        });
    }
}
