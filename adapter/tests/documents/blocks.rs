//! Blocks of code: each has a language, and each language has something that carries it out or reads it.

use crate::markdown::{Block, Page, root};
use crate::shell;
use crate::{cli, on_every_page};

/// The kinds of diagram that our pages draw.
const DIAGRAMS: [&str; 5] = [
    "flowchart",
    "sequenceDiagram",
    "stateDiagram-v2",
    "erDiagram",
    "classDiagram",
];

#[test]
fn every_block_is_run_or_read_by_what_it_is_written_for() {
    let mut not_run = Vec::new();
    on_every_page(|page| {
        let mut wrong = Vec::new();
        for (n, block) in page.blocks.iter().enumerate() {
            let place = format!("{}:{}", page.name, block.line);
            match &block.not_run {
                Some(reason) if reason.is_empty() => {
                    wrong.push(format!("{place}: say why it is not run"));
                }
                Some(reason) => not_run.push(format!("{place}: {}: {reason}", block.language)),
                None => {
                    let problem = check(page, n).err();
                    wrong.extend(problem.map(|problem| format!("{place}: {problem}")));
                }
            }
        }
        wrong
    });
    println!(
        "{} blocks are not run:\n{}",
        not_run.len(),
        not_run.join("\n")
    );
}

/// Carries a page's block out, or reads it; what is wrong with it, if anything is.
fn check(page: &Page, at: usize) -> Result<(), String> {
    let block = &page.blocks[at];
    match block.language.as_str() {
        "" => Err("a block has a language".to_owned()),
        "sh" | "console" => shell::run(page, at),
        "toml" => configuration(&block.text),
        "json" => serde_json::from_str::<serde_json::Value>(&block.text)
            .map(drop)
            .map_err(|error| error.to_string()),
        "mermaid" => diagram(&block.text),
        "rust" => is_doc_test(&page.name),
        "text" => words(block),
        other => Err(format!(
            "nothing here carries out `{other}`: write one in {}, or say `<!-- not run: why -->` before it",
            file!()
        )),
    }
}

/// What is shown, and not typed. A command in it would be one that nothing carries out.
fn words(block: &Block) -> Result<(), String> {
    let is_command = |line: &str| {
        ["$ ", "andon ", "cargo "]
            .iter()
            .any(|start| line.starts_with(start))
    };
    match block.text.lines().find(|line| is_command(line)) {
        Some(line) if !block.is_generated => {
            Err(format!("`{line}` is a command: its language is sh"))
        }
        _ => Ok(()),
    }
}

/// Reads an `andon.toml` with the program's own reader.
fn configuration(text: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("andon.toml"), text).unwrap();
    let ended = cli::run(folder.path(), &["config", "--json"]);
    match ended.code {
        0 => Ok(()),
        _ => Err(ended.stderr),
    }
}

/// Rust is compiled as a doc test of the crate, which has to include the page.
fn is_doc_test(page: &str) -> Result<(), String> {
    let library = std::fs::read_to_string(root().join("adapter/src/lib.rs")).unwrap();
    let include = format!("include_str!(\"../../{page}\")");
    if library.contains(&include) {
        return Ok(());
    }
    Err(format!(
        "Rust is compiled where adapter/src/lib.rs says `{include}`, and it does not"
    ))
}

/// That a diagram is of a known kind, and that its brackets and its blocks are closed.
fn diagram(text: &str) -> Result<(), String> {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let kind = lines.next().unwrap_or_default();
    let kind = kind.split_whitespace().next().unwrap_or_default();
    if !DIAGRAMS.contains(&kind) {
        return Err(format!("`{kind}` is none of {}", DIAGRAMS.join(", ")));
    }
    let mut blocks = 0_i32;
    for line in lines {
        if !is_balanced(line) {
            return Err(format!(
                "a bracket or a quotation mark is not closed: {}",
                line.trim()
            ));
        }
        match line.split_whitespace().next() {
            Some("end") => blocks -= 1,
            Some("subgraph" | "alt" | "loop" | "opt" | "par" | "critical" | "rect" | "box") => {
                blocks += 1;
            }
            Some(_) | None => {}
        }
    }
    match blocks {
        0 => Ok(()),
        open => Err(format!("{open} blocks more are opened than ended")),
    }
}

/// Whether brackets are closed, those in quotation marks left out. A brace may be closed on another line.
fn is_balanced(line: &str) -> bool {
    let (mut open, mut is_quoted) = (Vec::new(), false);
    for c in line.chars() {
        let partner = match c {
            '"' => {
                is_quoted = !is_quoted;
                continue;
            }
            ')' => '(',
            ']' => '[',
            '(' | '[' if !is_quoted => {
                open.push(c);
                continue;
            }
            _ => continue,
        };
        if !is_quoted && open.pop() != Some(partner) {
            return false;
        }
    }
    open.is_empty() && !is_quoted
}

#[test]
fn a_block_that_does_not_work_is_told() {
    let told = |language: &str, text: &str| {
        let page = Page::parse("docs/x.md", &format!("```{language}\n{text}\n```\n"));
        check(&page, 0).err()
    };
    let fine = [
        ("json", "{\"a\": [1]}"),
        ("toml", "[services.crm]\nthreshold = 2"),
        (
            "mermaid",
            "sequenceDiagram\n    A->>B: x (y)\n    alt z\n    end",
        ),
        ("mermaid", "flowchart LR\n    P((a)) -- \"1 (\" --> B[b]"),
        ("text", "src/   andon: the rules"),
        ("sh", "cargo xtask test"),
        ("sh", "andon token new --help"),
        ("sh", "cargo run --release -- demo --campaigns 2"),
        ("sh", "andon flow --campaigns 2 \\\n  --leads 3   # few"),
    ];
    for (language, text) in fine {
        assert_eq!(told(language, text), None, "{text}");
    }
    let broken = [
        ("", "anything"),
        ("yaml", "a: 1"),
        ("json", "{a: 1}"),
        ("toml", "[services.crm]\ntreshold = 2"),
        ("mermaid", "sequencediagram\n    A->>B: x"),
        ("mermaid", "flowchart LR\n    A[a --> B"),
        ("mermaid", "sequenceDiagram\n    alt z"),
        ("text", "andon status"),
        ("rust", "fn main() {}"),
        ("sh", "andon stauts"),
        ("sh", "andon reset nobody"),
        ("sh", "andon serve --listem 127.0.0.1:7700"),
        ("sh", "andon demo --leads many"),
        ("sh", "cargo run --release -- demo --campaings 2"),
        ("sh", "cargo test --test no_such_test"),
        ("sh", "rm -r /nowhere"),
    ];
    for (language, text) in broken {
        assert!(told(language, text).is_some(), "{language}: {text}");
    }
}
