//! From text to expressions and back.

mod check;
pub(crate) mod duration;
pub(crate) mod function;
mod lexer;
mod number;
mod parser;
mod pretty;
pub(crate) mod printer;
mod token;
mod unquote;

pub(crate) use number::{parse_float, parse_number};
pub(crate) use parser::Parser;
