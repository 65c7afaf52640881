//! Links: each leads to a file, a heading, a rule, or a host that we know.

use std::path::{Component, Path, PathBuf};

use crate::markdown::{Link, Page, is_rule, root};
use crate::on_every_page;

/// Where pages may send a reader. Nobody is asked whether they are there: tests need no network.
const HOSTS: [&str; 8] = [
    "docs.rs",
    "github.com",
    "keepachangelog.com",
    "mutants.rs",
    "nexte.st",
    "semver.org",
    "www.postgresql.org",
    "www.sqlite.org",
];

const RULES: &str = "docs/rules.md";

#[test]
fn every_link_leads_somewhere() {
    on_every_page(|page| {
        let links = page.links();
        let wrong = links.iter().filter_map(|link| problem(page, link).err());
        wrong.collect()
    });
}

#[test]
fn every_rule_that_a_page_names_exists() {
    let rules = Page::open(RULES);
    on_every_page(|page| {
        let words = page.prose.split(|c: char| !c.is_alphanumeric());
        let unknown = words.filter(|word| is_rule(word) && !defines(&rules.prose, word));
        unknown
            .map(|rule| format!("{}: there is no rule {rule}", page.name))
            .collect()
    });
}

/// Whether a text defines a rule: as an item of a list, or in a table.
fn defines(text: &str, rule: &str) -> bool {
    text.contains(&format!("**{rule}**"))
}

/// What is wrong with a link.
fn problem(page: &Page, link: &Link) -> Result<(), String> {
    let Link {
        label,
        target,
        line,
    } = link;
    let wrong = |what: String| Err(format!("{}:{line}: [{label}]({target}): {what}", page.name));
    if target.is_empty() {
        return wrong("is defined nowhere".to_owned());
    }
    if let Some((scheme, rest)) = target.split_once("://") {
        let host = rest.split(['/', '#', '?']).next().unwrap_or_default();
        let is_known = matches!(scheme, "https" | "http") && HOSTS.contains(&host);
        return match (is_known, target.contains(char::is_whitespace)) {
            (true, false) => Ok(()),
            _ => wrong(format!(
                "`{host}` is not on the list of hosts in {}",
                file!()
            )),
        };
    }
    let (path, anchor) = match target.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor)),
        None => (target.as_str(), None),
    };
    let Some(name) = from_root(&page.name, path) else {
        return wrong("leads out of the repository".to_owned());
    };
    if !root().join(&name).exists() {
        return wrong("there is no such file".to_owned());
    }
    let there;
    let there = match (path, anchor) {
        ("", _) => page,
        (_, Some(_)) if Path::new(&name).extension().is_some_and(|ext| ext == "md") => {
            there = Page::open(&name);
            &there
        }
        (_, Some(_)) => return wrong("an anchor is for a heading of a page".to_owned()),
        (_, None) if is_rule(label) => return wrong("name the section of the rule".to_owned()),
        (_, None) => return Ok(()),
    };
    let anchor = anchor.unwrap_or_default();
    if !there.anchors().iter().any(|other| other == anchor) {
        let there = there.anchors().join(", ");
        return wrong(format!("there is no heading `{anchor}` but {there}"));
    }
    if is_rule(label) && !(there.name == RULES && defines(there.section(anchor), label)) {
        return wrong("that rule is not there".to_owned());
    }
    Ok(())
}

/// A path from the root, of one that a page gives.
fn from_root(page: &str, path: &str) -> Option<String> {
    if path.is_empty() {
        return Some(page.to_owned());
    }
    let mut parts: PathBuf = Path::new(page).parent()?.to_owned();
    for part in Path::new(path).components() {
        match part {
            Component::ParentDir => {
                if !parts.pop() {
                    return None;
                }
            }
            Component::CurDir => {}
            Component::Normal(name) => parts.push(name),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts.to_string_lossy().into_owned())
}

#[test]
fn a_link_that_leads_nowhere_is_told() {
    let told = |text: &str| -> Vec<String> {
        // The ids are put together here, since an id in a test says that the test shows that rule.
        let text = text.replace("RULE", "R");
        let page = Page::parse("docs/flow.md", &format!("# One\n\n{text}\n"));
        let links = page.links();
        assert_eq!(links.len(), 1, "{text}");
        links
            .iter()
            .filter_map(|link| problem(&page, link).err())
            .collect()
    };
    for fine in [
        "[a](demo.md)",
        "[a](#one)",
        "[a](../README.md#licence)",
        "[RULE8](rules.md#4-resuming-by-hand-only)",
        "[RULE8]\n\n[RULE8]: rules.md#4-resuming-by-hand-only",
        "[a](https://nexte.st/book)",
    ] {
        assert_eq!(told(fine), Vec::<String>::new(), "{fine}");
    }
    for broken in [
        "[a](dmeo.md)",
        "[a](#two)",
        "[a](rules.md#4-resuming)",
        "[a](../src/gate.rs#LINE)",
        "[a](../../outside.md)",
        "[a](/README.md)",
        "[a](https://example.org/)",
        "[a](ftp://nexte.st/)",
        "[RULE8](rules.md)",
        "[RULE8](rules.md#5-breakers)",
        "[RULE8](#one)",
        "[RULE8]",
        "[a][nowhere]",
        "[RULE99](rules.md#5-breakers)",
    ] {
        assert_eq!(told(broken).len(), 1, "{broken}");
    }
    assert!(!defines(&Page::open(RULES).prose, &format!("R{}", 99)));
}
