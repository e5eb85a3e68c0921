//! Errors are reported in one sentence: what must hold, what is there, where, and what to do. Mistakes of the user
//! (`slips`) and broken rows (`rows`) end with exit code 2, damaged files of seqloom (`damage`) with 1, and never with
//! a panic.

mod damage;
mod hostile;
mod outputs;
mod rows;
mod slips;
