//! One source as a network's input, before it is part of a batch ([`super::batch::SourceBatch`]).

/// One source. A new kind of source needs a variant here and a front of the encoder that reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceItem {
    /// Token ids without EOS.
    Tokens(Vec<i64>),
}

impl SourceItem {
    /// Its length: tokens without EOS.
    pub fn length(&self) -> usize {
        self.tokens().len()
    }

    /// Positions in the encoder's layers, including EOS.
    pub fn positions(&self) -> usize {
        self.length() + 1
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.length() == 0
    }

    /// Its token ids without EOS.
    pub fn tokens(&self) -> &[i64] {
        let SourceItem::Tokens(ids) = self;
        ids
    }
}

impl Default for SourceItem {
    fn default() -> SourceItem {
        SourceItem::Tokens(Vec::new())
    }
}

impl From<Vec<i64>> for SourceItem {
    fn from(ids: Vec<i64>) -> SourceItem {
        SourceItem::Tokens(ids)
    }
}

impl From<&[i64]> for SourceItem {
    fn from(ids: &[i64]) -> SourceItem {
        ids.to_vec().into()
    }
}

impl<const N: usize> From<&[i64; N]> for SourceItem {
    fn from(ids: &[i64; N]) -> SourceItem {
        ids.to_vec().into()
    }
}
