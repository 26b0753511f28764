use crate::syntax::token::{Keyword, Token, TokenKind};

/// Of a string with a character that stands for bytes which are no UTF-8.
const NOT_UTF8: &str = "invalid UTF-8 rune";

/// Splits a text into tokens. The last is `End` or, where the text is not lexical PromQL, `Error`.
///
/// What a character means depends on where it stands: inside braces words are never keywords, inside
/// brackets a colon separates, so the lexer knows which of them are open.
pub(crate) fn tokenize(text: &str) -> Vec<Token<'_>> {
    let mut lexer = Lexer {
        text,
        position: 0,
        paren_depth: 0,
        brace_open: false,
        bracket: None,
        tokens: Vec::with_capacity(text.len() / 4 + 2),
    };
    while lexer.step() {}
    lexer.tokens
}

/// What has been seen since `[`.
#[derive(Clone, Copy, Default)]
struct Bracket {
    colon: bool,
    duration: bool,
}

struct Lexer<'a> {
    text: &'a str,
    position: usize,
    paren_depth: usize,
    brace_open: bool,
    bracket: Option<Bracket>,
    tokens: Vec<Token<'a>>,
}

impl<'a> Lexer<'a> {
    fn peek(&self) -> Option<char> {
        self.text[self.position..].chars().next()
    }

    fn peek_second(&self) -> Option<char> {
        self.text[self.position..].chars().nth(1)
    }

    fn bump(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.position += character.len_utf8();
        Some(character)
    }

    fn bump_if(&mut self, wanted: impl Fn(char) -> bool) -> bool {
        let hit = self.peek().is_some_and(wanted);
        if hit {
            self.bump();
        }
        hit
    }

    fn bump_while(&mut self, wanted: impl Fn(char) -> bool) {
        while self.bump_if(&wanted) {}
    }

    fn push(&mut self, kind: TokenKind, start: usize) -> bool {
        let going = kind != TokenKind::End;
        self.tokens.push(Token { kind, start, text: &self.text[start..self.position] });
        going
    }

    /// Ends the tokens with an error.
    fn fail(&mut self, start: usize, message: String) -> bool {
        self.tokens.push(Token {
            kind: TokenKind::Error(message),
            start,
            text: &self.text[start..self.position.max(start)],
        });
        false
    }

    /// Lexes one token; whether there may be more.
    fn step(&mut self) -> bool {
        self.bump_while(is_space);
        // In brackets a comment may stand behind the first duration, as in Prometheus.
        let takes_comment = !self.brace_open && self.bracket.is_none_or(|bracket| bracket.duration);
        if self.peek() == Some('#') && takes_comment {
            self.bump_while(|character| character != '\n' && character != '\r');
            return true;
        }
        if self.brace_open {
            self.step_in_braces()
        } else if self.bracket.is_some() {
            self.step_in_brackets()
        } else {
            self.step_outside()
        }
    }

    fn step_outside(&mut self) -> bool {
        let start = self.position;
        let Some(character) = self.peek() else {
            if self.paren_depth > 0 {
                return self.fail(start, "unclosed left parenthesis".to_owned());
            }
            return self.push(TokenKind::End, start);
        };
        match character {
            '0'..='9' => self.number_or_duration(start),
            '.' if self.peek_second().is_some_and(|next| next.is_ascii_digit()) => {
                self.number_or_duration(start)
            }
            '"' | '\'' => self.quoted(start, character),
            '`' => self.raw_quoted(start),
            ':' => self.word(start),
            _ if is_alpha(character) => self.word(start),
            '{' => {
                self.bump();
                self.brace_open = true;
                self.push(TokenKind::LeftBrace, start)
            }
            '[' => {
                self.bump();
                self.bracket = Some(Bracket::default());
                self.push(TokenKind::LeftBracket, start)
            }
            ']' => self.fail(start, format!("unexpected right bracket {}", quote_char(character))),
            '@' => {
                self.bump();
                self.push(TokenKind::At, start)
            }
            '=' | '!' | '<' | '>' => self.comparison(start, character),
            _ => self.punctuation(start, character),
        }
    }

