//! What breaks a query.

use rand::RngExt as _;

use super::Grammar;
use super::words::{DURATION_FORMS, KEYWORDS, NUMBER_FORMS, ODD, REGEXES, SELECTORS, STRING_FORMS};

impl Grammar {
    /// A query with something wrong in it, most of the time.
    pub(super) fn broken(&mut self, query: String) -> String {
        let characters: Vec<char> = query.chars().collect();
        let place = self.random.random_range(0..characters.len().max(1));
        let (before, after) = characters.split_at(place.min(characters.len()));
        let text = |characters: &[char]| characters.iter().collect::<String>();
        match self.random.random_range(0..19) {
            0 => text(before),
            1 => format!("{}{}", text(before), text(after.get(1..).unwrap_or_default())),
            2..=4 => format!("{}{}{}", text(before), self.pick(&ODD), text(after)),
            5 => format!("rate({query})"),
            6 => format!("({query}) {} {}", self.pick(&["and", "or", "+", "> bool"]), self.number()),
            7 => format!("{query}[5m]"),
            8 => self.words_changed(&query),
            9 => self.word_replaced(&query),
            10 => self.keyword(),
            11 => self.wrong_call(&query),
            12 => format!("gauge[{}]", self.pick(&DURATION_FORMS)),
            13 => format!(
                "rate(gauge[5m:{}] offset {})",
                self.pick(&DURATION_FORMS),
                self.pick(&DURATION_FORMS)
            ),
            14 => format!("gauge{{a{}\"{}\"}}", self.pick(&["=~", "!~"]), self.pick(&REGEXES)),
            15 => self.pick(&NUMBER_FORMS).to_owned(),
            16 => self.pick(&SELECTORS).to_owned(),
            17 => self.operators_misused(&query),
            _ => self.pick(&STRING_FORMS).to_owned(),
        }
    }

    /// Operators with what is not theirs.
    fn operators_misused(&mut self, query: &str) -> String {
        const FORMS: [&str; 22] = [
            "Q + bool Q",
            "Q and bool Q",
            "1 == 1",
            "1 and 1",
            "Q or 1",
            "Q and on (a) group_left Q",
            "Q unless ignoring (a) group_right (b) Q",
            "Q + group_left Q",
            "Q + on (a) group_left (a) Q",
            "Q + on (a) ignoring (b) Q",
            "Q == bool bool Q",
            "bool Q",
            "Q bool == Q",
            "1 + on (a) 2",
            "Q * on (a) 2",
            "1 > bool on () 2",
            "\"a\" + \"b\"",
            "Q == \"a\"",
            "-Q[5m]",
            "Q[5m] + Q[5m]",
            "Q =~ Q",
            "Q = Q",
        ];
        self.pick(&FORMS).replace('Q', query)
    }

    /// A word less, twice, or two in each other's place.
    fn words_changed(&mut self, query: &str) -> String {
        let mut words: Vec<&str> =
            query.split_inclusive(|character: char| !character.is_alphanumeric()).collect();
        let place = self.random.random_range(0..words.len().max(1));
        match self.random.random_range(0..3) {
            _ if words.len() < 2 => {}
            0 => drop(words.remove(place)),
            1 => words.insert(place, words[place]),
            _ => words.swap(place, 0),
        }
        words.concat()
    }

    /// A word of the query by another one.
    fn word_replaced(&mut self, query: &str) -> String {
        let is_word = |character: char| character.is_alphanumeric() || character == '_';
        let starts: Vec<usize> = query
            .char_indices()
            .filter(|(at, character)| is_word(*character) && !query[..*at].ends_with(is_word))
            .map(|(at, _)| at)
            .collect();
        if starts.is_empty() {
            return self.keyword();
        }
        let start = starts[self.random.random_range(0..starts.len())];
        let end =
            query[start..].find(|character| !is_word(character)).map_or(query.len(), |length| start + length);
        let word = match self.random.random_range(0..3) {
            0 => self.pick(&KEYWORDS),
            1 => self.pick(&NUMBER_FORMS),
            _ => self.pick(&DURATION_FORMS),
        };
        format!("{}{word}{}", &query[..start], &query[end..])
    }

    /// A word that means something, where it does not.
    fn keyword(&mut self) -> String {
        let word = self.pick(&KEYWORDS);
        match self.random.random_range(0..8) {
            0 => word.to_owned(),
            1 => format!("{word}{{a=\"1\"}}"),
            2 => format!("gauge{{{word}=\"\"}}"),
            3 => format!("sum by ({word}) (gauge)"),
            4 => format!("gauge + on ({word}) gauge"),
            5 => format!("gauge {word} gauge"),
            6 => format!("{{\"{word}\"}}"),
            _ => format!("{word} + {word}"),
        }
    }

    /// Arguments that are too many, too few, or of another type.
    fn wrong_call(&mut self, query: &str) -> String {
        const CALLS: [&str; 44] = [
            "rate(Q)",
            "rate(gauge[5m], Q)",
            "rate()",
            "rate(gauge[5m],)",
            "abs()",
            "abs(Q, Q)",
            "abs(1)",
            "abs(\"a\")",
            "scalar(1)",
            "vector(Q)",
            "time(Q)",
            "pi(1)",
            "sum(Q, Q)",
            "sum()",
            "sum(1)",
            "topk(Q)",
            "topk(Q, Q)",
            "topk(\"a\", gauge)",
            "count_values(1, gauge)",
            "count_values(\"\\xff\", gauge)",
            "quantile(gauge, gauge)",
            "label_replace(Q, \"a\")",
            "label_join(Q)",
            "histogram_quantile(gauge, gauge)",
            "round(gauge, gauge)",
            "clamp(gauge, 1)",
            "nope(Q)",
            "sum by a (gauge)",
            "sum by (a) by (b) (gauge)",
            "-\"a\"",
            "holt_winters(gauge[5m], 0.5, 0.5)",
            "sort_by_label(Q)",
            "sort_by_label(Q, 1)",
            "label_join(Q, \"a\")",
            "label_replace(Q, \"a\", \"b\", \"c\", d)",
            "absent(gauge[5m])",
            "absent_over_time(Q)",
            "day_of_week(Q, Q)",
            "time() offset 5m",
            "sum(Q) offset 5m",
            "(Q) offset 5m",
            "gauge offset 5m offset 5m",
            "gauge @ 5 @ 6",
            "gauge[5m][5m]",
        ];
        self.pick(&CALLS).replace('Q', query)
    }
}
