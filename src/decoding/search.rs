//! The search of one source: its [`hypotheses`], in one [`beam`] or more, over one [`token_tree`]; [`top_k`] and [`sampling`]
//! choose the next tokens, and with a CTC head [`crate::decoding::ctc::joint`].

pub mod beam;
pub mod hypotheses;
mod offers;
pub mod sampling;
pub mod token_tree;
pub mod top_k;
