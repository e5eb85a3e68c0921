//! The search of one source: its [`hypotheses`], in one [`beam`] or more, over one tree of tokens; [`top_k`] and [`sampling`]
//! choose the next tokens, and with a CTC head [`crate::decoding::ctc::joint`].

pub(crate) mod beam;
pub(crate) mod hypotheses;
mod offers;
pub(crate) mod sampling;
pub(crate) mod top_k;
