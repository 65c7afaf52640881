//! How often an address may send a token that nobody has.
//!
//! Tokens of `andon token new` cannot be guessed; those that a person made up can. So each address has an
//! allowance of unknown tokens. Once it is used up, its unknown tokens are answered 429, and so are good
//! ones that did not come from there before: whoever guesses does not learn that a guess was right. What has
//! been let in from there stays let in, since behind a proxy or a NAT one address is many people's, and
//! nobody may keep others from pulling the cord. Loopback is an address like any other: behind a proxy on
//! the same computer everybody comes from there.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How many unknown tokens an address may send at once.
const AT_ONCE: u32 = 20;

/// After which time it may send one more.
const ONE_MORE_AFTER: Duration = Duration::from_secs(6);

/// How many addresses are remembered. A table without end would be a weakness of its own.
const ADDRESSES_MAX: usize = 4096;

/// How many of its last unknown tokens an address is known by: the same one again is no new guess, such as
/// that of a page that is still open after its token has been taken away.
const WRONG_KEPT: usize = 8;

/// The address that a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Peer(IpAddr);

impl Peer {
    /// Who speaks from this address. A host has a whole /64 of IPv6, and is one all the same.
    pub(crate) fn at(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.into()),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
            }
        }
    }

    /// Whoever it is: all that is not known is one.
    pub(crate) const UNKNOWN: Self = Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
}

/// Too many unknown tokens came from an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany {
    /// After how many seconds it may try again.
    pub(crate) retry_after: u64,
}

/// What addresses have sent.
#[derive(Debug, Default)]
pub(super) struct Guesses(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    guessing: HashMap<Peer, Guessing>,
    /// Which token was let in from where.
    let_in: HashSet<(Peer, usize)>,
}

#[derive(Debug)]
struct Guessing {
    /// When its allowance is whole again: each guess moves it by [`ONE_MORE_AFTER`].
    whole_at: Instant,
    wrong: VecDeque<[u8; 32]>,
}

impl Guesses {
    /// A good token, by its place among them.
    pub(super) fn right(&self, peer: Peer, token: usize, now: Instant) -> Result<(), TooMany> {
        let mut table = self.table();
        if table.let_in.contains(&(peer, token)) {
            return Ok(());
        }
        if let Some(guessing) = table.guessing.get(&peer) {
            guessing.has_one_more(now)?;
        }
        if table.let_in.len() >= ADDRESSES_MAX {
            table.let_in.clear();
        }
        table.let_in.insert((peer, token));
        Ok(())
    }

    /// A token that nobody has, by its digest.
    pub(super) fn wrong(&self, peer: Peer, digest: [u8; 32], now: Instant) -> Result<(), TooMany> {
        let mut table = self.table();
        table.make_room(peer, now);
        let guessing = table.guessing.entry(peer).or_insert_with(|| Guessing {
            whole_at: now,
            wrong: VecDeque::new(),
        });
        if guessing.wrong.contains(&digest) {
            return Ok(());
        }
        guessing.has_one_more(now)?;
        guessing.whole_at = guessing.whole_at.max(now) + ONE_MORE_AFTER;
        if guessing.wrong.len() == WRONG_KEPT {
            guessing.wrong.pop_front();
        }
        guessing.wrong.push_back(digest);
        if guessing.has_one_more(now).is_err() {
            tracing::warn!(address = %peer.0, "too many unknown tokens came from one address");
        }
        Ok(())
    }

    /// A panic while it was held has left a table as good as any.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guessing {
    fn has_one_more(&self, now: Instant) -> Result<(), TooMany> {
        let used = self.whole_at.saturating_duration_since(now);
        let most = ONE_MORE_AFTER * (AT_ONCE - 1);
        match used.checked_sub(most) {
            None | Some(Duration::ZERO) => Ok(()),
            Some(wait) => Err(TooMany {
                retry_after: wait.as_secs() + 1,
            }),
        }
    }
}

impl Table {
    /// Forgets those whose allowance is whole, or else the one that has used the least of it.
    fn make_room(&mut self, peer: Peer, now: Instant) {
        if self.guessing.len() < ADDRESSES_MAX || self.guessing.contains_key(&peer) {
            return;
        }
        self.guessing.retain(|_, guessing| guessing.whole_at > now);
        if self.guessing.len() < ADDRESSES_MAX {
            return;
        }
        let least = self
            .guessing
            .iter()
            .min_by_key(|(_, guessing)| guessing.whole_at);
        if let Some(least) = least.map(|(peer, _)| *peer) {
            self.guessing.remove(&least);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u32) -> Peer {
        Peer::at(Ipv4Addr::from(number).into())
    }

    fn guess(number: u32) -> [u8; 32] {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&number.to_be_bytes());
        digest
    }

    #[test]
    fn an_address_has_so_many_guesses_and_gets_one_more_after_a_while() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        for number in 0..AT_ONCE {
            assert_eq!(guesses.wrong(peer(1), guess(number), now), Ok(()));
        }
        let refused = guesses.wrong(peer(1), guess(AT_ONCE), now).unwrap_err();
        assert!(refused.retry_after <= ONE_MORE_AFTER.as_secs() + 1);
        let another = guesses.wrong(peer(2), guess(AT_ONCE), now);
        assert_eq!(another, Ok(()));
        let later = now + ONE_MORE_AFTER;
        assert_eq!(guesses.wrong(peer(1), guess(AT_ONCE), later), Ok(()));
        let refused = guesses.wrong(peer(1), guess(AT_ONCE + 1), later);
        assert!(refused.is_err());
    }

    #[test]
    fn the_same_wrong_token_again_is_no_new_guess() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        for _ in 0..10 * AT_ONCE {
            assert_eq!(guesses.wrong(peer(1), guess(7), now), Ok(()));
        }
        assert_eq!(guesses.wrong(peer(1), guess(8), now), Ok(()));
    }

    #[test]
    fn a_guess_that_is_right_is_not_told_and_who_was_let_in_before_is_not_locked_out() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        assert_eq!(guesses.right(peer(1), 0, now), Ok(()));
        for number in 0..AT_ONCE {
            guesses.wrong(peer(1), guess(number), now).unwrap();
        }
        assert!(guesses.right(peer(1), 1, now).is_err());
        assert_eq!(guesses.right(peer(1), 0, now), Ok(()));
        assert_eq!(guesses.right(peer(2), 1, now), Ok(()));
    }

    #[test]
    fn the_table_has_an_end() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        for number in 0..2 * u32::try_from(ADDRESSES_MAX).unwrap() {
            guesses.wrong(peer(number), guess(number), now).unwrap();
            guesses.right(peer(number), 0, now).unwrap();
        }
        let table = guesses.table();
        assert!(table.guessing.len() <= ADDRESSES_MAX);
        assert!(table.let_in.len() <= ADDRESSES_MAX);
    }

    #[test]
    fn one_host_is_one_address_however_it_is_written() {
        let at = |text: &str| Peer::at(text.parse().unwrap());
        assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.1"));
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
    }
}
