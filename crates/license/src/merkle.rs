//! Merkle trees as RFC 6962 (section 2.1) hashes them: 0x00 before a leaf, 0x01 before a node, and no leaf
//! is ever duplicated to fill a level.
//!
//! A proof is *position*, *size* (the number of leaves) and *path* (the sibling hashes from the leaf up).
//! The size is needed because in a tree whose size is no power of two the position alone does not tell on which
//! levels a leaf has a sibling. A tree of one leaf has the leaf as its root and an empty path.

use crate::hash::sha256;

/// The hash of one leaf's bytes.
#[must_use]
pub fn leaf_hash(bytes: &[u8]) -> [u8; 32] {
    let mut input = Vec::with_capacity(bytes.len() + 1);
    input.push(0);
    input.extend_from_slice(bytes);
    sha256(&input)
}

fn node_hash(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let mut input = [1; 65];
    input[1..33].copy_from_slice(left);
    input[33..].copy_from_slice(right);
    sha256(&input)
}

/// The root over leaf hashes; of no leaves, SHA-256 of nothing, as RFC 6962 says.
#[must_use]
pub fn root(leaf_hashes: &[[u8; 32]]) -> [u8; 32] {
    if leaf_hashes.is_empty() {
        return sha256(b"");
    }
    let mut level = leaf_hashes.to_vec();
    while level.len() > 1 {
        level = next_level(&level);
    }
    level[0]
}

/// Pairs are hashed, a last one without a partner rises as it is: the same tree as RFC 6962's recursion.
fn next_level(level: &[[u8; 32]]) -> Vec<[u8; 32]> {
    level
        .chunks(2)
        .map(|pair| match pair {
            [left, right] => node_hash(left, right),
            [lone] => *lone,
            _ => unreachable!("chunks of two hold one or two"),
        })
        .collect()
}

/// The path of every leaf, in the order of the leaves: siblings from the bottom up.
#[must_use]
pub fn paths(leaf_hashes: &[[u8; 32]]) -> Vec<Vec<[u8; 32]>> {
    let mut paths = vec![Vec::new(); leaf_hashes.len()];
    let mut level = leaf_hashes.to_vec();
    let mut depth = 0;
    while level.len() > 1 {
        for (position, path) in paths.iter_mut().enumerate() {
            if let Some(sibling) = level.get((position >> depth) ^ 1) {
                path.push(*sibling);
            }
        }
        level = next_level(&level);
        depth += 1;
    }
    paths
}

/// Whether the leaf with this hash stands at `position` of the tree of `size` leaves with this root. A path
/// that is too long or too short, and a position outside the tree, are refused.
#[must_use]
pub fn verify_path(leaf_hash: &[u8; 32], position: u64, size: u64, path: &[[u8; 32]], root: &[u8; 32]) -> bool {
    if position >= size {
        return false;
    }
    let (mut position, mut last, mut hash) = (position, size - 1, *leaf_hash);
    let mut siblings = path.iter();
    while last > 0 {
        if position & 1 == 1 {
            let Some(sibling) = siblings.next() else { return false };
            hash = node_hash(sibling, &hash);
        } else if position < last {
            let Some(sibling) = siblings.next() else { return false };
            hash = node_hash(&hash, sibling);
        }
        position >>= 1;
        last >>= 1;
    }
    siblings.next().is_none() && hash == *root
}
