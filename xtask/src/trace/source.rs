//! Which item of a source file cites which rule.
//!
//! This reads Rust as text: lines, with comments and strings told from code, and braces counted. That
//! is enough to say which item a comment stands at, and needs no parser.

use std::path::Path;

use super::cite::{self, Rule};

/// Where a rule is cited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// `file::item`, or the file alone.
    pub(super) name: String,
    pub(super) file: String,
    /// The property's name, where the rule is cited by one.
    property: Option<String>,
    pub(super) strength: Strength,
    /// Whether a function cites it, and not a type, a constant or the file.
    pub(super) is_function: bool,
    /// Whether it stands in the unit tests of a file of code.
    pub(super) in_unit_tests: bool,
}

impl Place {
    /// As the table shows it.
    pub(super) fn shown(&self) -> String {
        match &self.property {
            // A bar would end the cell.
            Some(property) => format!("`{}` “{}”", self.file, property.replace('|', "/")),
            None => format!("`{}`", self.name),
        }
    }
}

/// How much a citation says, the most telling first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Strength {
    /// The item or the property is named by the rule.
    Name,
    /// Its doc comment begins with the rule.
    Promise,
    /// Its doc comment mentions the rule.
    Doc,
    /// A comment within it does.
    Within,
    /// A string within it does.
    Text,
    /// The doc of the whole file does, or the file knows no items.
    File,
}

/// Every citation of a file, in its order.
pub(super) fn citations(file: &str, text: &str) -> Vec<(Rule, Place)> {
    let mut reader = Reader::new(file);
    if Path::new(file).extension().is_some_and(|e| e == "rs") {
        for line in lines(text) {
            reader.line(&line);
        }
    } else {
        reader.cite(cite::in_text(text), Strength::File, "", None);
    }
    reader.found
}

/// A line of Rust, told apart.
#[derive(Debug, Default, PartialEq, Eq)]
struct Line {
    /// The code; of strings only the quotes are left.
    code: String,
    /// The comment with its slashes.
    comment: String,
    strings: Vec<String>,
}

/// What a character stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    Code,
    LineComment,
    /// With how many are open.
    BlockComment(u32),
    String,
    /// With how many `#` end it.
    RawString(usize),
}

fn lines(text: &str) -> Vec<Line> {
    let mut found = Vec::new();
    let mut line = Line::default();
    let mut string = String::new();
    let mut within = Within::Code;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let mut taken = c.len_utf8();
        match within {
            Within::Code if rest.starts_with("//") => {
                within = Within::LineComment;
                continue;
            }
            Within::Code if rest.starts_with("/*") => {
                within = Within::BlockComment(0);
                continue;
            }
            Within::Code => match literal(rest, &line.code) {
                Literal::None => line.code.push(c),
                Literal::Char { length } => taken = length,
                Literal::Raw { length, hashes } => {
                    within = Within::RawString(hashes);
                    taken = length;
                }
                Literal::String => within = Within::String,
            },
            Within::LineComment if c == '\n' => within = Within::Code,
            Within::BlockComment(open) if rest.starts_with("/*") => {
                within = Within::BlockComment(open + 1);
                taken = 2;
            }
            Within::BlockComment(open) if rest.starts_with("*/") => {
                within = match open {
                    0 | 1 => Within::Code,
                    open => Within::BlockComment(open - 1),
                };
                taken = 2;
            }
            Within::LineComment | Within::BlockComment(_) => line.comment.push(c),
            Within::String if c == '\\' => {
                let escaped = rest.get(1..).and_then(|rest| rest.chars().next());
                // A line that is continued is one text: its indentation goes.
                taken = match escaped {
                    Some('\n') => rest.len() - rest.get(1..).map_or(0, |r| r.trim_start().len()),
                    Some(escaped) => 1 + escaped.len_utf8(),
                    None => 1,
                };
            }
            Within::String if c == '"' => {
                line.strings.push(std::mem::take(&mut string));
                within = Within::Code;
            }
            Within::RawString(hashes) if ends_raw(rest, hashes) => {
                line.strings.push(std::mem::take(&mut string));
                within = Within::Code;
                taken += hashes;
            }
            Within::String | Within::RawString(_) => string.push(c),
        }
        if c == '\n' && within == Within::Code {
            found.push(std::mem::take(&mut line));
        }
        rest = rest.get(taken..).unwrap_or_default();
    }
    found.push(line);
    found
}

