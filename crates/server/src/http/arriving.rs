//! The body of a request, counted as it is taken: whatever of it led to nothing is charged when the request is over, however it ends.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming, SizeHint};

use crate::{
    accept::Conn,
    gate::Gate,
    limits::{BODY_BYTES_FREE, HTTP2_STREAM_WINDOW_BYTES, REFUSED_RENEWAL_BYTES},
};

/// The body of a request that comes in. It is for nothing until it is said what it was good for: a path that is not known, a peer that breaks off, a body that
/// is too large and a handler that is dropped say nothing.
#[derive(Debug)]
pub(crate) struct Arriving {
    body: Incoming,
    gate: Arc<Gate>,
    conn: Arc<Conn>,
    /// Bytes that came.
    taken: usize,
    /// Bytes that will have been of use if the request is answered as it asks.
    hoped: usize,
    /// Bytes that were of use.
    useful: usize,
    /// What it costs at least, however few its bytes are.
    least: usize,
    charged_kib: u64,
    /// Parts of it that a rate refused.
    refusals: u64,
}

impl Arriving {
    pub(crate) fn new(body: Incoming, gate: &Arc<Gate>, conn: &Arc<Conn>) -> Self {
        Self { body, gate: Arc::clone(gate), conn: Arc::clone(conn), taken: 0, hoped: 0, useful: 0, least: 0, charged_kib: 0, refusals: 0 }
    }

    /// All of it was read. White space between its words is of no use to anybody.
    pub(crate) fn was_read(&mut self, bytes: &[u8]) {
        let is_space = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        let spaces = if bytes.len() > BODY_BYTES_FREE { bytes.iter().filter(is_space).count() } else { 0 };
        self.hoped = bytes.len() - spaces;
    }

    /// Of so many parts of it, these were refused.
    pub(crate) fn refused_parts(&mut self, refused: usize, parts: usize) {
        self.hoped = self.hoped / parts.max(1) * parts.saturating_sub(refused);
        self.least = refused.saturating_mul(REFUSED_RENEWAL_BYTES);
    }

    /// It is answered, and led to nothing.
    pub(crate) fn led_to_nothing(&mut self) {
        self.hoped = 0;
    }

    /// The request is answered as it asked.
    pub(crate) fn was_answered(&mut self) {
        self.useful = self.hoped;
    }

    /// A rate refused so many parts of it.
    pub(crate) fn refused_by_rate(&mut self, parts: u64) {
        self.refusals = parts;
    }

    /// How many parts of it a rate refused.
    pub(crate) fn refusals(&self) -> u64 {
        self.refusals
    }

    /// KiB that are to be charged and were not yet. What is small costs no more than its request.
    fn due_kib(&self, unread: usize) -> u64 {
        let nothing = (self.taken.saturating_sub(self.useful) + unread).max(self.least);
        if nothing <= BODY_BYTES_FREE { 0 } else { (nothing.div_ceil(1024) as u64).saturating_sub(self.charged_kib) }
    }

    /// Charges what came so far of what nobody reads; false if more of a body that is not small may not even be drained.
    pub(crate) fn may_be_drained(&mut self) -> bool {
        let due_kib = self.due_kib(0);
        let most = self.body.size_hint().upper().map(|left| left.saturating_add(self.taken as u64));
        if due_kib == 0 && most.is_some_and(|bytes| bytes <= BODY_BYTES_FREE as u64) {
            return true;
        }
        let may = self.gate.may_drain(self.conn.network(), due_kib);
        self.charged_kib += if may { due_kib } else { 0 };
        may
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let due_kib = self.due_kib(0);
        self.gate.read_for_nothing(self.conn.network(), due_kib);
        self.charged_kib += due_kib;
        if self.charged_kib > 0 {
            self.conn.sent_for_nothing();
        }
        if !self.conn.is_http1() && !self.body.is_end_stream() {
            // What came over HTTP/2 and was not asked for is drained unseen: at most a window.
            let left = self.body.size_hint().upper().unwrap_or(u64::MAX).min(HTTP2_STREAM_WINDOW_BYTES.into());
            let unread = usize::try_from(left).expect("a window is a number of memory");
            let due_kib = self.due_kib(unread);
            let _ = due_kib == 0 || self.gate.may_drain(self.conn.network(), due_kib);
        }
    }
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
            self.taken = self.taken.saturating_add(data.len());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