    /// Parentheses, commas and arithmetic, which mean the same inside brackets.
    fn punctuation(&mut self, start: usize, character: char) -> bool {
        self.bump();
        let kind = match character {
            ',' => TokenKind::Comma,
            '+' => TokenKind::Add,
            '-' => TokenKind::Sub,
            '*' => TokenKind::Mul,
            '/' => TokenKind::Div,
            '%' => TokenKind::Mod,
            '^' => TokenKind::Pow,
            '(' => {
                self.paren_depth += 1;
                TokenKind::LeftParen
            }
            ')' if self.paren_depth == 0 => {
                return self.fail(start, format!("unexpected right parenthesis {}", quote_char(character)));
            }
            ')' => {
                self.paren_depth -= 1;
                TokenKind::RightParen
            }
            _ if self.bracket.is_some() => {
                let shown = quote_char(character);
                return self.fail(start, format!("unexpected character in duration expression: {shown}"));
            }
            _ => return self.fail(start, format!("unexpected character: {}", quote_char(character))),
        };
        self.push(kind, start)
    }

    fn comparison(&mut self, start: usize, character: char) -> bool {
        self.bump();
        let next = self.peek();
        let shown = next.map_or_else(|| "'\\ufffd'".to_owned(), quote_char);
        let (kind, wide) = match (character, next) {
            ('=', Some('=')) => (TokenKind::EqualEqual, true),
            ('=', Some('~')) => return self.fail(start, format!("unexpected character after '=': {shown}")),
            ('=', _) => (TokenKind::Equal, false),
            ('!', Some('=')) => (TokenKind::NotEqual, true),
            ('!', _) => return self.fail(start, format!("unexpected character after '!': {shown}")),
            ('<', Some('=')) => (TokenKind::LessEqual, true),
            ('<', Some('/')) => (TokenKind::TrimUpper, true),
            ('<', _) => (TokenKind::Less, false),
            (_, Some('=')) => (TokenKind::GreaterEqual, true),
            (_, Some('/')) => (TokenKind::TrimLower, true),
            (_, _) => (TokenKind::Greater, false),
        };
        if wide {
            self.bump();
        }
        self.push(kind, start)
    }

    fn step_in_braces(&mut self) -> bool {
        let start = self.position;
        let Some(character) = self.bump() else {
            return self.fail(start, "unexpected end of input inside braces".to_owned());
        };
        let kind = match character {
            ',' => TokenKind::Comma,
            '"' | '\'' => {
                self.position = start;
                return self.quoted(start, character);
            }
            '`' => {
                self.position = start;
                return self.raw_quoted(start);
            }
            '=' if self.bump_if(|next| next == '~') => TokenKind::EqualRegex,
            '=' => TokenKind::Equal,
            '!' if self.bump_if(|next| next == '~') => TokenKind::NotRegex,
            '!' if self.bump_if(|next| next == '=') => TokenKind::NotEqual,
            '!' => {
                let shown = self.peek().map_or_else(|| "'\\ufffd'".to_owned(), quote_char);
                let message = format!("unexpected character after '!' inside braces: {shown}");
                return self.fail(start, message);
            }
            '{' => return self.fail(start, format!("unexpected left brace {}", quote_char(character))),
            '}' => {
                self.brace_open = false;
                TokenKind::RightBrace
            }
            '#' => {
                self.bump_while(|character| character != '\n' && character != '\r');
                return true;
            }
            _ if is_alpha(character) => {
                self.bump_while(is_alphanumeric);
                TokenKind::Identifier
            }
            _ => {
                let message = format!("unexpected character inside braces: {}", quote_char(character));
                return self.fail(start, message);
            }
        };
        self.push(kind, start)
    }

