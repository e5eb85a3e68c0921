//! Shards: parts of a batch that pass through the network one by one, each on one thread.
//!
//! A batch is halved, its halves are halved, and so on: a binary tree whose leaves are the shards. Their gradients are
//! summed along the same tree. The tree depends on the rows alone, so the sum is bit-identical for any threads and
//! timing. Ranks take whole subtrees, so it is for any number of ranks, too.

/// Rows of the training set that pass through the network together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    /// Rows of the training set.
    pub rows: Vec<usize>,
    /// The pass over the set.
    pub pass: u64,
    /// Its path in the tree (which half of which half), from which its random numbers follow.
    pub name: String,
}

impl Shard {
    /// A whole batch.
    pub(crate) fn whole(rows: Vec<usize>, pass: u64) -> Shard {
        Shard { rows, pass, name: String::new() }
    }

    /// Its halves, with about as many positions each; `None` for a single row. `positions` returns those of a row.
    pub(crate) fn halves(&self, positions: impl Fn(usize) -> usize) -> Option<[Shard; 2]> {
        if self.rows.len() < 2 {
            return None;
        }
        let all: usize = self.rows.iter().map(|&row| positions(row)).sum();
        let mut so_far = 0;
        let within = |row: &&usize| {
            so_far += positions(**row);
            2 * so_far <= all
        };
        let middle = self.rows.iter().take_while(within).count().clamp(1, self.rows.len() - 1);
        let (left, right) = self.rows.split_at(middle);
        let half = |rows: &[usize], side: char| Shard {
            rows: rows.to_vec(),
            pass: self.pass,
            name: format!("{}{side}", self.name),
        };
        Some([half(left, 'l'), half(right, 'r')])
    }
}

/// A binary tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tree<T> {
    /// A leaf.
    Leaf(T),
    /// Left and right, which are summed first.
    Node(Box<[Tree<T>; 2]>),
}

impl<T> Tree<T> {
    /// A node.
    pub(crate) fn node(left: Tree<T>, right: Tree<T>) -> Tree<T> {
        Tree::Node(Box::new([left, right]))
    }

    /// Joins trees in order to one, with halves as equal as possible; `None` without trees.
    pub(crate) fn over(trees: Vec<Tree<T>>) -> Option<Tree<T>> {
        let mut left = trees;
        if left.len() < 2 {
            return left.pop();
        }
        let right = left.split_off(left.len().next_power_of_two() / 2);
        Some(Tree::node(Tree::over(left)?, Tree::over(right)?))
    }

    /// Maps `make` over the leaves.
    pub(crate) fn map<U>(self, make: &mut impl FnMut(T) -> U) -> Tree<U> {
        match self {
            Tree::Leaf(leaf) => Tree::Leaf(make(leaf)),
            Tree::Node(halves) => {
                let [left, right] = *halves;
                let left = left.map(make);
                Tree::node(left, right.map(make))
            }
        }
    }

    /// The same with what `make` makes of each leaf, from left to right.
    ///
    /// # Errors
    /// The first of `make`.
    pub(crate) fn try_map<U>(
        self,
        make: &mut impl FnMut(T) -> crate::error::Result<U>,
    ) -> crate::error::Result<Tree<U>> {
        Ok(match self {
            Tree::Leaf(leaf) => Tree::Leaf(make(leaf)?),
            Tree::Node(halves) => {
                let [left, right] = *halves;
                let left = left.try_map(make)?;
                Tree::node(left, right.try_map(make)?)
            }
        })
    }

    /// The subtree of one of `ranks` ranks, a power of two: all nodes above it lie between ranks. `None` if a leaf comes
    /// first, which belongs to another rank.
    pub(crate) fn part(self, rank: usize, ranks: usize) -> Option<Tree<T>> {
        match self {
            tree if ranks <= 1 => Some(tree),
            leaf @ Tree::Leaf(_) => (rank == 0).then_some(leaf),
            Tree::Node(halves) => {
                let ([left, right], half) = (*halves, ranks / 2);
                if rank < half { left.part(rank, half) } else { right.part(rank - half, half) }
            }
        }
    }

    /// The same with whether each leaf belongs to a rank, as in [`Tree::part`]; to none without a rank.
    pub(crate) fn marked(self, rank: Option<usize>, ranks: usize) -> Tree<(T, bool)> {
        match self {
            Tree::Leaf(leaf) => Tree::Leaf((leaf, rank == Some(0))),
            Tree::Node(halves) => {
                let ([left, right], half) = (*halves, (ranks / 2).max(1));
                let [one, other] = match rank {
                    rank if ranks <= 1 => [rank, rank],
                    Some(rank) if rank < half => [Some(rank), None],
                    rank => [None, rank.map(|rank| rank - half)],
                };
                Tree::node(left.marked(one, half), right.marked(other, half))
            }
        }
    }

    /// Its leaves, from left to right.
    pub(crate) fn leaves(&self) -> Vec<&T> {
        match self {
            Tree::Leaf(leaf) => vec![leaf],
            Tree::Node(halves) => halves.iter().flat_map(Tree::leaves).collect(),
        }
    }
}

