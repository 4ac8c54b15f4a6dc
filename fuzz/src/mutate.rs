//! Mutations that are the same each time: what libFuzzer does without coverage.

/// A small generator of numbers (SplitMix64); its whole sequence follows from the seed.
pub struct Numbers(u64);

impl Numbers {
    /// The sequence of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next_number() % end as u64).expect("below a usize")
    }
}

/// Pieces that parsers trip over.
const PIECES: &[&[u8]] = &[
    b"\0",
    b"\r\n",
    b"\n\n",
    b"\xff",
    b"\xe2\x80\x94 ",
    b"\xe2\x80\xae",
    b"\xef\xbb\xbf",
    b"\"",
    b"\\u0000",
    b"\\",
    b"-1",
    b"0",
    b"18446744073709551616",
    b"1e400",
    b"null",
    b"[[",
    b"]]",
    b"{",
    b"}",
    b"\x9f",
    b"\xbf",
    b"\x5f",
    b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
];

/// A few changes of one of the seeds, sometimes crossed with another.
///
/// # Panics
/// Without seeds.
#[must_use]
pub fn mutate(numbers: &mut Numbers, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[numbers.below(seeds.len())].clone();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(bytes.len() + 1);
        let end = at + numbers.below((bytes.len() - at).min(16) + 1);
        match numbers.below(8) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => drop(bytes.splice(at..end, PIECES[numbers.below(PIECES.len())].iter().copied())),
            3 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            4 => {
                let other = &seeds[numbers.below(seeds.len())];
                let from = numbers.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            5 | 6 if at < bytes.len() => bytes[at] ^= 1 << numbers.below(8),
            _ if at < bytes.len() => bytes[at] = numbers.next_number().to_le_bytes()[0],
            _ => {}
        }
    }
    bytes
}
