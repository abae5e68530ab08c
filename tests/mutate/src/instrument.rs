//! Puts mutants into the text of a file, each behind a question whether it is the chosen one.

use std::collections::HashMap;
use std::ops::Range;

use proc_macro2::{LineColumn, Span};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::mutant::Mutant;

/// What answers the question, at the end of the crate's `lib.rs`.
pub(crate) const SWITCH: &str = r#"
#[doc(hidden)]
pub(crate) mod chosen_mutant {
    use std::sync::OnceLock;

    #[inline]
    pub(crate) fn is(number: u32) -> bool {
        static CHOSEN: OnceLock<u32> = OnceLock::new();
        *CHOSEN.get_or_init(|| std::env::var("XSK_MUTANT").map_or(0, |number| number.parse().unwrap_or(0))) == number
    }
}
"#;

/// A text with mutants in it.
pub(crate) struct Text {
    pub(crate) text: String,
    /// Where what belongs to a mutant is in it.
    pub(crate) places: Vec<(Range<usize>, usize)>,
    /// Mutants that are not in it.
    pub(crate) left: Vec<usize>,
}

/// Puts the mutants of a file into its text.
pub(crate) fn instrument(source: &str, mutants: &[&Mutant]) -> Result<Text, String> {
    let file = syn::parse_file(source).map_err(|error| error.to_string())?;
    let mut finder = Finder {
        source,
        lines: source
            .split_inclusive('\n')
            .scan(0, |at, line| Some(std::mem::replace(at, *at + line.len())))
            .collect(),
        wanted: HashMap::new(),
        edits: Vec::new(),
    };
    let mut left = Vec::new();
    for mutant in mutants {
        if mutant.name.contains(" -> impl ") {
            // One function returns one type.
            left.push(mutant.number);
        } else if mutant.genre == "FnValue" {
            let at = finder.offset(mutant.start);
            let text = format!("if {} {{ return {}; }} ", is(mutant), mutant.replacement);
            finder.edits.push(Edit { at, is_end: false, reach: usize::MAX, text, number: mutant.number });
        } else {
            let key = (mutant.start.line, mutant.start.column);
            finder.wanted.entry(key).or_default().push((*mutant).clone());
        }
    }
    finder.visit_file(&file);
    left.extend(finder.wanted.values().flatten().map(|mutant| mutant.number));
    Ok(apply(source, finder.edits, left))
}

fn is(mutant: &Mutant) -> String {
    format!("crate::chosen_mutant::is({})", mutant.number)
}

/// Text to be put in at a place.
struct Edit {
    at: usize,
    is_end: bool,
    /// How long what it encloses is.
    reach: usize,
    text: String,
    number: usize,
}

/// Of what begins at one place the longest comes first, and of what ends there the shortest.
fn apply(source: &str, mut edits: Vec<Edit>, left: Vec<usize>) -> Text {
    edits.sort_by_key(|edit| {
        let reach = if edit.is_end { edit.reach } else { usize::MAX - edit.reach };
        (edit.at, !edit.is_end, reach)
    });
    let (mut text, mut places, mut done) = (String::new(), Vec::new(), 0);
    for edit in edits {
        text.push_str(&source[done..edit.at]);
        done = edit.at;
        let start = text.len();
        text.push_str(&edit.text);
        places.push((start..text.len(), edit.number));
    }
    text.push_str(&source[done..]);
    Text { text, places, left }
}

/// Finds what the mutants change.
struct Finder<'a> {
    source: &'a str,
    /// Where each line begins.
    lines: Vec<usize>,
    /// Mutants that were not met yet, by their place.
    wanted: HashMap<(usize, usize), Vec<Mutant>>,
    edits: Vec<Edit>,
}

impl Finder<'_> {
    fn offset(&self, place: LineColumn) -> usize {
        let line = self.lines[place.line - 1];
        self.source[line..].char_indices().nth(place.column).map_or(self.source.len(), |(at, _)| line + at)
    }

    fn range(&self, span: Span) -> Range<usize> {
        self.offset(span.start())..self.offset(span.end())
    }

    /// The mutants that begin where `span` does, of this genre.
    fn take(&mut self, span: Span, genre: &str) -> Vec<Mutant> {
        let key = (span.start().line, span.start().column);
        let Some(mutants) = self.wanted.get_mut(&key) else { return Vec::new() };
        let (taken, rest) = mutants.drain(..).partition(|mutant| mutant.genre == genre);
        *mutants = rest;
        taken
    }

    /// Wraps an expression: each mutant has a text that takes its place.
    fn wrap(&mut self, whole: Range<usize>, mutants: Vec<(Mutant, String)>) {
        for (mutant, text) in mutants {
            let number = mutant.number;
            let begin = format!("(if {} {{ {text} }} else {{ ", is(&mutant));
            let reach = whole.len();
            self.edits.push(Edit { at: whole.start, is_end: false, reach, text: begin, number });
            self.edits.push(Edit { at: whole.end, is_end: true, reach, text: " })".into(), number });
        }
    }
}

/// A `let` within a condition cannot be taken out of it.
fn has_let(expr: &syn::Expr) -> bool {
    match expr {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_expr_binary(&mut self, expr: &'ast syn::ExprBinary) {
        if !has_let(&expr.left) && !has_let(&expr.right) {
            let mutants = self.take(expr.op.span(), "BinaryOperator");
            let (whole, op) = (self.range(expr.span()), self.range(expr.op.span()));
            let changed = mutants.into_iter().map(|mutant| {
                let (left, right) = (&self.source[whole.start..op.start], &self.source[op.end..whole.end]);
                let text = format!("{left}{}{right}", mutant.replacement);
                (mutant, text)
            });
            let changed = changed.collect();
            self.wrap(whole, changed);
        }
        visit::visit_expr_binary(self, expr);
    }

    fn visit_expr_unary(&mut self, expr: &'ast syn::ExprUnary) {
        let mutants = self.take(expr.op.span(), "UnaryOperator");
        let (whole, inner) = (self.range(expr.span()), self.range(expr.expr.span()));
        let inner = self.source[inner].to_owned();
        self.wrap(whole, mutants.into_iter().map(|mutant| (mutant, inner.clone())).collect());
        visit::visit_expr_unary(self, expr);
    }

    /// An arm that may be left out has a guard, so another one must take what it takes. Without such an arm they are left, as
    /// the compiler would not say which one it lacks.
    fn visit_expr_match(&mut self, expr: &'ast syn::ExprMatch) {
        let takes_all = |arm: &syn::Arm| arm.guard.is_none() && matches!(arm.pat, syn::Pat::Wild(_));
        if expr.arms.iter().any(takes_all) {
            for arm in expr.arms.iter().filter(|arm| arm.guard.is_none()) {
                for mutant in self.take(arm.span(), "MatchArm") {
                    let at = self.range(arm.pat.span()).end;
                    let text = format!(" if !{}", is(&mutant));
                    self.edits.push(Edit { at, is_end: false, reach: 0, text, number: mutant.number });
                }
            }
        }
        visit::visit_expr_match(self, expr);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if let Some((_, guard)) = arm.guard.as_ref().filter(|(_, guard)| !has_let(guard)) {
            let mutants = self.take(guard.span(), "MatchArmGuard");
            let whole = self.range(guard.span());
            let changed = mutants.into_iter().map(|mutant| {
                let text = mutant.replacement.clone();
                (mutant, text)
            });
            self.wrap(whole, changed.collect());
        }
        visit::visit_arm(self, arm);
    }
}
