//! The tokens of all hypotheses of a source, as a tree. It depends on no model and no tensor.

use crate::data::vocabulary::BOS;

/// All hypotheses of a source, including dropped ones, as a tree: each token has a link to the one before it.
#[derive(Debug)]
pub(super) struct TokenTree {
    nodes: Vec<(usize, i64)>,
}

impl TokenTree {
    /// The node of BOS, the root.
    pub(super) const ROOT: usize = 0;

    pub(super) fn new() -> TokenTree {
        TokenTree { nodes: vec![(TokenTree::ROOT, BOS)] }
    }

    pub(super) fn push(&mut self, before: usize, token: i64) -> usize {
        self.nodes.push((before, token));
        self.nodes.len() - 1
    }

    /// The token at `node`.
    pub(super) fn token(&self, node: usize) -> i64 {
        self.nodes[node].1
    }

    /// The tokens from the first to the one at `node`.
    pub(super) fn read_prefix(&self, mut node: usize, into: &mut Vec<i64>) {
        into.clear();
        while node != TokenTree::ROOT {
            let (before, token) = self.nodes[node];
            into.push(token);
            node = before;
        }
        into.reverse();
    }

    pub(super) fn tokens(&self, node: usize) -> Vec<i64> {
        let mut tokens = Vec::new();
        self.read_prefix(node, &mut tokens);
        tokens
    }
}