/// What begins at this place of code.
enum Literal {
    None,
    /// A character, so many bytes long.
    Char {
        length: usize,
    },
    String,
    /// A raw string, whose beginning is so many bytes long.
    Raw {
        length: usize,
        hashes: usize,
    },
}

fn literal(rest: &str, code_before: &str) -> Literal {
    if rest.starts_with('"') {
        return Literal::String;
    }
    if let Some(after) = rest.strip_prefix('\'') {
        // A lifetime has no second quote right after its first letter.
        let mut chars = after.chars();
        let length = match chars.next() {
            Some('\\') => after.get(2..).and_then(|r| r.find('\'')).map(|at| at + 4),
            Some(c) if chars.next() == Some('\'') => Some(c.len_utf8() + 2),
            _ => None,
        };
        return length.map_or(Literal::None, |length| Literal::Char { length });
    }
    let is_in_word = code_before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
    let raw = rest
        .strip_prefix('r')
        .filter(|_| !is_in_word || code_before.ends_with('b'));
    if let Some(after) = raw {
        let hashes = after.len() - after.trim_start_matches('#').len();
        if after
            .get(hashes..)
            .is_some_and(|after| after.starts_with('"'))
        {
            let length = hashes + 2;
            return Literal::Raw { length, hashes };
        }
    }
    Literal::None
}

fn ends_raw(rest: &str, hashes: usize) -> bool {
    let after = rest.strip_prefix('"');
    after.is_some_and(|after| after.bytes().take_while(|b| *b == b'#').count() >= hashes)
}

/// An item that has begun.
#[derive(Debug, Clone)]
struct Item {
    /// With the type that it belongs to; empty for what the table does not name.
    name: String,
    kind: Kind,
    is_test_only: bool,
    /// How many braces were open where it began.
    outside: u32,
    /// How deep in braces its body is; none before its body has begun.
    body: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Function,
    /// A trait or the implementation of a type, whose functions are named with it.
    Implementation,
    Module,
    Type,
    /// A constant or an alias: braces belong to its value, and only a semicolon ends it.
    Value,
}

/// Goes through the lines of a file and knows which items are open.
struct Reader<'a> {
    file: &'a str,
    found: Vec<(Rule, Place)>,
    open: Vec<Item>,
    braces: u32,
    brackets: u32,
    /// Doc comments whose item has not come yet.
    docs: Vec<String>,
    /// Whether the item that comes is marked as for tests only.
    is_next_test_only: bool,
}

impl<'a> Reader<'a> {
    fn new(file: &'a str) -> Self {
        Self {
            file,
            found: Vec::new(),
            open: Vec::new(),
            braces: 0,
            brackets: 0,
            docs: Vec::new(),
            is_next_test_only: false,
        }
    }

    fn line(&mut self, line: &Line) {
        let code = line.code.trim();
        let header = header(code, self.implementation());
        if let Some((kind, name)) = header {
            self.begin(kind, &name);
        } else if !code.is_empty() && !code.starts_with("#[") {
            // A field, a variant or a statement: the docs are those of the item around it.
            self.cite_docs();
        }
        if code.contains("cfg(test)") {
            self.is_next_test_only = true;
        }
        self.comment(&line.comment, code.is_empty());
        for text in &line.strings {
            self.string(text);
        }
        self.braces(code);
    }

    fn begin(&mut self, kind: Kind, name: &str) {
        let is_test_only = self.is_next_test_only || self.is_test_only();
        self.is_next_test_only = false;
        let by_name = match kind {
            Kind::Function => cite::in_name(name.rsplit(':').next().unwrap_or(name)),
            Kind::Implementation | Kind::Module | Kind::Type | Kind::Value => [].into(),
        };
        self.open.push(Item {
            name: name.to_owned(),
            kind,
            is_test_only,
            outside: self.braces,
            body: None,
        });
        self.cite(by_name, Strength::Name, name, None);
        self.cite_docs();
    }

    fn comment(&mut self, comment: &str, stands_alone: bool) {
        if let Some(doc) = comment.strip_prefix("//!") {
            self.cite(cite::in_text(doc), Strength::File, "", None);
        } else if let Some(doc) = comment.strip_prefix("///") {
            self.docs.push(doc.trim().into());
        } else if self.is_in_function() || !stands_alone {
            let name = self.item();
            self.cite(cite::in_text(comment), Strength::Within, &name, None);
        } else if let Some(comment) = comment.strip_prefix("//") {
            // Above an item it says what a doc comment would.
            self.docs.push(comment.trim().into());
        }
    }

