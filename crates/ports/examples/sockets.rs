//! Opens so many listening sockets (5,000 unless told) and says how long it takes to list them and their owners.
//!
//! `cargo run --release -p triquest-ports --example sockets -- 5000`

use std::{io, net::TcpListener, time::Instant};

use triquest_ports::sockets::{Ask, listening};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let count = std::env::args().nth(1).map_or(Ok(5_000), |count| count.parse())?;
    let sockets = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<io::Result<Vec<_>>>()?;
    let port = sockets.first().map(TcpListener::local_addr).transpose()?.map(|address| address.port());
    for (what, port) in [("all ports", None), ("one port", port)] {
        let started = Instant::now();
        let found = listening(port, Ask::default())?;
        let took = started.elapsed();
        let with_owner = found.sockets.iter().filter(|socket| !socket.processes().is_empty()).count();
        println!("{what}: {} sockets, {with_owner} with their owner, in {:.1} ms", found.sockets.len(), took.as_secs_f64() * 1_000.0);
    }
    Ok(())
}
