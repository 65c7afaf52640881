//! Rule ids, and how a text cites them.

use std::collections::BTreeSet;
use std::fmt;

/// A rule's id, such as R8. In order: D, R, I, L.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) letter: char,
    pub(super) number: u32,
}

impl Rule {
    fn order(self) -> (Option<usize>, u32) {
        (LETTERS.find(self.letter), self.number)
    }

    /// Reads an id at the start of `text`; also what follows it.
    fn at_start<'t>(text: &'t str, letters: &str) -> Option<(Self, &'t str)> {
        let letter = text.chars().next().filter(|c| letters.contains(*c))?;
        let rest = text.get(letter.len_utf8()..)?;
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (digits, after) = rest.split_at(end);
        // No rule has a longer number; a longer one is an identifier of something else.
        if digits.len() > 2 || digits.starts_with('0') {
            return None;
        }
        let number = digits.parse().ok()?;
        let letter = letter.to_ascii_uppercase();
        Some((Self { letter, number }, after))
    }
}

impl PartialOrd for Rule {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Rule {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.letter, self.number)
    }
}

/// The rules that the text of the rules defines: their ids stand in bold.
pub(super) fn defined(rules_text: &str) -> BTreeSet<Rule> {
    rules_text
        .split("**")
        .skip(1)
        .step_by(2)
        .filter_map(|bold| Rule::at_start(bold, LETTERS))
        .filter(|(_, after)| after.is_empty())
        .map(|(rule, _)| rule)
        .collect()
}

/// The rules that a comment or a string cites: R8, D2 …, and those of ranges such as R7–R11 or R7 to
/// R11.
pub(super) fn in_text(text: &str) -> BTreeSet<Rule> {
    let mut rules = BTreeSet::new();
    let mut range_from: Option<Rule> = None;
    let mut word_before = false;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let found = Rule::at_start(rest, LETTERS)
            .filter(|(_, after)| !word_before && !after.starts_with(is_word))
            .filter(|(_, after)| !is_fraction(after));
        if let Some((rule, after)) = found {
            rules.insert(rule);
            if let Some(from) = range_from.take() {
                rules.extend(between(from, rule));
            }
            rest = after;
            for joint in ["–", " to "] {
                if let Some(after) = after.strip_prefix(joint) {
                    range_from = Some(rule);
                    rest = after;
                }
            }
            word_before = false;
        } else {
            range_from = None;
            word_before = is_word(c);
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
        }
    }
    rules
}

/// Whether what follows makes a number of it, such as the coordinate `L56.0`.
fn is_fraction(after: &str) -> bool {
    after
        .strip_prefix('.')
        .is_some_and(|digits| digits.starts_with(|c: char| c.is_ascii_digit()))
}

/// The rules that a text begins with, as `R8, I5: …` does.
pub(super) fn leading(text: &str) -> BTreeSet<Rule> {
    let Some((head, _)) = text.split_once(':') else {
        return BTreeSet::new();
    };
    let is_list = head
        .split([' ', ',', '–'])
        .filter(|word| !matches!(*word, "" | "and" | "to"))
        .all(|word| Rule::at_start(word, LETTERS).is_some_and(|(_, after)| after.is_empty()));
    if is_list {
        in_text(head)
    } else {
        BTreeSet::new()
    }
}

/// The rules that the name of a test begins with: `r8_…`, `r12_i7_…`, `r1_to_r12_…`.
pub(super) fn in_name(name: &str) -> BTreeSet<Rule> {
    let mut rules = BTreeSet::new();
    let mut last: Option<Rule> = None;
    let mut is_range = false;
    for word in name.split('_') {
        match Rule::at_start(word, &LETTERS.to_ascii_lowercase()) {
            Some((rule, "")) => {
                if let Some(from) = last.filter(|_| is_range) {
                    rules.extend(between(from, rule));
                }
                rules.insert(rule);
                last = Some(rule);
                is_range = false;
            }
            _ if word == "to" && last.is_some() => is_range = true,
            _ => break,
        }
    }
    rules
}

fn between(from: Rule, to: Rule) -> impl Iterator<Item = Rule> {
    let letter = from.letter;
    let end = if to.letter == letter {
        to.number
    } else {
        from.number
    };
    (from.number..end).map(move |number| Rule { letter, number })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

const LETTERS: &str = "DRIL";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(found: &BTreeSet<Rule>, expected: &str) {
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found.join(" "), expected);
    }

    #[test]
    fn a_text_cites_ids_and_ranges() {
        check(&in_text("R8: refuses (I5), see D2 and L1."), "D2 R8 I5 L1");
        check(&in_text("R7–R11"), "R7 R8 R9 R10 R11");
        check(&in_text("*Resume queue* (R7 to R9)."), "R7 R8 R9");
        check(&in_text("from R7 to I2"), "R7 I2");
        check(&in_text("R7 and to R9"), "R7 R9");
    }

    #[test]
    fn what_only_looks_like_an_id_is_none() {
        check(&in_text("ER8 R8a R_8 R8_ r8 R R123 R01 SHA1 LR8"), "");
        check(&in_text("M0.0,1.0 L56.0,20.0"), "");
    }

    #[test]
    fn a_text_begins_with_the_rules_that_it_is_about() {
        check(&leading("R8, I5: refuses (R36)"), "R8 I5");
        check(&leading("R7 to R9 and I5: only these"), "R7 R8 R9 I5");
        check(&leading("refuses: R8"), "");
        check(&leading("as R8: refuses"), "");
        check(&leading("R8 refuses"), "");
    }

    #[test]
    fn a_name_begins_with_its_rules() {
        check(&in_name("r8_resume_is_refused"), "R8");
        check(&in_name("r12_i7_a_reset"), "R12 I7");
        check(&in_name("r1_to_r4_queue_every_state"), "R1 R2 R3 R4");
        check(&in_name("case_r8"), "");
        check(&in_name("r8"), "R8");
        check(&in_name("render_to_r8"), "");
    }

    #[test]
    fn the_rules_define_what_stands_in_bold() {
        check(
            &defined("**R1** a **not** **I20** **L1** R9 **R2 and**"),
            "R1 I20 L1",
        );
    }
}
