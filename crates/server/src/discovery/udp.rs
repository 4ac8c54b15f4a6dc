//! The sockets of UDP 1588: bytes in, the responder's decision, bytes out. Nothing here decides, and nothing here waits for the driver.

use std::{
    collections::BTreeMap,
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use rustix::net::sockopt;
use tokio::{io::Interest, net::UdpSocket, sync::watch, time::Instant};
use triquest_wire::{
    identity::{GROUP_IPV4, GROUP_IPV6, IdentityReply},
    limits::IDENTITY_BYTES,
};

use super::{
    links::Link,
    responder::{Asked, Decision, Responder, Silence},
};
use crate::http::App;

/// Datagrams that one call to the kernel brings.
const BATCH: usize = 4;
/// The largest that a datagram, or a run of them that the kernel joined, can be. With less, a long one would be cut and could look like a question.
const DATAGRAM_BYTES_MAX: usize = 65_536;

/// One socket and what it answers.
pub(super) struct Answering {
    pub(super) app: Arc<App>,
    pub(super) responder: Arc<Mutex<Responder>>,
    pub(super) socket: Arc<UdpSocket>,
    state: UdpSocketState,
    local: SocketAddr,
}

/// An answer whose time has not come.
struct Delayed {
    nonce: [u8; 32],
    to: SocketAddr,
    from: Option<IpAddr>,
}

impl Answering {
    /// Takes a socket that is bound.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn new(app: &Arc<App>, responder: &Arc<Mutex<Responder>>, socket: std::net::UdpSocket) -> io::Result<Self> {
        let local = socket.local_addr()?;
        let socket = UdpSocket::from_std(socket)?;
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self { app: Arc::clone(app), responder: Arc::clone(responder), socket: Arc::new(socket), state, local })
    }

    /// Answers until the server stops.
    pub(super) async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut buffers: [Box<[u8]>; BATCH] = std::array::from_fn(|_| vec![0; DATAGRAM_BYTES_MAX].into_boxed_slice());
        let mut metas = [RecvMeta::default(); BATCH];
        // In the order in which they are due; the number tells those of one moment apart. The responder bounds how many there are.
        let mut delayed: BTreeMap<(Instant, u64), Delayed> = BTreeMap::new();
        let mut number = 0;
        loop {
            let due = delayed.first_key_value().map(|((due, _), _)| *due);
            let mut slices = buffers.each_mut().map(|buffer| IoSliceMut::new(buffer));
            let receive = self.socket.async_io(Interest::READABLE, || self.state.recv((&*self.socket).into(), &mut slices, &mut metas));
            let received = tokio::select! {
                _ = stop.changed() => return,
                () = until(due) => Ok(0),
                received = receive => received,
            };
            let count = match received {
                Ok(count) => count,
                Err(cause) => {
                    tracing::debug!(%cause, "cannot receive over UDP");
                    // Out of memory, most likely: trying at once would spin.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            for (buffer, meta) in buffers.iter().zip(&metas).take(count) {
                let asked = Asked { source: meta.addr, destination: meta.dst_ip, interface: meta.interface_index, port: self.local.port() };
                // The kernel may join datagrams of one sender; all but the last have the stride's length.
                for datagram in buffer[..meta.len.min(buffer.len())].chunks(meta.stride.max(1)) {
                    let Some((after_ms, answer)) = self.decide(asked, datagram) else { continue };
                    if after_ms == 0 {
                        self.answer(&answer);
                    } else {
                        number += 1;
                        delayed.insert((Instant::now() + Duration::from_millis(after_ms), number), answer);
                    }
                }
            }
            let now = Instant::now();
            while let Some(entry) = delayed.first_entry().filter(|entry| entry.key().0 <= now) {
                self.answer(&entry.remove());
            }
            // A flood takes turns with everything else.
            tokio::task::yield_now().await;
        }
    }

    fn decide(&self, asked: Asked, datagram: &[u8]) -> Option<(u64, Delayed)> {
        match self.responder.lock().decide(self.app.boot_ms(), asked, datagram) {
            Decision::Answer { nonce, after_ms, from } => Some((after_ms, Delayed { nonce, to: asked.source, from })),
            Decision::Silence(Silence::NoQuestion) => None,
            Decision::Silence(why) => {
                tracing::trace!(source = %asked.source, ?why, "a question over UDP stays unanswered");
                None
            }
        }
    }

    fn answer(&self, answer: &Delayed) {
        let app = &self.app;
        let [i0, i1, i2, i3, i4, i5, i6, i7, ..] = app.instance;
        let reply = IdentityReply {
            nonce: answer.nonce,
            server_key: app.server_key,
            tls_spki: app.certificate.served().spki(),
            instance: [i0, i1, i2, i3, i4, i5, i6, i7],
            tcp_port: self.local.port(),
            asker: answer.to,
            answerer: answer.from,
            name: app.live.load().machine.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let bytes = reply.encode(&app.signing_key);
        assert!(bytes.len() <= IDENTITY_BYTES, "an answer is never longer than its question");
        let transmit = Transmit { destination: answer.to, ecn: None, contents: &bytes, segment_size: None, src_ip: answer.from };
        // A full buffer or a way that is gone loses the answer, as UDP may; who asks asks again.
        let sent = self.socket.try_io(Interest::WRITABLE, || self.state.try_send((&*self.socket).into(), &transmit));
        if let Err(cause) = sent {
            tracing::debug!(to = %answer.to, %cause, "an answer over UDP could not be sent");
        }
    }
}

/// Joins the groups on every interface that counts, if the socket is for all addresses (another would not hear them). Again is harmless.
pub(super) fn join_groups(socket: &UdpSocket, links: &[Link]) {
    let Ok(local) = socket.local_addr() else { return };
    if !local.ip().is_unspecified() {
        return;
    }
    for link in links.iter().filter(|link| link.allowed) {
        let joined = match link.address {
            IpAddr::V4(_) => sockopt::set_ip_add_membership_with_ifindex(socket, &GROUP_IPV4, &std::net::Ipv4Addr::UNSPECIFIED, link.index),
            IpAddr::V6(_) if local.is_ipv6() => sockopt::set_ipv6_add_membership(socket, &GROUP_IPV6, link.index),
            IpAddr::V6(_) => continue,
        };
        match joined {
            Ok(()) => tracing::debug!(interface = link.name, "listens for questions to the group"),
            Err(rustix::io::Errno::ADDRINUSE) => {}
            Err(cause) => tracing::debug!(interface = link.name, %cause, "cannot listen for questions to the group"),
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
