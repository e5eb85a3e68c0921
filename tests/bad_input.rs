//! What is wrong is refused in a sentence: what must hold, what is there, where, and what to do about it. The user's
//! slips (`slips`) and broken rows (`rows`) end with exit code 2, damage to what seqloom wrote (`damage`) with 1, and
//! neither with a panic.

mod damage;
mod hostile;
mod outputs;
mod rows;
mod slips;
