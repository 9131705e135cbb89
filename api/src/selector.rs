//! Selectors: CEL expressions over a block's dimensions that say which blocks match a claim.

mod nesting;

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, LazyLock},
};

use cel::{
    Context, Env, ExecutionError, IdedExpr, Program, Value,
    common::ast::{EntryExpr, Expr, LiteralValue, operators},
};
use nesting::Refused;
use thiserror::Error;

use crate::{Dimensions, FieldError, excerpt};

/// Why a text is not a selector, or why its evaluation for a block fails. The message says what is accepted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SelectorError {
    /// The text is empty.
    #[error("is empty: write a CEL expression like block.city == \"nyc\", or leave it out for every block")]
    Empty,
    /// The text is longer than is accepted.
    #[error("has {0} characters: at most 2000 are accepted")]
    TooLong(usize),
    /// The expression is nested more deeply than is accepted.
    #[error(
        "is nested too deeply: at most {} levels of brackets and operators are accepted",
        nesting::MOST_LEVELS
    )]
    TooDeep,
    /// The text is not CEL.
    #[error("{text:?} is not a CEL expression: {problem}")]
    Syntax {
        /// What was written.
        text: String,
        /// Where, and what is wrong there.
        problem: String,
    },
    /// A variable other than `block`.
    #[error("{0} is not known: only block is, whose fields are a block's dimensions, like block.city")]
    UnknownVariable(String),
    /// `block` without a field.
    #[error("block can only be read field by field, like block.city")]
    WholeBlock,
    /// A function that is not accepted.
    #[error("{name} is not a function: known are {known}")]
    UnknownFunction {
        /// Its name.
        name: String,
        /// The functions that are accepted.
        known: String,
    },
    /// A macro, which would repeat a part of the expression for each element of a list.
    #[error(
        "all, exists, exists_one, filter and map are not accepted: compare dimensions with constants, like \
         block.city in [\"nyc\", \"sf\"]"
    )]
    Macro,
    /// The expression is neither true nor false.
    #[error("{text:?} is {kind}, not true or false: write a condition like block.city == \"nyc\"")]
    NotACondition {
        /// What was written.
        text: String,
        /// Its kind.
        kind: String,
    },
    /// The evaluation for a block fails, because of the types or values of its dimensions.
    #[error("{text:?} has no answer: {problem}")]
    Evaluation {
        /// What was written.
        text: String,
        /// What fails.
        problem: String,
    },
}

const MOST_CHARACTERS: usize = 2000;
/// How much of a selector a message quotes, in bytes.
const MOST_QUOTED: usize = 120;

/// The functions that are accepted. `matches` is not: a regular expression can be arbitrarily expensive to
/// compile, and is compiled for every block.
const FUNCTIONS: [&str; 7] = [
    "contains",
    "endsWith",
    "startsWith",
    "size",
    "int",
    "string",
    "double",
];
/// The operators that are accepted, by their names in a parsed expression.
const OPERATORS: [&str; 18] = [
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::SUBSTRACT,
    operators::ADD,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::GREATER_EQUALS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::LESS,
    operators::NEGATE,
    operators::INDEX,
    operators::IN,
];
/// The only variable.
const BLOCK: &str = "block";

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let env = Env::stdlib().with_optional_support(false);
    Arc::new(env)
});

/// A condition on a block's dimensions, compiled. Cheap to clone, so that it is compiled once and handed on.
///
/// An evaluation looks at each part of the text at most once, since nothing in the accepted language repeats:
/// there are no macros and no regular expressions. So its cost is bounded by the length of the text and of
/// the dimensions.
#[derive(Clone)]
pub struct Selector(Arc<Compiled>);

struct Compiled {
    source: String,
    program: Program,
    attributes: BTreeSet<String>,
}