    fn string(&mut self, text: &str) {
        let name = self.item();
        let leading = cite::leading(text);
        let others = &cite::in_text(text) - &leading;
        let is_property = self.file.starts_with("model/");
        if is_property {
            self.cite(leading, Strength::Name, &name, Some(text));
        } else {
            self.cite(leading, Strength::Text, &name, None);
        }
        self.cite(others, Strength::Text, &name, None);
    }

    /// The docs that wait are those of the innermost item.
    fn cite_docs(&mut self) {
        let name = self.item();
        for doc in std::mem::take(&mut self.docs) {
            let leading = cite::leading(&doc);
            let others = &cite::in_text(&doc) - &leading;
            self.cite(leading, Strength::Promise, &name, None);
            self.cite(others, Strength::Doc, &name, None);
        }
    }

    fn cite(
        &mut self,
        rules: impl IntoIterator<Item = Rule>,
        strength: Strength,
        item: &str,
        property: Option<&str>,
    ) {
        let mut name = match item {
            "" => self.file.to_owned(),
            item => format!("{}::{item}", self.file),
        };
        if let Some(property) = property {
            name = format!("{} “{property}”", self.file);
        }
        let place = Place {
            name,
            file: self.file.to_owned(),
            property: property.map(str::to_owned),
            // Outside every item, only the file can be named.
            strength: if item.is_empty() {
                strength.max(Strength::Within)
            } else {
                strength
            },
            is_function: self.named().is_some_and(|item| item.kind == Kind::Function),
            in_unit_tests: self.is_test_only(),
        };
        self.found
            .extend(rules.into_iter().map(|rule| (rule, place.clone())));
    }

    /// Opens and closes items by the braces of a line.
    fn braces(&mut self, code: &str) {
        for c in code.chars() {
            match c {
                '{' => {
                    self.braces += 1;
                    let braces = self.braces;
                    if let Some(item) = self
                        .open
                        .last_mut()
                        .filter(|item| item.body.is_none() && item.kind != Kind::Value)
                    {
                        item.body = Some(braces);
                    }
                }
                '}' => {
                    if self
                        .open
                        .last()
                        .is_some_and(|item| item.body == Some(self.braces))
                    {
                        self.open.pop();
                        self.docs.clear();
                    }
                    self.braces = self.braces.saturating_sub(1);
                }
                '(' | '[' => self.brackets += 1,
                ')' | ']' => self.brackets = self.brackets.saturating_sub(1),
                // The item had no body. A semicolon in brackets is that of an array's type.
                ';' if self.brackets == 0 => {
                    let braces = self.braces;
                    self.open
                        .pop_if(|item| item.body.is_none() && item.outside == braces);
                }
                _ => {}
            }
        }
    }

    /// The innermost item that has a name.
    fn named(&self) -> Option<&Item> {
        let mut items = self.open.iter().rev();
        items.find(|item| item.kind != Kind::Module && !item.name.is_empty())
    }

    fn item(&self) -> String {
        self.named()
            .map(|item| item.name.clone())
            .unwrap_or_default()
    }

    fn implementation(&self) -> Option<&str> {
        let item = self.open.last()?;
        (item.kind == Kind::Implementation).then_some(&item.name)
    }

    fn is_in_function(&self) -> bool {
        self.open
            .last()
            .is_some_and(|item| item.kind == Kind::Function)
    }

    fn is_test_only(&self) -> bool {
        self.open.iter().any(|item| item.is_test_only)
    }
}

/// The item that a line of code begins, if it does.
fn header(code: &str, implementation: Option<&str>) -> Option<(Kind, String)> {
    let mut words = code.split_whitespace().peekable();
    loop {
        let word = words.next()?;
        let next = words.peek().copied().unwrap_or_default();
        let kind = match word {
            "async" | "unsafe" | "extern" | "default" | "\"\"" => continue,
            "const" if matches!(next, "fn" | "async" | "unsafe" | "extern") => continue,
            word if word == "pub" || word.starts_with("pub(") => continue,
            "fn" => Kind::Function,
            "struct" | "enum" | "union" => Kind::Type,
            "type" | "const" | "static" => Kind::Value,
            "trait" => Kind::Implementation,
            "mod" => Kind::Module,
            word if word == "impl" || word.starts_with("impl<") => {
                return Some((Kind::Implementation, implemented(code)));
            }
            _ => return None,
        };
        let name = identifier(next);
        if name.is_empty() {
            return None;
        }
        return Some(match implementation {
            Some(of) if !of.is_empty() => (kind, format!("{of}::{name}")),
            _ => (kind, name.into()),
        });
    }
}

