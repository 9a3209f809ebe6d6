//! Proofs that a line is in the tree, and that a tree is the beginning of another (RFC 6962 section 2.1, RFC 9162 sections
//! 2.1.3 and 2.1.4).
//!
//! A proof is made in one pass over all leaves: [`ProofBuilder`] knows beforehand which subtrees the proof consists of, and
//! keeps one frontier for each. The checks are those of RFC 9162 and share nothing with the making.

use crate::tree::{Frontier, TreeHash};
use std::ops::Range;

/// Makes a proof from the leaves, given in order.
pub(crate) struct ProofBuilder {
    /// The subtrees, in the order of the leaves, with the place of each in the proof.
    subtrees: Vec<(Range<u64>, usize, Frontier)>,
    next: u64,
}

impl ProofBuilder {
    /// A proof that leaf `index` is in the tree of the first `size` leaves; `None` when it is not.
    pub(crate) fn inclusion(index: u64, size: u64) -> Option<Self> {
        let mut ranges = Vec::new();
        (index < size).then(|| inclusion_ranges(index, 0..size, &mut ranges))?;
        Some(Self::of(ranges))
    }

    /// A proof that the tree of the first `old` leaves is the beginning of that of the first `new`; `None` when `old` is
    /// larger. Nothing has to be proven when one of them is empty or both are equal.
    pub(crate) fn consistency(old: u64, new: u64) -> Option<Self> {
        if old > new {
            return None;
        }
        let mut ranges = Vec::new();
        if old > 0 && old < new {
            consistency_ranges(old, 0..new, true, &mut ranges);
        }
        Some(Self::of(ranges))
    }

    fn of(ranges: Vec<Range<u64>>) -> Self {
        let mut subtrees: Vec<_> =
            ranges.into_iter().enumerate().map(|(place, range)| (range, place, Frontier::default())).collect();
        subtrees.sort_by_key(|(range, ..)| range.start);
        Self { subtrees, next: 0 }
    }

    /// Takes the next leaf.
    pub(crate) fn take(&mut self, leaf: TreeHash) {
        let at = self.subtrees.partition_point(|(range, ..)| range.end <= self.next);
        if let Some((range, _, frontier)) = self.subtrees.get_mut(at)
            && range.contains(&self.next)
        {
            frontier.append(leaf);
        }
        self.next += 1;
    }

    /// The proof, once all leaves were taken; `None` before.
    pub(crate) fn finish(self) -> Option<Vec<TreeHash>> {
        let complete = self.subtrees.iter().all(|(range, _, frontier)| frontier.size() == range.end - range.start);
        let mut placed: Vec<_> =
            self.subtrees.into_iter().map(|(_, place, frontier)| (place, frontier.root())).collect();
        placed.sort_by_key(|(place, _)| *place);
        complete.then(|| placed.into_iter().map(|(_, root)| root).collect())
    }
}

/// The largest power of two below `length`, which is at least two.
fn split(length: u64) -> u64 {
    1 << (63 - (length - 1).leading_zeros())
}

/// PATH of RFC 6962 section 2.1.1: the sibling subtrees from the leaf upward.
fn inclusion_ranges(index: u64, tree: Range<u64>, ranges: &mut Vec<Range<u64>>) {
    let length = tree.end - tree.start;
    if length <= 1 {
        return;
    }
    let middle = tree.start + split(length);
    if index < middle {
        inclusion_ranges(index, tree.start..middle, ranges);
        ranges.push(middle..tree.end);
    } else {
        inclusion_ranges(index, middle..tree.end, ranges);
        ranges.push(tree.start..middle);
    }
}

/// SUBPROOF of RFC 6962 section 2.1.2: `old` is the end of the old tree, `known` whether the verifier has this subtree's root.
fn consistency_ranges(old: u64, tree: Range<u64>, known: bool, ranges: &mut Vec<Range<u64>>) {
    if old == tree.end {
        if !known {
            ranges.push(tree);
        }
        return;
    }
    let middle = tree.start + split(tree.end - tree.start);
    if old <= middle {
        consistency_ranges(old, tree.start..middle, known, ranges);
        ranges.push(middle..tree.end);
    } else {
        consistency_ranges(old, middle..tree.end, false, ranges);
        ranges.push(tree.start..middle);
    }
}

