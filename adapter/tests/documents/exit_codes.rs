//! The exit codes that pages and help texts name are those of [`Exit`].

use std::collections::BTreeMap;

use andon_adapter::cli::Exit;

use crate::cli;
use crate::markdown::Page;

/// What each code means, in the words of `andon --help`.
fn codes() -> BTreeMap<u8, &'static str> {
    let all = [
        Exit::Other,
        Exit::Usage,
        Exit::Refused,
        Exit::Stale,
        Exit::Unreachable,
        Exit::Paused,
        Exit::NotReady,
    ];
    let words = |exit| match exit {
        Exit::Other => "other",
        Exit::Usage => "usage",
        Exit::Refused => "refused by a rule",
        Exit::Stale => "stale",
        Exit::Unreachable => "unreachable",
        Exit::Paused => "paused",
        Exit::NotReady => "not ready",
    };
    let mut codes: BTreeMap<u8, &str> = all.map(|exit| (exit as u8, words(exit))).into();
    codes.insert(0, "done");
    codes
}

/// The codes of a help text's `Exit codes: 0 done · 2 usage …`, with their words.
fn of_help(args: &[&str]) -> BTreeMap<u8, String> {
    let folder = tempfile::tempdir().unwrap();
    let help = cli::run(folder.path(), args).expect(0).stdout;
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let (_, list) = help.split_once("Exit codes: ").expect("exit codes");
    list.split(['·', ';'])
        .map(|part| part.trim().trim_start_matches("of flow and drill alone: "))
        .map(|part| part.split_once(' ').expect("a code and its words"))
        .map(|(code, words)| (code.parse().expect("a code"), words.to_owned()))
        .collect()
}

/// The rows of the tables whose head begins with `exit code`: codes and what is said of them.
fn of_page(page: &Page) -> Vec<(Vec<u8>, String)> {
    let mut rows = Vec::new();
    let mut is_inside = false;
    for line in page.prose.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        match cells[..] {
            ["", "exit code", ..] => is_inside = true,
            ["", first, ..] if first.starts_with("---") => {}
            ["", codes, words, ..] if is_inside => {
                let codes = codes.split(", ").map(|code| code.parse().expect("a code"));
                rows.push((codes.collect(), words.to_owned()));
            }
            _ => is_inside = false,
        }
    }
    rows
}

#[test]
fn exit_codes_are_told_alike_by_the_program_its_help_and_the_pages() {
    let known = codes();
    let told = of_help(&["--help"]);
    let told: BTreeMap<u8, &str> = told
        .iter()
        .map(|(code, words)| (*code, words.as_str()))
        .collect();
    assert_eq!(told, known, "andon --help");

    let table = of_page(&Page::open("docs/exit-codes.md"));
    let told: BTreeMap<u8, &str> = table
        .iter()
        .map(|(codes, words)| (codes[0], words.as_str()))
        .collect();
    assert_eq!(told, known, "docs/exit-codes.md");

    for command in ["flow", "drill"] {
        let told: Vec<u8> = of_help(&[command, "--help"]).into_keys().collect();
        let page = format!("docs/{command}.md");
        let mut in_page: Vec<u8> = of_page(&Page::open(&page))
            .into_iter()
            .flat_map(|(codes, _)| codes)
            .collect();
        in_page.sort_unstable();
        assert_eq!(in_page, told, "{page} and andon {command} --help");
    }
}

#[test]
fn no_page_names_an_exit_code_that_there_is_not() {
    let known = codes();
    crate::on_every_page(|page| {
        let in_tables = of_page(page).into_iter().flat_map(|(codes, _)| codes);
        let in_words = page.prose.split("exit code ").skip(1).filter_map(|rest| {
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse().ok()
        });
        in_tables
            .chain(in_words)
            .filter(|code| !known.contains_key(code))
            .map(|code| format!("{}: there is no exit code {code}", page.name))
            .collect()
    });
}
