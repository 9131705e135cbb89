//! Bounds how deeply a selector is nested before the CEL parser sees it.
//!
//! The parser, the evaluation and the drop of an expression recurse, and running out of stack ends the
//! process. So the text is split into CEL's tokens first, in a loop, and the height of the expression's tree
//! is bounded from the tokens: a bracket adds a level, and so does each operator of a chain like `1 + 1 + 1`.
//! The bound holds for whatever tree the parser makes of the tokens, right or wrong, because the tokens are
//! surely the parser's: text that has none, such as a string that isn't closed, is refused here, and so are
//! brackets that don't match.
//!
//! Grammar: <https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax>.

/// The highest tree that is accepted: far above any condition that a person writes. Parsing and evaluating it
/// takes about 0.5 MiB of stack with an optimised parser, where a thread of the extender has 2 MiB.
pub(super) const MOST_LEVELS: usize = 64;

/// Why a text is not handed to the parser.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Its tree may be higher than [`MOST_LEVELS`].
    TooDeep,
    /// It is not CEL.
    Syntax {
        /// The byte at which it is not.
        at: usize,
        /// What is wrong there.
        problem: String,
    },
}

/// Accepts a text of CEL's tokens whose brackets match and whose tree has at most [`MOST_LEVELS`] levels.
pub(super) fn check(text: &str) -> Result<(), Refused> {
    if levels(text)? > MOST_LEVELS {
        return Err(Refused::TooDeep);
    }
    Ok(())
}

/// A bound of the height of the tree of `text`.
fn levels(text: &str) -> Result<usize, Refused> {
    let mut open: Vec<(usize, u8, Bracket)> = Vec::new();
    let mut inside = Bracket::default();
    let mut lexer = Lexer { text, at: 0 };
    while let Some((at, token)) = lexer.next()? {
        match token {
            Token::Operand => inside.ends_with_operand = true,
            Token::Dot => inside.operand += 1,
            Token::Sign if !inside.ends_with_operand => inside.operand = inside.operand.max(1),
            Token::Sign | Token::Binary => inside.binary(),
            Token::Not => inside.operand = inside.operand.max(1),
            Token::Logical => inside.logical(),
            Token::Question => inside.question(),
            Token::Colon => inside.end_term(),
            Token::Comma => inside.end_element(),
            Token::Open(bracket) => open.push((at, bracket, std::mem::take(&mut inside))),
            Token::Close(bracket) => {
                let Some((_, opening, outside)) = open.pop() else {
                    return Err(Refused::at(at, format!("{} closes nothing", char::from(bracket))));
                };
                let expected = closing(opening);
                if bracket != expected {
                    let [found, expected] = [bracket, expected].map(char::from);
                    return Err(Refused::at(
                        at,
                        format!("{found} stands where {expected} is expected"),
                    ));
                }
                inside.end_element();
                let content = inside.highest;
                inside = outside;
                inside.operand = inside.operand.max(content) + 1;
                inside.ends_with_operand = true;
            }
        }
    }
    if let Some((at, bracket, _)) = open.first() {
        return Err(Refused::at(*at, format!("{} isn't closed", char::from(*bracket))));
    }
    inside.end_element();
    Ok(inside.highest)
}

/// The line and the column of a byte, each from 1.
pub(super) fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
    (line, column)
}

impl Refused {
    fn at(at: usize, problem: impl Into<String>) -> Self {
        Self::Syntax {
            at,
            problem: problem.into(),
        }
    }
}

