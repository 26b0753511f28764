//! What both formats have in common at the level of bytes. Positions are offsets into the whole input.

use crate::error::ParseError;

const NAME_START: u8 = 1;
const NAME_REST: u8 = 2;
const LABEL_START: u8 = 4;
const LABEL_REST: u8 = 8;

/// Which parts of names a byte may be: `[a-zA-Z_:][a-zA-Z0-9_:]*` of a metric, the same without `:` of a label.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0u8;
    loop {
        classes[byte as usize] = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => NAME_START | NAME_REST | LABEL_START | LABEL_REST,
            b':' => NAME_START | NAME_REST,
            b'0'..=b'9' => NAME_REST | LABEL_REST,
            _ => 0,
        };
        if byte == u8::MAX {
            break classes;
        }
        byte += 1;
    }
};

pub(crate) fn is_name_start(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & NAME_START != 0
}

/// The end of the metric name at `at`, or `at` when there is none.
pub(crate) fn metric_name_end(input: &[u8], at: usize) -> usize {
    run_end(input, at, NAME_START, NAME_REST)
}

/// The end of the label name at `at`, or `at` when there is none.
pub(crate) fn label_name_end(input: &[u8], at: usize) -> usize {
    run_end(input, at, LABEL_START, LABEL_REST)
}

fn run_end(input: &[u8], at: usize, start: u8, rest: u8) -> usize {
    match input.get(at) {
        Some(&byte) if CLASSES[usize::from(byte)] & start != 0 => {
            let tail = &input[at + 1..];
            let length = tail.iter().position(|&byte| CLASSES[usize::from(byte)] & rest == 0);
            at + 1 + length.unwrap_or(tail.len())
        }
        _ => at,
    }
}

/// The first byte at or after `at` that is neither blank nor tab.
pub(crate) fn skip_blanks(input: &[u8], mut at: usize) -> usize {
    while matches!(input.get(at), Some(b' ' | b'\t')) {
        at += 1;
    }
    at
}

/// The end of the string whose opening quote is at `open`, behind its closing quote. `Err`: where it goes wrong.
pub(crate) fn string_end(input: &[u8], open: usize) -> Result<usize, usize> {
    let mut at = open + 1;
    loop {
        let Some(found) = memchr::memchr2(b'"', b'\\', input.get(at..).unwrap_or_default()) else {
            return Err(input.len());
        };
        at += found;
        if input[at] == b'"' {
            return Ok(at + 1);
        }
        // An escape is a backslash and any byte but a line break; NULs do not count, as in Prometheus' lexer.
        at += 1;
        while input.get(at) == Some(&0) {
            at += 1;
        }
        match input.get(at) {
            None | Some(b'\n') => return Err(at),
            Some(_) => at += 1,
        }
    }
}

/// The end of the braces that open at `open`, behind `}`. What is between them is not checked.
pub(crate) fn braces_end(input: &[u8], open: usize) -> Result<usize, ParseError> {
    let mut at = open + 1;
    loop {
        let Some(found) = memchr::memchr3(b'"', b'}', b'\n', &input[at..]) else {
            return Err(ParseError::at(input, input.len(), "`}`"));
        };
        at += found;
        match input[at] {
            b'"' => at = string_end(input, at).map_err(|at| ParseError::at(input, at, "closing quote"))?,
            b'}' => return Ok(at + 1),
            _ => return Err(ParseError::at(input, at, "`}`")),
        }
    }
}

/// The end of the line that `at` is in: the position of its line break, or of the end of input.
pub(crate) fn line_end(input: &[u8], at: usize) -> usize {
    memchr::memchr(b'\n', &input[at..]).map_or(input.len(), |found| at + found)
}
