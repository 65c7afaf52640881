//! A page of docs/flows: prose, and between markers what a run has shown.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// One page.
pub(crate) struct Page {
    path: PathBuf,
    text: String,
}

/// Where the text between two markers stands.
struct Block {
    name: String,
    start: usize,
    end: usize,
}

impl Page {
    /// The page of this flow.
    pub(crate) fn open(flow: &str) -> Self {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/flows");
        let path = PathBuf::from(format!("{root}/{flow}.md"));
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path, text }
    }

    /// That the page shows each of these under its name, and nothing else that is generated; writes it
    /// if `ANDON_WRITE_DOCS` is set.
    pub(crate) fn holds(mut self, expected: &BTreeMap<String, String>) {
        let blocks = self.blocks("generated");
        let mut names: Vec<&str> = blocks.iter().map(|block| block.name.as_str()).collect();
        names.sort_unstable();
        let known: Vec<&str> = expected.keys().map(String::as_str).collect();
        assert_eq!(names, known, "{}: the markers", self.path.display());
        if std::env::var_os("ANDON_WRITE_DOCS").is_some() {
            for block in blocks.iter().rev() {
                self.replace(block, &expected[&block.name]);
            }
            self.write();
            return;
        }
        for block in &blocks {
            assert_eq!(
                self.text[block.start..block.end].trim(),
                expected[&block.name].trim(),
                "{}: `{}` is not what a run shows now. If it should change: \
                 ANDON_WRITE_DOCS=1 cargo nextest run -p andon-adapter --test flow_documents",
                self.path.display(),
                block.name
            );
        }
    }

    /// Each link whose label is code: the label, the file, and what is in it.
    pub(crate) fn code_links(&self) -> Vec<(String, String, String)> {
        let mut links = Vec::new();
        for part in self.text.split("[`").skip(1) {
            let Some((label, rest)) = part.split_once("`](") else {
                continue;
            };
            let (file, _) = rest.split_once(')').expect("a closed link");
            let path = self.path.parent().expect("a folder").join(file);
            let text = std::fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            links.push((label.to_owned(), file.to_owned(), text));
        }
        assert!(!links.is_empty(), "{} names its code", self.path.display());
        links
    }

    /// The figures that were measured.
    pub(crate) fn measured(&self) -> &str {
        let blocks = self.blocks("measured");
        assert_eq!(blocks.len(), 1, "{}", self.path.display());
        &self.text[blocks[0].start..blocks[0].end]
    }

    /// Writes figures that have been measured.
    pub(crate) fn write_measured(mut self, figures: &str) {
        let block = self.blocks("measured").remove(0);
        self.replace(&block, figures);
        self.write();
    }

    fn blocks(&self, kind: &str) -> Vec<Block> {
        let (open, close) = (format!("<!-- {kind}: "), format!("<!-- end of {kind} -->"));
        let mut blocks = Vec::new();
        let mut at = 0;
        while let Some(found) = self.text[at..].find(&open) {
            let name_at = at + found + open.len();
            let name_end = name_at + self.text[name_at..].find(" -->").expect("a closed marker");
            let start = name_end + " -->".len();
            let end = start + self.text[start..].find(&close).expect("an end marker");
            let name = self.text[name_at..name_end].to_owned();
            blocks.push(Block { name, start, end });
            at = end;
        }
        blocks
    }

    fn replace(&mut self, block: &Block, text: &str) {
        let text = format!("\n\n{}\n\n", text.trim());
        self.text.replace_range(block.start..block.end, &text);
    }

    fn write(&self) {
        std::fs::write(&self.path, &self.text).expect("the page is written");
    }
}