/// The heights of what stands within a pair of brackets, as far as it was read.
///
/// An element (of a list, of a call's arguments) is terms joined by `&&`, `||` and `? :`; a term is operands
/// joined by other binary operators; an operand has signs before it and fields, indexes and calls after it.
#[derive(Debug, Default)]
struct Bracket {
    /// The highest element before the present one.
    highest: usize,
    /// `?` in the present element: each nests what follows it in its branches.
    conditions: usize,
    /// `&&` and `||` in the present element.
    logicals: usize,
    /// The highest term of the present element before the present one.
    term: usize,
    /// Binary operators in the present term: the tree of n operators is at most n levels higher than its
    /// operands.
    binaries: usize,
    /// The highest operand of the present term before the present one.
    term_operand: usize,
    /// The present operand.
    operand: usize,
    /// Whether the last token ended an operand, so that `-` subtracts.
    ends_with_operand: bool,
}

impl Bracket {
    fn binary(&mut self) {
        self.term_operand = self.term_operand.max(self.operand);
        self.operand = 0;
        self.binaries += 1;
        self.ends_with_operand = false;
    }

    fn end_term(&mut self) {
        self.term = self.term.max(self.binaries + self.term_operand.max(self.operand));
        self.binaries = 0;
        self.term_operand = 0;
        self.operand = 0;
        self.ends_with_operand = false;
    }

    fn logical(&mut self) {
        self.end_term();
        self.logicals += 1;
    }

    fn question(&mut self) {
        self.end_term();
        self.conditions += 1;
    }

    fn end_element(&mut self) {
        self.end_term();
        // The parser balances n `&&`, and n `||`, to a tree of log2(n + 1) levels each.
        let balanced = 2 * (usize::BITS - self.logicals.leading_zeros()) as usize;
        self.highest = self.highest.max(self.conditions + balanced + self.term);
        self.conditions = 0;
        self.logicals = 0;
        self.term = 0;
    }
}

/// A token, as far as nesting goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// A literal, a name or a keyword.
    Operand,
    Dot,
    /// `-`, which is a sign or an operator.
    Sign,
    Not,
    /// Any operator between two operands but those below.
    Binary,
    /// `&&` or `||`.
    Logical,
    Question,
    Colon,
    Comma,
    Open(u8),
    Close(u8),
}

const fn closing(bracket: u8) -> u8 {
    match bracket {
        b'(' => b')',
        b'[' => b']',
        _ => b'}',
    }
}

