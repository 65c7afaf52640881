//! The places for connections: how many there are, and how many of them one address may have.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::full::Full;
use crate::ops::guesses::Peer;

/// The places of one server.
pub(super) struct Places {
    free: Arc<Semaphore>,
    max: usize,
    of_address_max: usize,
    by_address: Arc<ByAddress>,
}

/// How many places each address has; one that has none is not in it, so that it does not grow.
#[derive(Default)]
struct ByAddress(Mutex<HashMap<Peer, usize>>);

/// The place of one connection, which is free again once this is dropped.
pub(super) struct Place {
    peer: Peer,
    by_address: Arc<ByAddress>,
    _one: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new(max: usize, of_address_max: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(max)),
            max,
            of_address_max,
            by_address: Arc::default(),
        }
    }

    /// A place for a connection from this address.
    pub(super) fn take(&self, peer: Peer) -> Result<Place, Full> {
        let one = Arc::clone(&self.free).try_acquire_owned();
        let one = one.map_err(|_| Full::Server)?;
        {
            let mut taken = self.by_address.lock();
            let of_address = taken.entry(peer).or_default();
            if *of_address >= self.of_address_max {
                return Err(Full::Address);
            }
            *of_address += 1;
        }
        Ok(Place {
            peer,
            by_address: Arc::clone(&self.by_address),
            _one: one,
        })
    }

    /// Waits until every connection has ended.
    pub(super) async fn all_free(&self) {
        let all = u32::try_from(self.max).unwrap_or(u32::MAX);
        let _never_closed = self.free.acquire_many(all).await;
    }
}

impl ByAddress {
    /// A panic while it was held has left it as good as any.
    fn lock(&self) -> MutexGuard<'_, HashMap<Peer, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.by_address.lock();
        if let Some(of_address) = taken.get_mut(&self.peer) {
            *of_address = of_address.saturating_sub(1);
            if *of_address == 0 {
                taken.remove(&self.peer);
            }
        }
    }
}
