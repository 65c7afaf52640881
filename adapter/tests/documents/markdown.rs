//! As much of Markdown as our pages use: headings and their anchors, links, fenced blocks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One page.
pub(crate) struct Page {
    /// Its path from the root of the repository.
    pub(crate) name: String,
    /// Its text without fenced blocks, line by line as in the file.
    pub(crate) prose: String,
    /// Its fenced blocks, in order.
    pub(crate) blocks: Vec<Block>,
}

/// A fenced block.
pub(crate) struct Block {
    /// What stands behind the fence.
    pub(crate) language: String,
    /// What it holds.
    pub(crate) text: String,
    /// The line of its fence, from 1.
    pub(crate) line: usize,
    /// Whether a test writes it: then it has been run.
    pub(crate) is_generated: bool,
    /// Why it is not run, if a marker before it says so.
    pub(crate) not_run: Option<String>,
}

/// A link.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) label: String,
    /// Empty if its reference is defined nowhere.
    pub(crate) target: String,
    /// Its line, from 1.
    pub(crate) line: usize,
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().expect("the root of the repository")
}

impl Page {
    /// Every page that a reader is sent to.
    pub(crate) fn all() -> Vec<Self> {
        let mut names = ["CONTRIBUTING.md", "README.md", "SECURITY.md"]
            .map(str::to_owned)
            .to_vec();
        let mut folders = vec!["docs".to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(root().join(&folder)).expect("a folder") {
                let entry = entry.expect("an entry");
                let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
                let path = Path::new(&name);
                if entry.path().is_dir() {
                    folders.push(name);
                } else if path.extension().is_some_and(|ext| ext == "md") {
                    names.push(name);
                }
            }
        }
        names.sort();
        names.iter().map(|name| Self::open(name)).collect()
    }

    /// A page by its path from the root.
    pub(crate) fn open(name: &str) -> Self {
        let text = std::fs::read_to_string(root().join(name))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        Self::parse(name, &text)
    }

    /// A page of this text.
    pub(crate) fn parse(name: &str, text: &str) -> Self {
        let mut page = Self {
            name: name.to_owned(),
            prose: String::new(),
            blocks: Vec::new(),
        };
        let (mut open, mut marker, mut is_generated) = (None::<(String, Block)>, None, false);
        for (n, line) in text.lines().enumerate() {
            let start = line.trim_start();
            page.prose.push('\n');
            if let Some((fence, mut block)) = open.take() {
                if start.trim_end() == fence {
                    page.blocks.push(block);
                } else {
                    block.text.push_str(line);
                    block.text.push('\n');
                    open = Some((fence, block));
                }
                continue;
            }
            let ticks = start.len() - start.trim_start_matches('`').len();
            if ticks >= 3 {
                let block = Block {
                    language: start.trim_start_matches('`').trim().to_owned(),
                    text: String::new(),
                    line: n + 1,
                    is_generated,
                    not_run: marker.take(),
                };
                open = Some(("`".repeat(ticks), block));
                continue;
            }
            if !line.trim().is_empty() {
                marker = comment(line, "not run:").map(str::to_owned);
            }
            is_generated |= comment(line, "generated:").is_some();
            is_generated &= comment(line, "end of generated").is_none();
            page.prose.push_str(line);
        }
        assert!(open.is_none(), "{name}: a fence is not closed");
        // Each line was begun with its line break.
        page.prose.remove(0);
        page
    }

    /// Its anchors, as GitHub makes them from headings.
    pub(crate) fn anchors(&self) -> Vec<String> {
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        let mut anchors = Vec::new();
        for (_, heading) in self.headings() {
            let slug = slug(heading);
            let seen = times.entry(slug.clone()).or_default();
            anchors.push(match *seen {
                0 => slug,
                n => format!("{slug}-{n}"),
            });
            *seen += 1;
        }
        anchors
    }

    /// The text of the section with this anchor, up to the next heading.
    pub(crate) fn section(&self, anchor: &str) -> &str {
        let at = self.anchors().iter().position(|other| other == anchor);
        let starts: Vec<usize> = self.headings().map(|(start, _)| start).collect();
        let Some(at) = at else { return "" };
        let end = starts.get(at + 1).copied().unwrap_or(self.prose.len());
        &self.prose[starts[at]..end]
    }

    fn headings(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut at = 0;
        self.prose.split_inclusive('\n').filter_map(move |line| {
            let start = at;
            at += line.len();
            let hashes = line.len() - line.trim_start_matches('#').len();
            let heading = line[hashes..].strip_prefix(' ')?;
            (1..=6).contains(&hashes).then(|| (start, heading.trim()))
        })
    }

    /// Its links, and its references that are defined nowhere.
    pub(crate) fn links(&self) -> Vec<Link> {
        let mut defined = BTreeMap::new();
        for line in self.prose.lines() {
            if let Some((label, target)) = definition(line) {
                defined.insert(label.to_lowercase(), target.to_owned());
            }
        }
        let mut links = Vec::new();
        for (n, paragraph) in paragraphs(&self.prose) {
            find_links(paragraph, n, &defined, &mut links);
        }
        links
    }
}

/// The rest of an HTML comment that begins with this.
fn comment<'t>(line: &'t str, what: &str) -> Option<&'t str> {
    let inner = line.trim().strip_prefix("<!--")?.strip_suffix("-->")?;
    Some(inner.trim().strip_prefix(what)?.trim())
}

fn definition(line: &str) -> Option<(&str, &str)> {
    let (label, target) = line.strip_prefix('[')?.split_once("]: ")?;
    Some((label, target.trim()))
}