/// Splits a text into tokens, as CEL does.
struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl Lexer<'_> {
    /// The next token and the byte where it begins.
    fn next(&mut self) -> Result<Option<(usize, Token)>, Refused> {
        self.skip_blanks();
        let start = self.at;
        let Some(first) = self.byte(0) else {
            return Ok(None);
        };
        let token = match (first, self.byte(1)) {
            (b'=' | b'!' | b'<' | b'>', Some(b'=')) => self.take(2, Token::Binary),
            (b'&', Some(b'&')) | (b'|', Some(b'|')) => self.take(2, Token::Logical),
            (b'.', Some(next)) if next.is_ascii_digit() => self.number(),
            (b'<' | b'>' | b'+' | b'*' | b'/' | b'%', _) => self.take(1, Token::Binary),
            (b'-', _) => self.take(1, Token::Sign),
            (b'!', _) => self.take(1, Token::Not),
            (b'.', _) => self.take(1, Token::Dot),
            (b'?', _) => self.take(1, Token::Question),
            (b':', _) => self.take(1, Token::Colon),
            (b',', _) => self.take(1, Token::Comma),
            (b'(' | b'[' | b'{', _) => self.take(1, Token::Open(first)),
            (b')' | b']' | b'}', _) => self.take(1, Token::Close(first)),
            (b'"' | b'\'', _) => self.string(false)?,
            (b'r' | b'R', Some(b'"' | b'\'')) => {
                self.at += 1;
                self.string(true)?
            }
            (b'b' | b'B', Some(b'"' | b'\'')) => {
                self.at += 1;
                self.string(false)?
            }
            (b'b' | b'B', Some(b'r' | b'R')) if matches!(self.byte(2), Some(b'"' | b'\'')) => {
                self.at += 2;
                self.string(true)?
            }
            (b'`', _) => self.quoted_name()?,
            (b'0'..=b'9', _) => self.number(),
            (b'a'..=b'z' | b'A'..=b'Z' | b'_', _) => self.word(),
            (b'=', _) => return Err(Refused::at(start, "= is no operator: write == to compare")),
            (b'&' | b'|', _) => {
                let operator = char::from(first);
                let problem = format!("{operator} is no operator: write {operator}{operator}");
                return Err(Refused::at(start, problem));
            }
            _ => {
                let rest = self.text.get(start..).unwrap_or_default();
                let unknown: String = rest.chars().take(1).collect();
                return Err(Refused::at(start, format!("{unknown:?} is not part of CEL")));
            }
        };
        Ok(Some((start, token)))
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    fn take(&mut self, bytes: usize, token: Token) -> Token {
        self.at += bytes;
        token
    }

    /// Skips the bytes for which `is` holds, and says how many they were.
    fn skip(&mut self, is: impl Fn(u8) -> bool) -> usize {
        let start = self.at;
        while self.byte(0).is_some_and(&is) {
            self.at += 1;
        }
        self.at - start
    }

    /// Skips blanks and comments.
    fn skip_blanks(&mut self) {
        loop {
            self.skip(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0C));
            if (self.byte(0), self.byte(1)) != (Some(b'/'), Some(b'/')) {
                return;
            }
            self.skip(|byte| byte != b'\n');
        }
    }

    fn word(&mut self) -> Token {
        let start = self.at;
        self.skip(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if self.text.get(start..self.at) == Some("in") {
            Token::Binary
        } else {
            Token::Operand
        }
    }

    fn number(&mut self) -> Token {
        if self.byte(0) == Some(b'0')
            && self.byte(1) == Some(b'x')
            && self.byte(2).is_some_and(|byte| byte.is_ascii_hexdigit())
        {
            self.at += 2;
            self.skip(|byte| byte.is_ascii_hexdigit());
        } else {
            let digit = |byte: u8| byte.is_ascii_digit();
            self.skip(digit);
            if self.byte(0) == Some(b'.') && self.byte(1).is_some_and(digit) {
                self.at += 1;
                self.skip(digit);
            }
            let sign = usize::from(matches!(self.byte(1), Some(b'+' | b'-')));
            if matches!(self.byte(0), Some(b'e' | b'E')) && self.byte(1 + sign).is_some_and(digit) {
                self.at += 1 + sign;
                self.skip(digit);
            }
        }
        // The u of an unsigned integer. After a float it is a name, which changes nothing here.
        if matches!(self.byte(0), Some(b'u' | b'U')) {
            self.at += 1;
        }
        Token::Operand
    }

    /// A field's name between backticks.
    fn quoted_name(&mut self) -> Result<Token, Refused> {
        let start = self.at;
        self.at += 1;
        let length = self
            .skip(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'/' | b' '));
        if length == 0 || self.byte(0) != Some(b'`') {
            return Err(Refused::at(start, "` begins a name that isn't closed"));
        }
        Ok(self.take(1, Token::Operand))
    }

    /// A string or bytes, at its first quotation mark.
    fn string(&mut self, is_raw: bool) -> Result<Token, Refused> {
        let start = self.at;
        let quote = self.byte(0);
        let not_closed = || Refused::at(start, "a string begins that isn't closed");
        let is_triple = self.byte(1) == quote && self.byte(2) == quote;
        let marks = if is_triple { 3 } else { 1 };
        self.at += marks;
        loop {
            let byte = self.byte(0).ok_or_else(not_closed)?;
            if (0..marks).all(|ahead| self.byte(ahead) == quote) {
                return Ok(self.take(marks, Token::Operand));
            }
            match byte {
                b'\\' if !is_raw => self.escape()?,
                b'\n' | b'\r' if !is_triple => return Err(not_closed()),
                _ => self.at += 1,
            }
        }
    }

    /// An escape sequence, at its backslash.
    fn escape(&mut self) -> Result<(), Refused> {
        let hexadecimal = |digits: usize| {
            let all = (2..2 + digits).all(|at| self.byte(at).is_some_and(|byte| byte.is_ascii_hexdigit()));
            all.then_some(2 + digits)
        };
        let octal = |byte: Option<u8>| matches!(byte, Some(b'0'..=b'7'));
        let length = match self.byte(1) {
            Some(b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'"' | b'\'' | b'\\' | b'?' | b'`') => {
                Some(2)
            }
            Some(b'x' | b'X') => hexadecimal(2),
            Some(b'u') => hexadecimal(4),
            Some(b'U') => hexadecimal(8),
            Some(b'0'..=b'3') if octal(self.byte(2)) && octal(self.byte(3)) => Some(4),
            _ => None,
        };
        match length {
            Some(length) => {
                self.at += length;
                Ok(())
            }
            None => Err(Refused::at(
                self.at,
                "no escape sequence of CEL begins: write \\\\ for a backslash",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use cel::common::ast::{EntryExpr, Expr};
    use proptest::prelude::*;

    use super::*;
    use crate::selector::ENV;

    /// The height of the tree that the parser makes.
    fn height(expression: &Expr) -> usize {
        let children: Vec<&Expr> = match expression {
            Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) => return 0,
            Expr::Select(select) => vec![&select.operand.expr],
            Expr::Call(call) => call
                .target
                .iter()
                .map(|target| &target.expr)
                .chain(call.args.iter().map(|argument| &argument.expr))
                .collect(),
            Expr::List(list) => list.elements.iter().map(|element| &element.expr).collect(),
            Expr::Map(map) => map.entries.iter().flat_map(|entry| parts(&entry.expr)).collect(),
            Expr::Struct(made) => made.entries.iter().flat_map(|entry| parts(&entry.expr)).collect(),
            Expr::Comprehension(_) => panic!("no macro was written"),
        };
        1 + children.into_iter().map(height).max().unwrap_or(0)
    }

    fn parts(entry: &EntryExpr) -> Vec<&Expr> {
        match entry {
            EntryExpr::StructField(field) => vec![&field.value.expr],
            EntryExpr::MapEntry(entry) => vec![&entry.key.expr, &entry.value.expr],
        }
    }

    fn problem(text: &str) -> (usize, String) {
        match levels(text) {
            Err(Refused::Syntax { at, problem }) => (at, problem),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn brackets_and_the_links_of_chains_are_levels() {
        for (text, expected) in [
            ("true", 0),
            ("block.a", 1),
            ("block.a == 1", 2),
            ("block.a == 1 && block.b == 2", 4),
            ("((1))", 2),
            ("1 + 2 - 3", 2),
            ("(1 + (2 + 3)) + 4", 5),
            ("f(x)[0].a", 3),
            ("[1, 2 + 3, [4]]", 2),
            ("{'a': [1]}", 2),
            ("a ? b : c ? d : e", 2),
            ("!!!!-1", 1),
            ("1 - -1", 2),
            ("x in [1, 2]", 2),
            // Neither strings nor comments have brackets.
            (r#"'((' == "[[" // {{"#, 1),
            (r"b'(' == br'\('", 1),
            (r#"r"(\" == '\'(\''"#, 1),
            ("'''\n'(''' == \"\"\"(\"\"\"", 1),
            ("1e+5 + 0x1e+5 + .5 + 1.5e-3", 4),
        ] {
            assert_eq!(levels(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_token_and_what_does_not_match_is_refused_where_it_stands() {
        for (text, at, expected) in [
            ("block.a = 1", 8, "= is no operator: write == to compare"),
            ("a & b", 2, "& is no operator: write &&"),
            ("ä == 1", 0, "\"ä\" is not part of CEL"),
            ("'ä' == #", 8, "\"#\" is not part of CEL"),
            ("a == 'b", 5, "a string begins that isn't closed"),
            ("a == 'b\n'", 5, "a string begins that isn't closed"),
            ("a == '''b'", 5, "a string begins that isn't closed"),
            (
                r"a == '\q'",
                6,
                r"no escape sequence of CEL begins: write \\ for a backslash",
            ),
            ("block.`a b", 6, "` begins a name that isn't closed"),
            ("(a", 0, "( isn't closed"),
            ("a)", 1, ") closes nothing"),
            ("[(a])", 3, "] stands where ) is expected"),
        ] {
            assert_eq!(problem(text), (at, expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_position_is_a_line_and_a_column_of_characters() {
        assert_eq!(position("ab", 0), (1, 1));
        assert_eq!(position("äb\nc", 2), (1, 2));
        assert_eq!(position("äb\ncd", 5), (2, 2));
    }

    /// An expression of CEL, with brackets and chains.
    fn expression() -> impl Strategy<Value = String> {
        let leaf = prop::sample::select(vec!["1", "-1", "block.a", "'x(['", "true", r"r'\'"]);
        let operator =
            || prop::sample::select(vec![" + ", " - ", " * ", " < ", " == ", " in ", " && ", " || "]);
        leaf.prop_map(str::to_owned)
            .prop_recursive(24, 200, 4, move |inner| {
                let chain = prop::collection::vec((inner.clone(), operator()), 1..6);
                let elements = prop::collection::vec(inner.clone(), 0..3);
                let pair = (inner.clone(), inner.clone());
                let triple = (inner.clone(), inner.clone(), inner.clone());
                prop_oneof![
                    3 => (chain, inner.clone()).prop_map(|(links, last)| {
                        let links = links.into_iter().map(|(operand, operator)| operand + operator);
                        links.collect::<String>() + &last
                    }),
                    2 => inner.clone().prop_map(|inner| format!("({inner})")),
                    1 => inner.clone().prop_map(|inner| format!("!({inner})")),
                    1 => inner.prop_map(|inner| format!("int({inner}).size()")),
                    1 => elements.prop_map(|elements| format!("[{}]", elements.join(", "))),
                    1 => pair.clone().prop_map(|(key, value)| format!("{{{key}: {value}}}")),
                    1 => pair.prop_map(|(from, at)| format!("({from})[{at}]")),
                    1 => triple.prop_map(|(a, b, c)| format!("({a}) ? ({b}) : {c}")),
                ]
            })
    }

    /// Pieces of tokens in any order: most are no expression.
    fn soup() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "(", ")", "[", "]", "{", "}", "'", "\"", "'''", "\"\"\"", "\\", "\\'", "\\\"", "\\n", "\\x4",
            "\\101", "r'", "R\"", "b'", "br'", "rb'", "`", "`a`", "a", "in", "e", "u", "x", "0", "1", "0x",
            ".", ",", "?", ":", "+", "-", "*", "/", "//", "%", "!", "=", "==", "!=", "<", ">=", "&", "&&",
            "|", "||", " ", "\n", "\t", "ä",
        ]);
        prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn no_tree_of_the_parser_is_higher(text in expression()) {
            let levels = levels(&text).unwrap();
            prop_assume!(levels <= MOST_LEVELS);
            if let Ok(program) = ENV.compile(&text) {
                let height = height(&program.expression().expr);
                prop_assert!(height <= levels, "{height} above {levels}: {text}");
            }
        }

        /// The parser's tokens are those that were counted: else there could be more brackets than were seen.
        #[test]
        fn text_that_passes_is_made_of_the_parsers_tokens(text in soup()) {
            if levels(&text).is_ok() && let Err(errors) = ENV.compile(&text) {
                for error in &errors.errors {
                    prop_assert!(!error.msg.contains("token recognition"), "{}: {text}", error.msg);
                }
            }
        }
    }
}