impl Selector {
    /// Compiles `text`. A selector that compiles can fail for a block only because of the types and values of
    /// its dimensions.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.trim().is_empty() {
            return Err(SelectorError::Empty);
        }
        let characters = text.chars().count();
        if characters > MOST_CHARACTERS {
            return Err(SelectorError::TooLong(characters));
        }
        nesting::check(text).map_err(|refused| match refused {
            Refused::TooDeep => SelectorError::TooDeep,
            Refused::Syntax { at, problem } => syntax_error(text, nesting::position(text, at), &problem),
        })?;
        // A panic of the parser is one text's error, and must not end the task that parses it.
        let program = catch_unwind(AssertUnwindSafe(|| ENV.compile(text)))
            .map_err(|_| syntax_error(text, (1, 1), "the parser can't read it"))?
            .map_err(|errors| parse_error(text, &errors))?;
        let mut walk = Walk::default();
        walk.visit(program.expression())?;
        if let Some(kind) = kind_if_no_condition(&program.expression().expr) {
            return Err(SelectorError::NotACondition {
                text: excerpt(text, MOST_QUOTED).into_owned(),
                kind: kind.to_owned(),
            });
        }
        Ok(Self(Arc::new(Compiled {
            source: text.to_owned(),
            program,
            attributes: walk.attributes,
        })))
    }

    /// The text of the selector, as it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// The dimensions that the selector reads, without those that it only tests for with `has`.
    #[must_use]
    pub fn attributes(&self) -> &BTreeSet<String> {
        &self.0.attributes
    }

    /// Whether a block with these dimensions matches. A block that lacks a dimension that the evaluation
    /// reads does not.
    pub fn matches(&self, block: &Dimensions) -> Result<bool, SelectorError> {
        let mut context = Context::with_env(ENV.clone());
        let fields: HashMap<String, Value> = block
            .iter()
            .map(|(name, value)| (name.clone(), Value::from(value)))
            .collect();
        context.add_variable_from_value(BLOCK, fields);
        match self.0.program.execute(&context) {
            Ok(Value::Bool(matches)) => Ok(matches),
            Ok(other) => Err(SelectorError::NotACondition {
                text: excerpt(&self.0.source, MOST_QUOTED).into_owned(),
                kind: format!("of type {}", other.type_of()),
            }),
            Err(ExecutionError::NoSuchKey(name)) if !block.contains_key(name.as_str()) => Ok(false),
            Err(error) => Err(SelectorError::Evaluation {
                text: excerpt(&self.0.source, MOST_QUOTED).into_owned(),
                problem: problem(&error),
            }),
        }
    }
}

impl PartialEq for Selector {
    fn eq(&self, other: &Self) -> bool {
        self.0.source == other.0.source
    }
}

impl Eq for Selector {}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Selector").field(&self.0.source).finish()
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.source)
    }
}

/// Makes an error of the first of the parser's errors, in one line.
fn parse_error(text: &str, errors: &cel::ParseErrors) -> SelectorError {
    let Some(error) = errors.errors.first() else {
        return syntax_error(text, (1, 1), "the parser can't read it");
    };
    let (line, column) = error.pos;
    let [line, column] = [line, column].map(|number| usize::try_from(number).unwrap_or(1));
    let message = lower_case(error.msg.lines().next().unwrap_or_default());
    syntax_error(text, (line, column), &message)
}

fn syntax_error(text: &str, (line, column): (usize, usize), problem: &str) -> SelectorError {
    SelectorError::Syntax {
        text: excerpt(text, MOST_QUOTED).into_owned(),
        problem: if line > 1 {
            format!("at line {line}, column {column}: {problem}")
        } else {
            format!("at column {column}: {problem}")
        },
    }
}

/// Describes the error of an evaluation, with operators as they are written where they are known.
fn problem(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchOverload(overload) => format!(
            "{} doesn't go with {}",
            // Operators are called `_<_`.
            overload.function().trim_matches('_').trim_matches('@'),
            overload.argument_types().join(" and ")
        ),
        ExecutionError::UnsupportedBinaryOperator(name, left, right) => {
            format!(
                "{name} doesn't go with {} and {}",
                left.type_of(),
                right.type_of()
            )
        }
        other => lower_case(&other.to_string()),
    }
}

/// Returns `text` with its first letter in lower case, to follow a colon.
fn lower_case(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// Returns the kind of an expression that is certainly not true or false; none if it may be.
fn kind_if_no_condition(expression: &Expr) -> Option<&'static str> {
    const CONDITIONS: [&str; 10] = [
        operators::LOGICAL_AND,
        operators::LOGICAL_OR,
        operators::LOGICAL_NOT,
        operators::EQUALS,
        operators::NOT_EQUALS,
        operators::GREATER_EQUALS,
        operators::LESS_EQUALS,
        operators::GREATER,
        operators::LESS,
        operators::IN,
    ];
    const TESTS: [&str; 3] = ["contains", "endsWith", "startsWith"];
    match expression {
        // Dimensions are integers and strings.
        Expr::Select(select) if !select.test && matches!(select.operand.expr, Expr::Ident(_)) => {
            Some("a dimension")
        }
        Expr::Literal(LiteralValue::Boolean(_))
        | Expr::Ident(_)
        | Expr::Comprehension(_)
        | Expr::Select(_)
        | Expr::Unspecified => None,
        Expr::Literal(_) => Some("a constant"),
        Expr::List(_) => Some("a list"),
        Expr::Map(_) | Expr::Struct(_) => Some("a map"),
        Expr::Call(call) => {
            let name = call.func_name.as_str();
            match name {
                // The kind of a conditional is that of its branches.
                operators::CONDITIONAL => call.args[1..]
                    .iter()
                    .find_map(|branch| kind_if_no_condition(&branch.expr)),
                operators::INDEX => None,
                _ if CONDITIONS.contains(&name) || TESTS.contains(&name) => None,
                _ => Some("a number or a string"),
            }
        }
    }
}