/// The paragraphs, each with the number of its first line: a link may go over a line break.
fn paragraphs(prose: &str) -> Vec<(usize, &str)> {
    let (mut all, mut line) = (Vec::new(), 1);
    for paragraph in prose.split("\n\n") {
        all.push((line, paragraph));
        line += paragraph.matches('\n').count() + 2;
    }
    all
}

fn find_links(text: &str, line: usize, defined: &BTreeMap<String, String>, links: &mut Vec<Link>) {
    let mut at = 0;
    while let Some(found) = text[at..].find(['`', '[', '<']) {
        let start = at + found;
        at = match text.as_bytes()[start] {
            b'`' => end_of_code(text, start),
            b'<' => end_of_autolink(text, start, line, links),
            _ => end_of_link(text, start, line, defined, links),
        };
    }
}

/// Behind a code span.
fn end_of_code(text: &str, start: usize) -> usize {
    let ticks = text[start..].len() - text[start..].trim_start_matches('`').len();
    let inside = start + ticks;
    let fence = "`".repeat(ticks);
    text[inside..]
        .find(&fence)
        .map_or(inside, |found| inside + found + ticks)
}

/// Behind `<https://…>`, or one byte on.
fn end_of_autolink(text: &str, start: usize, line: usize, links: &mut Vec<Link>) -> usize {
    let rest = &text[start + 1..];
    match rest.find('>') {
        Some(end) if rest.starts_with("http") => {
            links.push(Link {
                label: rest[..end].to_owned(),
                target: rest[..end].to_owned(),
                line: line + text[..start].matches('\n').count(),
            });
            start + 1 + end
        }
        _ => start + 1,
    }
}

/// Behind a link, or behind the bracket if it is none.
fn end_of_link(
    text: &str,
    start: usize,
    line: usize,
    defined: &BTreeMap<String, String>,
    links: &mut Vec<Link>,
) -> usize {
    let Some(close) = closing(text, start) else {
        return start + 1;
    };
    let label = &text[start + 1..close];
    let rest = &text[close + 1..];
    let (target, end) = if let Some(inline) = rest.strip_prefix('(') {
        let Some(end) = inline.find(')') else {
            return start + 1;
        };
        (inline[..end].to_owned(), close + 2 + end)
    } else if rest.starts_with(": ") {
        return close + 1;
    } else {
        let by = rest
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'))
            .map(|(reference, _)| reference);
        let reference = by.unwrap_or(label).to_lowercase();
        match defined.get(&reference) {
            Some(target) => (target.clone(), close + 1 + by.map_or(0, |by| by.len() + 2)),
            // A reference that is defined nowhere is shown in brackets; of a rule's id that is a slip.
            None if by.is_some() || is_rule(label) => (String::new(), close + 1),
            None => return start + 1,
        }
    };
    find_links(label, line, defined, links);
    links.push(Link {
        label: label.to_owned(),
        target,
        line: line + text[..start].matches('\n').count(),
    });
    end
}

/// The bracket that closes the one at `start`, code spans left out.
fn closing(text: &str, start: usize) -> Option<usize> {
    let (mut at, mut depth) = (start, 0);
    while let Some(found) = text[at..].find(['`', '[', ']']) {
        let here = at + found;
        at = here + 1;
        match text.as_bytes()[here] {
            b'`' => at = end_of_code(text, here),
            b'[' => depth += 1,
            _ if depth == 1 => return Some(here),
            _ => depth -= 1,
        }
    }
    None
}

/// Whether a word has the form of a rule's id.
pub(crate) fn is_rule(word: &str) -> bool {
    let mut chars = word.chars();
    let is_kind = chars.next().is_some_and(|kind| "RDIL".contains(kind));
    let number = chars.as_str();
    is_kind && (1..=2).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit())
}

/// GitHub's anchor of a heading.
fn slug(heading: &str) -> String {
    let mut shown = String::new();
    let mut rest = heading;
    // Of a link only its label is shown.
    while let Some((before, link)) = rest.split_once('[') {
        shown.push_str(before);
        let (label, after) = link.split_once(']').unwrap_or((link, ""));
        shown.push_str(label);
        rest = match after
            .strip_prefix('(')
            .and_then(|after| after.split_once(')'))
        {
            Some((_, after)) => after,
            None => after,
        };
    }
    shown.push_str(rest);
    shown
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn a_page_is_read_as_github_reads_it() {
    let text = "# The `andon` demo: what, why\n\n## 4. Resuming (by hand only)\n## Same\n## Same\n\n\
        [a](b.md#c), [`x[0]`](y.rs) and `[no](link)`, [RULE8] [RULE9]\n\n[RULE8]: rules.md#r\n\n\
        <!-- not run: because -->\n```sh\n# no heading, [no](link)\n```\n\n<https://nexte.st/x>";
    // The ids are put together here, since an id in a test says that the test shows that rule.
    let page = Page::parse("docs/x.md", &text.replace("RULE", "R"));
    let anchors = [
        "the-andon-demo-what-why",
        "4-resuming-by-hand-only",
        "same",
        "same-1",
    ];
    assert_eq!(page.anchors(), anchors);
    let links: Vec<(String, String, usize)> = page
        .links()
        .into_iter()
        .map(|link| (link.label, link.target, link.line))
        .collect();
    let link =
        |label: &str, target: &str, line| (label.replace("RULE", "R"), target.to_owned(), line);
    let expected = [
        link("a", "b.md#c", 7),
        link("`x[0]`", "y.rs", 7),
        link("RULE8", "rules.md#r", 7),
        link("RULE9", "", 7),
        link("https://nexte.st/x", "https://nexte.st/x", 16),
    ];
    assert_eq!(links, expected);
    let [block] = &page.blocks[..] else {
        panic!("one block")
    };
    assert_eq!((block.language.as_str(), block.line), ("sh", 12));
    assert_eq!(block.not_run.as_deref(), Some("because"));
}
