//! One source of chance, so that a seed says all.

/// `SplitMix64`: small, quick, and the same on every machine.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The numbers of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `end`, which it never is. 0 if `end` is.
    pub fn below(&mut self, end: usize) -> usize {
        let number = self.number().checked_rem(end as u64).unwrap_or(0);
        usize::try_from(number).unwrap_or(0)
    }

    /// As [`below`](Self::below), of a few.
    pub fn few(&mut self, end: u8) -> u8 {
        u8::try_from(self.below(usize::from(end))).unwrap_or(0)
    }

    /// Whether something happens that happens so many times in a hundred.
    pub fn in_hundred(&mut self, times: usize) -> bool {
        self.below(100) < times
    }

    /// One of these; none of none.
    pub fn one_of<T: Copy>(&mut self, these: &[T]) -> Option<T> {
        these.get(self.below(these.len())).copied()
    }
}
