//! The Merkle tree over all lines (RFC 6962 section 2.1, RFC 9162 section 2.1), grown leaf by leaf.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use std::fmt;

/// A SHA-256 value in the tree. Text is base64.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TreeHash([u8; 32]);

/// A tree of which only the peaks are kept: the roots of its complete subtrees, largest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    peaks: Vec<TreeHash>,
}

/// A text that is not the base64 of 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the base64 of a SHA-256 value")]
pub struct InvalidHash;

impl TreeHash {
    /// The leaf of one line, which is given without its line feed: `SHA-256(0x00 || line)`.
    #[must_use]
    pub fn of_leaf(line: &[u8]) -> Self {
        Self(Sha256::new().chain_update([0]).chain_update(line).finalize().into())
    }

    /// The node over two others: `SHA-256(0x01 || left || right)`.
    #[must_use]
    pub fn of_node(left: &Self, right: &Self) -> Self {
        Self(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
    }

    /// The root of the tree without leaves.
    #[must_use]
    pub fn of_nothing() -> Self {
        Self(Sha256::digest(b"").into())
    }

    /// The first eight bytes, by which a line names the one before it.
    #[must_use]
    pub fn link(&self) -> [u8; 8] {
        let mut link = [0; 8];
        link.copy_from_slice(&self.0[..8]);
        link
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::str::FromStr for TreeHash {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        let bytes = STANDARD.decode(text).map_err(|_| InvalidHash)?;
        bytes.try_into().map(Self).map_err(|_| InvalidHash)
    }
}

impl fmt::Display for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Frontier {
    /// The tree of that size with those peaks; `None` when so many peaks do not fit the size.
    #[must_use]
    pub fn restore(size: u64, peaks: Vec<TreeHash>) -> Option<Self> {
        (u64::from(size.count_ones()) == peaks.len() as u64).then_some(Self { size, peaks })
    }

    /// How many leaves there are.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the complete subtrees, largest first.
    #[must_use]
    pub fn peaks(&self) -> &[TreeHash] {
        &self.peaks
    }

    /// Adds a leaf.
    pub fn append(&mut self, leaf: TreeHash) {
        let mut node = leaf;
        // Every complete subtree at the end that is as large as the new one is joined with it.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                node = TreeHash::of_node(&left, &node);
            }
        }
        self.peaks.push(node);
        self.size += 1;
    }

    /// The root over all leaves.
    #[must_use]
    pub fn root(&self) -> TreeHash {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else { return TreeHash::of_nothing() };
        peaks.fold(*last, |right, left| TreeHash::of_node(left, &right))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 6962 section 2.1, word for word.
    pub(crate) fn by_definition(leaves: &[TreeHash]) -> TreeHash {
        match leaves {
            [] => TreeHash::of_nothing(),
            [leaf] => *leaf,
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                TreeHash::of_node(&by_definition(&leaves[..split]), &by_definition(&leaves[split..]))
            }
        }
    }

    pub(crate) fn leaves(count: usize) -> Vec<TreeHash> {
        (0..count).map(|number| TreeHash::of_leaf(number.to_string().as_bytes())).collect()
    }

    /// The roots of the reference implementation of Certificate Transparency (its `merkle_tree_test.cc`).
    #[test]
    fn roots_are_those_of_certificate_transparency() {
        let inputs =
            ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut tree = Frontier::default();
        assert_eq!(
            hex::encode(tree.root().as_bytes()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        for (input, root) in inputs.iter().zip(roots) {
            tree.append(TreeHash::of_leaf(&hex::decode(input).unwrap()));
            assert_eq!(hex::encode(tree.root().as_bytes()), root, "at size {}", tree.size());
        }
    }

    proptest! {
        #[test]
        fn the_root_is_that_of_the_definition(count in 0_usize..200) {
            let leaves = leaves(count);
            let mut tree = Frontier::default();
            leaves.iter().for_each(|leaf| tree.append(*leaf));
            prop_assert_eq!(tree.root(), by_definition(&leaves));
            let restored = Frontier::restore(tree.size(), tree.peaks().to_vec());
            prop_assert_eq!(restored, Some(tree));
        }
    }

    #[test]
    fn peaks_must_fit_the_size() {
        assert_eq!(Frontier::restore(3, leaves(3)), None);
        assert!(Frontier::restore(3, leaves(2)).is_some());
    }
}
