//! Work of which so much is done at once, in turn: by wider network, and within it by network, so that one party with many networks has one turn.

use std::{pin::Pin, sync::Arc, task::Poll};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use triquest_allocator::{Network, WideNetwork};
use triquest_engine::fair::Turns;

/// Those who work and those who wait for it.
pub struct InTurn(Mutex<AtOnce>);

struct AtOnce {
    /// How many more can work now.
    free: usize,
    /// Of those without a network, all are one party.
    waiting: Turns<Option<WideNetwork>, Option<Network>, oneshot::Sender<Turn>>,
}

/// The right to work, until it falls.
pub struct Turn(Option<Arc<InTurn>>);

impl std::fmt::Debug for InTurn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InTurn(..)")
    }
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Turn(..)")
    }
}

impl InTurn {
    /// So many at once, at least 1.
    #[must_use]
    pub fn new(at_once: usize) -> Self {
        Self(Mutex::new(AtOnce { free: at_once.max(1), waiting: Turns::new(1) }))
    }

    /// Waits for the turn of a network; none if there is none any more.
    pub async fn turn(self: &Arc<Self>, network: Option<Network>) -> Option<Turn> {
        let mine = {
            let mut at_once = self.0.lock();
            if at_once.free > 0 {
                at_once.free -= 1;
                return Some(Turn(Some(Arc::clone(self))));
            }
            let (sender, mine) = oneshot::channel();
            at_once.waiting.push(network.map(Network::wide), network, sender);
            mine
        };
        mine.await.ok()
    }
}

impl Turn {
    /// Works in a thread of its own. The turn is the work's: it ends with it, also if whoever asked for it has gone meanwhile. None if the work panicked.
    pub async fn work<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let done = tokio::task::spawn_blocking(move || {
            let turn = self;
            let done = work();
            drop(turn);
            done
        });
        done.await.ok()
    }

    /// Work that waits for a peer now and then: this is the turn of its first step, and each further one waits for another turn of the network. None if
    /// there are no turns any more.
    pub async fn steps<F: Future>(self, network: Option<Network>, mut work: Pin<&mut F>) -> Option<F::Output> {
        let all = Arc::clone(self.0.as_ref()?);
        let mut turn = self;
        loop {
            let step = std::future::poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await;
            drop(turn);
            if let Poll::Ready(done) = step {
                return Some(done);
            }
            woken().await;
            turn = all.turn(network).await?;
        }
    }
}

/// Waits until this task is polled again: then what it was last waiting for may have come.
async fn woken() {
    let mut waited = false;
    std::future::poll_fn(|_| if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(all) = self.0.take() else { return };
        let mut at_once = all.0.lock();
        while let Some((_, _, next)) = at_once.waiting.pop() {
            match next.send(Turn(Some(Arc::clone(&all)))) {
                Ok(()) => return,
                // It has gone meanwhile: its turn is the next one's, and must not be given back here, where the lock is held.
                Err(mut unwanted) => unwanted.0 = None,
            }
        }
        at_once.free += 1;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::IpAddr;

    use super::*;

    fn network(wide: u8, host: u8) -> Option<Network> {
        Some(Network::from(IpAddr::from([10, 0, wide, host])))
    }

    async fn waits(mut turn: Pin<&mut impl Future>) {
        std::future::poll_fn(|cx| {
            assert!(turn.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
    }

    #[tokio::test]
    async fn a_turn_that_nobody_waits_for_any_more_goes_to_the_next() {
        let all = Arc::new(InTurn::new(1));
        let turn = all.turn(network(1, 1)).await.unwrap();
        let mut gone = Box::pin(all.turn(network(2, 1)));
        let mut stays = Box::pin(all.turn(network(3, 1)));
        waits(gone.as_mut()).await;
        waits(stays.as_mut()).await;
        drop(gone);
        drop(turn);
        drop(stays.await.unwrap());
        assert_eq!(all.0.lock().free, 1);
    }

    #[tokio::test]
    async fn a_turn_lasts_as_long_as_its_work_also_if_nobody_waits_for_that_any_more() {
        let all = Arc::new(InTurn::new(1));
        let (end, ends) = std::sync::mpsc::channel::<()>();
        let turn = all.turn(network(1, 1)).await.unwrap();
        let mut work = Box::pin(turn.work(move || ends.recv()));
        waits(work.as_mut()).await;
        let mut next = Box::pin(all.turn(network(2, 1)));
        waits(next.as_mut()).await;
        // Whoever asked hangs up.
        drop(work);
        waits(next.as_mut()).await;
        end.send(()).unwrap();
        drop(next.await.unwrap());
    }

    #[tokio::test]
    async fn every_step_of_work_that_waits_for_its_peer_is_made_in_a_turn_and_none_is_kept_between_them() {
        let all = Arc::new(InTurn::new(1));
        let (said, hears) = oneshot::channel::<()>();
        let seen = Arc::clone(&all);
        let mut hears = std::pin::pin!(hears);
        let mut steps = 0;
        let mut work = std::pin::pin!(std::future::poll_fn(|cx| {
            steps += 1;
            assert_eq!(seen.0.lock().free, 0, "a step without a turn");
            hears.as_mut().poll(cx)
        }));
        let turn = all.turn(network(1, 1)).await.unwrap();
        let mut worker = Box::pin(turn.steps(network(1, 1), work.as_mut()));
        waits(worker.as_mut()).await;
        // While its peer says nothing, it is others' turn; and when it does, theirs has to end first.
        let other = all.turn(network(2, 1)).await.unwrap();
        said.send(()).unwrap();
        waits(worker.as_mut()).await;
        drop(other);
        assert_eq!(worker.await, Some(Ok(())));
        assert_eq!((steps, all.0.lock().free), (2, 1));
    }

    #[tokio::test]
    async fn many_networks_of_one_wider_network_have_one_turn() {
        let all = Arc::new(InTurn::new(1));
        let turn = all.turn(network(1, 0)).await.unwrap();
        let mut hostile = Vec::new();
        for host in 1..=200 {
            let mut waiting = Box::pin(all.turn(network(1, host)));
            waits(waiting.as_mut()).await;
            hostile.push(waiting);
        }
        let mut honest = Box::pin(all.turn(network(2, 1)));
        waits(honest.as_mut()).await;
        drop(turn);
        drop(hostile.remove(0).await.unwrap());
        drop(honest.await.unwrap());
    }
}