    fn step_in_brackets(&mut self) -> bool {
        let start = self.position;
        let Some(character) = self.peek() else {
            return self.fail(start, "unexpected end of input in duration expression".to_owned());
        };
        let state = self.bracket.unwrap_or_default();
        match character {
            ']' => {
                self.bump();
                self.bracket = None;
                self.push(TokenKind::RightBracket, start)
            }
            ':' if !state.duration => {
                self.fail(start, "unexpected colon before duration in duration expression".to_owned())
            }
            ':' if state.colon => {
                self.fail(start, "unexpected repeated colon in duration expression".to_owned())
            }
            ':' => {
                self.bump();
                self.bracket = Some(Bracket { colon: true, ..state });
                self.push(TokenKind::Colon, start)
            }
            '0'..='9' | '.' => {
                self.bracket = Some(Bracket { duration: true, ..state });
                self.number_or_duration(start)
            }
            _ if is_alpha(character) => {
                self.bump_while(is_alpha);
                match Keyword::from_word(&self.text[start..self.position]) {
                    Some(keyword @ (Keyword::Step | Keyword::Range | Keyword::MinOf | Keyword::MaxOf)) => {
                        self.bracket = Some(Bracket { duration: true, ..state });
                        self.push(TokenKind::Keyword(keyword), start)
                    }
                    _ => {
                        let shown = quote_char(character);
                        let message = format!("unexpected character in duration expression: {shown}");
                        self.fail(start, message)
                    }
                }
            }
            _ => self.punctuation(start, character),
        }
    }

    fn word(&mut self, start: usize) -> bool {
        self.bump_while(|character| is_alphanumeric(character) || character == ':');
        let word = &self.text[start..self.position];
        let kind = match Keyword::from_word(word) {
            // These came late to the language: where no parenthesis follows they stay metric names.
            Some(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight) if !self.paren_follows() => {
                TokenKind::Identifier
            }
            Some(keyword) => TokenKind::Keyword(keyword),
            None if word.eq_ignore_ascii_case("inf") || word.eq_ignore_ascii_case("nan") => TokenKind::Number,
            None if word.contains(':') => TokenKind::MetricIdentifier,
            None => TokenKind::Identifier,
        };
        self.push(kind, start)
    }

    fn paren_follows(&self) -> bool {
        self.text[self.position..].trim_start_matches(is_space).starts_with('(')
    }

    fn number_or_duration(&mut self, start: usize) -> bool {
        if self.scan_number() {
            return self.push(TokenKind::Number, start);
        }
        if self.scan_rest_of_duration() {
            return self.push(TokenKind::Duration, start);
        }
        let shown = crate::syntax::printer::quote(&self.text[start..self.position]);
        self.fail(start, format!("bad number or duration syntax: {shown}"))
    }

    /// Scans what may be a number; whether it is one is the parser's question. False where a letter follows.
    fn scan_number(&mut self) -> bool {
        let start = self.position;
        let mut hexadecimal = false;
        if self.peek() == Some('0') && matches!(self.peek_second(), Some('x' | 'X')) {
            self.position += 2;
            hexadecimal = true;
            self.bump_if(|character| character == '_');
        }
        let is_digit = move |character: char| {
            if hexadecimal { character.is_ascii_hexdigit() } else { character.is_ascii_digit() }
        };
        let (mut dot, mut exponent) = (false, false);
        loop {
            self.bump_while(is_digit);
            match self.peek() {
                Some('.') if dot || hexadecimal => {
                    self.bump();
                    return false;
                }
                Some('.') => {
                    self.bump();
                    dot = true;
                    if matches!(self.peek(), Some('_' | '.')) {
                        return false;
                    }
                }
                Some('e' | 'E') if exponent => return false,
                Some('e' | 'E') => {
                    self.bump();
                    exponent = true;
                    self.bump_if(|character| character == '+' || character == '-');
                    if matches!(self.peek(), None | Some('.' | '_' | 'e' | 'E')) {
                        return false;
                    }
                }
                Some('_') => {
                    self.bump();
                    if matches!(self.peek(), None | Some('.' | '_' | 'e' | 'E')) {
                        return false;
                    }
                }
                _ => break,
            }
        }
        self.position > start && !self.peek().is_some_and(is_alphanumeric)
    }