/// Whether `proof` shows `leaf` at `index` in the tree of `size` leaves and that root (RFC 9162 section 2.1.3.2).
pub(crate) fn includes(leaf: TreeHash, index: u64, size: u64, proof: &[TreeHash], root: TreeHash) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = TreeHash::of_node(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = TreeHash::of_node(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == root
}

/// The size and root of a tree.
pub(crate) type Head = (u64, TreeHash);

/// Whether `proof` shows that the tree `old` is the beginning of the tree `new` (RFC 9162 section 2.1.4.2).
pub(crate) fn is_beginning((old, old_root): Head, (new, new_root): Head, proof: &[TreeHash]) -> bool {
    if old >= new || old == 0 {
        let same = if old == 0 { old_root == TreeHash::of_nothing() } else { old_root == new_root };
        return old <= new && proof.is_empty() && same;
    }
    let mut path = proof.iter();
    let first = if old.is_power_of_two() { Some(&old_root) } else { path.next() };
    let Some(first) = first else { return false };
    let (mut node, mut last) = (old - 1, new - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut from_old, mut from_new) = (*first, *first);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            from_old = TreeHash::of_node(sibling, &from_old);
            from_new = TreeHash::of_node(sibling, &from_new);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            from_new = TreeHash::of_node(&from_new, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && from_old == old_root && from_new == new_root
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::{by_definition, leaves};

    const MOST: usize = 33;

    fn proof(builder: Option<ProofBuilder>, leaves: &[TreeHash]) -> Vec<TreeHash> {
        let mut builder = builder.unwrap();
        leaves.iter().for_each(|leaf| builder.take(*leaf));
        builder.finish().unwrap()
    }

    #[test]
    fn every_leaf_of_every_small_tree_is_proven_and_no_other() {
        for size in 1..=MOST {
            let leaves = leaves(size);
            let root = by_definition(&leaves);
            for index in 0..size {
                let path = proof(ProofBuilder::inclusion(index as u64, size as u64), &leaves);
                let holds = |leaf, index: usize, size: usize, path: &[TreeHash], root| {
                    includes(leaf, index as u64, size as u64, path, root)
                };
                assert!(holds(leaves[index], index, size, &path, root), "leaf {index} of {size}");
                assert!(!holds(TreeHash::of_leaf(b"other"), index, size, &path, root));
                assert!(!holds(leaves[index], index, size, &path, TreeHash::of_nothing()));
                assert!(!holds(leaves[index], size, size, &path, root));
                assert!((0..size).all(|other| other == index || !holds(leaves[index], other, size, &path, root)));
                for place in 0..path.len() {
                    let mut wrong = path.clone();
                    wrong[place] = TreeHash::of_nothing();
                    assert!(!holds(leaves[index], index, size, &wrong, root));
                    wrong.remove(place);
                    assert!(!holds(leaves[index], index, size, &wrong, root));
                }
                let longer = [path.as_slice(), &[root]].concat();
                assert!(!holds(leaves[index], index, size, &longer, root));
            }
        }
    }

    #[test]
    fn every_beginning_of_every_small_tree_is_proven_and_no_other() {
        for new in 0..=MOST {
            let leaves = leaves(new);
            let new_root = by_definition(&leaves);
            for old in 0..=new {
                let old_root = by_definition(&leaves[..old]);
                let path = proof(ProofBuilder::consistency(old as u64, new as u64), &leaves);
                let (old, new) = (old as u64, new as u64);
                assert!(is_beginning((old, old_root), (new, new_root), &path), "{old} of {new}");
                let other = TreeHash::of_leaf(b"other");
                assert!(!is_beginning((old, other), (new, new_root), &path), "{old} of {new}");
                assert!(old == 0 || !is_beginning((old, old_root), (new, other), &path), "{old} of {new}");
                let longer = [path.as_slice(), &[other]].concat();
                assert!(!is_beginning((old, old_root), (new, new_root), &longer), "{old} of {new}");
                for place in 0..path.len() {
                    let mut wrong = path.clone();
                    wrong[place] = other;
                    assert!(!is_beginning((old, old_root), (new, new_root), &wrong), "{old} of {new}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_there_cannot_be_proven() {
        assert!(ProofBuilder::inclusion(3, 3).is_none());
        assert!(ProofBuilder::consistency(4, 3).is_none());
        let mut builder = ProofBuilder::inclusion(0, 2).unwrap();
        builder.take(TreeHash::of_nothing());
        assert_eq!(builder.finish(), None, "one leaf is missing");
    }
}