/// The type that `impl … {` is of.
fn implemented(code: &str) -> String {
    let head = code.split('{').next().unwrap_or(code);
    let of = head.rsplit(" for ").next().unwrap_or(head);
    let of = of.strip_prefix("impl").unwrap_or(of);
    // The parameters of `impl<…>` end where as many are closed as were opened.
    let mut open = 0;
    let after = of.trim_start();
    let end = if after.starts_with('<') {
        after.find(|c| {
            open += i32::from(c == '<') - i32::from(c == '>');
            open == 0
        })
    } else {
        None
    };
    let of = end.and_then(|end| after.get(end + 1..)).unwrap_or(after);
    identifier(of.trim_start().rsplit("::").next().unwrap_or(of)).into()
}

/// The identifier that a text begins with.
fn identifier(text: &str) -> &str {
    let text = text.trim_start_matches(['&', ' ']);
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_'));
    text.get(..end.unwrap_or(text.len())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each citation as `rule strength place`.
    fn cited(file: &str, text: &str) -> Vec<String> {
        citations(file, text)
            .iter()
            .map(|(rule, place)| format!("{rule} {:?} {}", place.strength, place.name))
            .collect()
    }

    #[test]
    fn a_doc_comment_belongs_to_the_item_below_it() {
        let text = "\
//! R1 in a file.

/// R2: a type.
#[derive(Debug)]
pub(crate) struct Thing<'a> {
    /// A field (R3).
    field: &'a str,
}

impl<'a, T: Into<u8>> From<T> for Thing<'a> {
    /// R4: a function, and R5.
    #[must_use]
    pub const fn make(array: [u8; 3]) -> Self
    where
        T: Copy,
    {
        // R6: inside.
        let text = \"R7: { printed\"; // R8
        let quote = '\"'; let brace = '{'; let raw = r#\"R9 \" }\"#;
    }
}

// R10: why it is so.
const LIMIT: [Two; 2] = [Two { a: 1 }, Two {
    a: 2, // R12
}];
/// R11 after it.
fn after() {}
";
        assert_eq!(
            cited("src/a.rs", text),
            [
                "R1 File src/a.rs",
                "R2 Promise src/a.rs::Thing",
                "R3 Doc src/a.rs::Thing",
                "R4 Promise src/a.rs::Thing::make",
                "R5 Doc src/a.rs::Thing::make",
                "R6 Within src/a.rs::Thing::make",
                "R8 Within src/a.rs::Thing::make",
                "R7 Text src/a.rs::Thing::make",
                "R9 Text src/a.rs::Thing::make",
                "R10 Promise src/a.rs::LIMIT",
                "R12 Within src/a.rs::LIMIT",
                "R11 Doc src/a.rs::after",
            ]
        );
    }

    #[test]
    fn a_test_is_found_by_its_name_in_a_macro_too() {
        let text = "tests! {\n    async fn r1_r2_so(server: &Server) {\n    }\n}\nfn r3_x() {}\n";
        assert_eq!(
            cited("adapter/tests/a.rs", text),
            [
                "R1 Name adapter/tests/a.rs::r1_r2_so",
                "R2 Name adapter/tests/a.rs::r1_r2_so",
                "R3 Name adapter/tests/a.rs::r3_x",
            ]
        );
    }

    #[test]
    fn a_property_is_named_by_its_text_on_however_many_lines() {
        let text =
            "fn properties() {\n    always(\"I1: a \\\n        | b\");\n    sometimes(\"x\");\n}";
        let found = citations("model/src/a.rs", text);
        let shown: Vec<String> = found.iter().map(|(_, place)| place.shown()).collect();
        assert_eq!(shown, ["`model/src/a.rs` “I1: a / b”"]);
    }

    #[test]
    fn unit_tests_are_told_from_code() {
        let text = "/// R1\nfn a() {}\n#[cfg(test)]\nmod tests {\n    /// R2\n    fn b() {}\n}\n/// R3\nfn c() {}";
        let of = |(rule, place): &(Rule, Place)| (rule.number, place.in_unit_tests);
        let found: Vec<_> = citations("src/a.rs", text).iter().map(of).collect();
        assert_eq!(found, [(1, false), (2, true), (3, false)]);
    }

    #[test]
    fn sql_is_cited_as_a_file() {
        assert_eq!(
            cited("a/b.sql", "-- R31: append only\nselect 1;"),
            ["R31 File a/b.sql"]
        );
    }
}