    /// After a number: a unit, then more numbers with units.
    fn scan_rest_of_duration(&mut self) -> bool {
        let units = |character: char| "smhdwy".contains(character);
        if !self.bump_if(units) {
            return false;
        }
        self.bump_if(|character| character == 's');
        while self.bump_if(|character| character.is_ascii_digit()) {
            self.bump_while(|character| character.is_ascii_digit());
            if !self.bump_if(|character| "smhdw".contains(character)) {
                return false;
            }
            self.bump_if(|character| character == 's');
        }
        // What must not follow becomes part of the message.
        !self.bump_if(is_alphanumeric)
    }

    fn quoted(&mut self, start: usize, quote: char) -> bool {
        self.bump();
        loop {
            match self.bump() {
                Some('\\') => {
                    if let Err(message) = self.escape(quote) {
                        return self.fail(start, message);
                    }
                }
                None | Some('\n') => return self.fail(start, "unterminated quoted string".to_owned()),
                Some(character) if character == quote => return self.push(TokenKind::String, start),
                Some(char::REPLACEMENT_CHARACTER) => return self.fail(start, NOT_UTF8.to_owned()),
                Some(_) => {}
            }
        }
    }

    /// Checks an escape whose backslash has been read.
    fn escape(&mut self, quote: char) -> Result<(), String> {
        let Some(kind) = self.bump() else { return Err("escape sequence not terminated".to_owned()) };
        let (count, base, value_max) = match kind {
            'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' => return Ok(()),
            _ if kind == quote => return Ok(()),
            '0'..='7' => {
                self.position -= 1;
                (3, 8, 255)
            }
            'x' => (2, 16, 255),
            'u' => (4, 16, 0x10_FFFF),
            'U' => (8, 16, 0x10_FFFF),
            _ => return Err(format!("unknown escape sequence {}", code_point(kind))),
        };
        let mut value = 0u32;
        for _ in 0..count {
            let Some(character) = self.bump() else {
                return Err("escape sequence not terminated".to_owned());
            };
            let Some(digit) = character.to_digit(base) else {
                return Err(format!("illegal character {} in escape sequence", code_point(character)));
            };
            value = value.saturating_mul(base).saturating_add(digit);
        }
        if value > value_max || (0xD800..0xE000).contains(&value) {
            return Err("escape sequence is an invalid Unicode code point".to_owned());
        }
        Ok(())
    }

    fn raw_quoted(&mut self, start: usize) -> bool {
        self.bump();
        self.bump_while(|character| !matches!(character, '`' | char::REPLACEMENT_CHARACTER));
        match self.bump() {
            Some('`') => {}
            Some(_) => return self.fail(start, NOT_UTF8.to_owned()),
            None => return self.fail(start, "unterminated raw string".to_owned()),
        }
        self.push(TokenKind::String, start)
    }
}

pub(crate) fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r')
}

fn is_alpha(character: char) -> bool {
    character == '_' || character.is_ascii_alphabetic()
}

fn is_alphanumeric(character: char) -> bool {
    is_alpha(character) || character.is_ascii_digit()
}

/// As Go's `%q` prints a rune.
fn quote_char(character: char) -> String {
    match character {
        '\'' => "'\\''".to_owned(),
        '"' => "'\"'".to_owned(),
        _ => {
            let quoted = crate::syntax::printer::quote(character.encode_utf8(&mut [0; 4]));
            format!("'{}'", &quoted[1..quoted.len() - 1])
        }
    }
}

/// As Go's `%#U` prints a rune.
fn code_point(character: char) -> String {
    format!("U+{:04X} '{character}'", u32::from(character))
}
