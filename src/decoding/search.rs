//! The search of one source: its [`hypotheses`], in one [`beam`] or more, over one [`token_tree`]; [`top_k`] and
//! [`sampling`] choose the next tokens.

pub mod beam;
pub mod hypotheses;
pub mod sampling;
pub mod token_tree;
pub mod top_k;
