//! Operators between two expressions.

use rand::RngExt as _;

use super::Grammar;
use super::words::{ARITHMETIC, COMPARISON, SETS};

impl Grammar {
    fn matching(&mut self) -> String {
        let labels = self.pick(&["a", "b", "a, b", "job", "", "none", "\"x.y\"", "a, a", "__name__", "a,"]);
        let on = match self.random.random_range(0..5) {
            0 => format!(" on ({labels})"),
            1 => format!(" ignoring ({labels})"),
            _ => return String::new(),
        };
        let include = self.pick(&["", " ()", " (b)", " (job)", " (none)", " (__name__)", " (b, a)"]);
        match self.random.random_range(0..6) {
            0 => format!("{on} group_left{include}"),
            1 => format!("{on} group_right{include}"),
            _ => on,
        }
    }

    pub(super) fn binary(&mut self, depth: u32) -> String {
        let left = self.vector(depth);
        match self.random.random_range(0..10) {
            0 => {
                let on = self.pick(&["", " on (a)", " ignoring (b)", " on ()", " on (a, b)", " ignoring ()"]);
                format!("({left} {}{on} {})", self.pick(&SETS), self.vector(depth))
            }
            1 => format!("({left} {}{} {})", self.pick(&ARITHMETIC), self.matching(), self.vector(depth)),
            2 => {
                format!("({left} {} bool{} {})", self.pick(&COMPARISON), self.matching(), self.vector(depth))
            }
            3 => format!("({left} {}{} {left})", self.pick(&COMPARISON), self.matching()),
            4 => format!("({left} {} {left})", self.pick(&ARITHMETIC)),
            5 => format!("({left} {} {})", self.pick(&ARITHMETIC), self.scalar(depth)),
            6 => format!("({} {} {left})", self.scalar(depth), self.pick(&COMPARISON)),
            7 => format!("({left} {}{} {})", self.pick(&COMPARISON), self.matching(), self.vector(depth)),
            8 => self.chain(depth),
            9 if self.one_in(8) => {
                format!("({left} {}{} {})", self.pick(&SETS), self.matching(), self.vector(depth))
            }
            _ => format!("({left} {} {})", self.pick(&COMPARISON), self.scalar(depth)),
        }
    }

    /// Several operators in a row, for who binds first.
    fn chain(&mut self, depth: u32) -> String {
        let mut chain = format!("{}{}", self.pick(&["", "", "-", "+"]), self.instant_selector());
        for _ in 0..self.random.random_range(2..5) {
            let right = if self.one_in(2) { self.scalar(depth.min(1)) } else { self.instant_selector() };
            let right = format!("{}{right}", self.pick(&["", "", "", "-"]));
            let operator = match self.random.random_range(0..6) {
                0 => self.pick(&SETS),
                1 => self.pick(&COMPARISON),
                2 => "== bool",
                _ => self.pick(&ARITHMETIC),
            };
            chain = format!("{chain} {operator} {right}");
        }
        chain
    }
}
