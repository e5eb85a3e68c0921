//! A trie over bytes, which finds all entries that a text begins with.

/// Texts with numbers.
#[derive(Clone, Debug)]
pub(super) struct Trie(Vec<Node>);

#[derive(Clone, Debug, Default)]
struct Node {
    /// Sorted by their bytes.
    children: Vec<(u8, u32)>,
    value: Option<u32>,
}

impl Trie {
    /// The trie of these texts. The last number of a text counts.
    pub(super) fn new<'a>(entries: impl Iterator<Item = (&'a str, u32)>) -> Trie {
        let mut nodes = vec![Node::default()];
        for (text, value) in entries {
            let mut at = 0;
            for byte in text.bytes() {
                let place = nodes[at].children.binary_search_by_key(&byte, |child| child.0);
                at = match place {
                    Ok(place) => nodes[at].children[place].1 as usize,
                    Err(place) => {
                        let next = nodes.len();
                        nodes[at].children.insert(place, (byte, next as u32));
                        nodes.push(Node::default());
                        next
                    }
                };
            }
            nodes[at].value = Some(value);
        }
        Trie(nodes)
    }

    /// The entries that a text begins with, the shortest first: number and length. The empty text is no entry.
    pub(super) fn prefixes(&self, text: &[u8]) -> impl Iterator<Item = (u32, usize)> {
        let mut at = 0;
        let nodes = text.iter().zip(1..).map_while(move |(byte, length)| {
            let children = &self.0[at].children;
            let place = children.binary_search_by_key(byte, |child| child.0).ok()?;
            at = children[place].1 as usize;
            Some((self.0[at].value, length))
        });
        nodes.filter_map(|(value, length)| value.map(|value| (value, length)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_entries_that_a_text_begins_with_are_found() {
        let trie = Trie::new([("a", 1), ("ab", 2), ("abcd", 3), ("é", 4), ("", 5)].into_iter());
        let found = |text: &str| trie.prefixes(text.as_bytes()).collect::<Vec<_>>();
        assert_eq!(found("abcx"), [(1, 1), (2, 2)]);
        assert_eq!(found("abcd"), [(1, 1), (2, 2), (3, 4)]);
        assert_eq!((found("é"), found("b"), found("")), (vec![(4, 2)], vec![], vec![]));
    }
}