/// Walks an expression: checks what it calls, and collects the dimensions that it reads.
#[derive(Default)]
struct Walk {
    attributes: BTreeSet<String>,
}

impl Walk {
    fn visit(&mut self, expression: &IdedExpr) -> Result<(), SelectorError> {
        match &expression.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) if name == BLOCK => Err(SelectorError::WholeBlock),
            Expr::Ident(name) => Err(SelectorError::UnknownVariable(name.clone())),
            Expr::Select(select) => match &select.operand.expr {
                Expr::Ident(name) if name == BLOCK => {
                    if !select.test {
                        self.attributes.insert(select.field.clone());
                    }
                    Ok(())
                }
                _ => self.visit(&select.operand),
            },
            Expr::Call(call) => {
                let name = call.func_name.as_str();
                if !OPERATORS.contains(&name) && !FUNCTIONS.contains(&name) {
                    return Err(SelectorError::UnknownFunction {
                        name: name.to_owned(),
                        known: FUNCTIONS.join(", "),
                    });
                }
                call.target
                    .iter()
                    .map(AsRef::as_ref)
                    .chain(&call.args)
                    .try_for_each(|part| self.visit(part))
            }
            Expr::List(list) => list.elements.iter().try_for_each(|part| self.visit(part)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| self.entry(&entry.expr)),
            Expr::Struct(made) => Err(SelectorError::UnknownVariable(made.type_name.clone())),
            Expr::Comprehension(_) => Err(SelectorError::Macro),
        }
    }

    fn entry(&mut self, entry: &EntryExpr) -> Result<(), SelectorError> {
        match entry {
            EntryExpr::StructField(field) => self.visit(&field.value),
            EntryExpr::MapEntry(entry) => {
                self.visit(&entry.key)?;
                self.visit(&entry.value)
            }
        }
    }
}

/// The first names, and how many there are more.
fn first_of(names: &[&str]) -> String {
    const MOST_NAMED: usize = 8;
    let listed = names
        .iter()
        .take(MOST_NAMED)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().saturating_sub(MOST_NAMED) {
        0 => listed,
        more => format!("{listed} and {more} more"),
    }
}

/// Refuses a selector that matches none of a dataset's blocks by mistake: one that reads a dimension that no
/// block has, or that fails for every block. Without blocks, nothing is known to be wrong.
pub fn check_selector<'a>(
    selector: &Selector,
    blocks: impl Iterator<Item = &'a Dimensions>,
) -> Result<(), FieldError> {
    let mut known: BTreeSet<&str> = BTreeSet::new();
    let mut error = None;
    let mut all_fail = true;
    let mut any = false;
    for block in blocks {
        any = true;
        known.extend(block.keys().map(String::as_str));
        match selector.matches(block) {
            Ok(_) => all_fail = false,
            Err(problem) => error = error.or(Some(problem)),
        }
    }
    if !any {
        return Ok(());
    }
    let unknown = selector.attributes().iter().map(String::as_str);
    let unknown: Vec<&str> = unknown.filter(|name| !known.contains(name)).collect();
    if !unknown.is_empty() {
        let known: Vec<&str> = known.into_iter().collect();
        let dimensions = match &*known.join(", ") {
            "" => "they have none".to_owned(),
            names => format!("there are {names}"),
        };
        let dimension = if unknown.len() == 1 {
            "dimension"
        } else {
            "dimensions"
        };
        return Err(FieldError::new(
            "selector",
            format_args!(
                "no block has the {dimension} {}: {dimensions}",
                first_of(&unknown)
            ),
        ));
    }
    match error {
        Some(problem) if all_fail => Err(FieldError::new("selector", problem)),
        _ => Ok(()),
    }
}
