//! The real binary, alone and against a replica that is made of the same wire and transport crates.

mod alone;
mod process;
mod replica;
mod shipping;