impl Tree<Shard> {
    /// A batch halved `times` times, as far as it has rows.
    pub(crate) fn cut(shard: Shard, times: u32, positions: &impl Fn(usize) -> usize) -> Tree<Shard> {
        match shard.halves(positions).filter(|_| times > 0) {
            Some([left, right]) => {
                Tree::node(Tree::cut(left, times - 1, positions), Tree::cut(right, times - 1, positions))
            }
            None => Tree::Leaf(shard),
        }
    }

    /// Halves each leaf that is too large, repeatedly; single rows stay.
    pub(crate) fn halved_where(
        self,
        too_large: &impl Fn(&Shard) -> bool,
        positions: &impl Fn(usize) -> usize,
    ) -> Tree<Shard> {
        match self {
            Tree::Leaf(shard) => match shard.halves(positions).filter(|_| too_large(&shard)) {
                Some(halves) => {
                    let [left, right] =
                        halves.map(|half| Tree::Leaf(half).halved_where(too_large, positions));
                    Tree::node(left, right)
                }
                None => Tree::Leaf(shard),
            },
            Tree::Node(halves) => {
                let [left, right] = halves.map(|half| half.halved_where(too_large, positions));
                Tree::node(left, right)
            }
        }
    }

    /// The tree without the unwanted leaf; `None` if it was the only one.
    pub(crate) fn without(self, unwanted: &impl Fn(&Shard) -> bool) -> Option<Tree<Shard>> {
        match self {
            Tree::Leaf(shard) => (!unwanted(&shard)).then_some(Tree::Leaf(shard)),
            Tree::Node(halves) => {
                let [left, right] = halves.map(|half| half.without(unwanted));
                match (left, right) {
                    (Some(left), Some(right)) => Some(Tree::node(left, right)),
                    (one, other) => one.or(other),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows_of(tree: &Tree<Shard>) -> Vec<&[usize]> {
        tree.leaves().into_iter().map(|shard| shard.rows.as_slice()).collect()
    }

    #[test]
    fn a_batch_is_split_into_halves_of_about_as_many_positions() {
        let positions = |row: usize| [1, 1, 2, 4, 8, 8][row];
        let tree = Tree::cut(Shard::whole((0..6).collect(), 3), 2, &positions);
        assert_eq!(rows_of(&tree), [[0, 1, 2].as_slice(), &[3], &[4], &[5]]);
        let names: Vec<&str> = tree.leaves().into_iter().map(|shard| shard.name.as_str()).collect();
        assert_eq!(names, ["ll", "lr", "rl", "rr"]);
        let few = Tree::cut(Shard::whole(vec![4, 5, 1], 0), 5, &positions);
        assert_eq!(rows_of(&few), [[4].as_slice(), &[5], &[1]]);
    }

    #[test]
    fn a_shard_that_is_too_large_is_halved_in_place_down_to_single_rows() {
        let tree = Tree::cut(Shard::whole((0..8).collect(), 0), 1, &|_| 1);
        let tree = tree.halved_where(&|shard| shard.rows.len() > 1 && shard.rows.contains(&5), &|_| 1);
        assert_eq!(rows_of(&tree), [[0, 1, 2, 3].as_slice(), &[4], &[5], &[6, 7]]);
        let without = tree.without(&|shard| shard.name == "rlr").unwrap();
        assert_eq!(rows_of(&without), [[0, 1, 2, 3].as_slice(), &[4], &[6, 7]]);
        assert_eq!(Tree::Leaf(Shard::whole(vec![1], 0)).without(&|_| true), None);
    }

    #[test]
    fn several_trees_form_one_with_complete_subtrees_on_the_left() {
        let sums = |count: i32| {
            fn text(tree: &Tree<i32>) -> String {
                match tree {
                    Tree::Leaf(leaf) => leaf.to_string(),
                    Tree::Node(halves) => format!("({}+{})", text(&halves[0]), text(&halves[1])),
                }
            }
            text(&Tree::over((0..count).map(Tree::Leaf).collect()).unwrap())
        };
        assert_eq!([1, 2, 3, 6].map(sums), ["0", "(0+1)", "((0+1)+2)", "(((0+1)+(2+3))+(4+5))"]);
        assert!(Tree::<i32>::over(Vec::new()).is_none());
    }

    #[test]
    fn ranks_share_a_tree_in_whole_subtrees_and_each_leaf_belongs_to_one() {
        for (count, ranks) in [(1, 1), (1, 4), (3, 2), (3, 4), (6, 2), (8, 4), (8, 8), (5, 8)] {
            let tree = Tree::over((0..count).map(Tree::Leaf).collect()).unwrap();
            let mut found = Vec::new();
            for rank in 0..ranks {
                let part = tree.clone().part(rank, ranks);
                let own: Vec<i32> = part.iter().flat_map(Tree::leaves).copied().collect();
                let marked = tree.clone().marked(Some(rank), ranks);
                let marks = marked.leaves().into_iter().filter(|(_, own)| *own).map(|(leaf, _)| *leaf);
                assert_eq!(own, marks.collect::<Vec<_>>(), "{count} leaves, {ranks} ranks");
                found.extend(own);
            }
            assert_eq!(found, (0..count).collect::<Vec<_>>());
        }
    }
}
