//! What a call, a check or a person said: the gist at first sight, the rest behind it.

use std::str::FromStr;

use andon::JobId;
use askama::Template;
use askama::filters::HtmlSafe;

use super::show::short_id;

/// What was said, as pages show it. Its job is a link, in a short form.
#[derive(Debug, Clone, PartialEq, Eq, Template)]
#[template(
    source = r#"<span class="gist">{{ before }}{% if let Some((id, short)) = job %}<a href="/jobs/{{ id }}">{{ short }}</a>{% endif %}{{ after }}</span>{% if let Some((summary, rest)) = rest %}<details class="said"><summary>{{ summary }}</summary><div>{{ rest }}</div></details>{% endif %}"#,
    ext = "html"
)]
pub(super) struct Said {
    before: String,
    /// The first job that it names, with a short form of its identifier.
    job: Option<(String, String)>,
    after: String,
    /// What is folded away, under which heading.
    rest: Option<(&'static str, String)>,
}

impl HtmlSafe for Said {}

/// How many letters of what was said are seen at first sight.
const GIST_MAX: usize = 160;

/// How bodies of answers begin: JSON and documents. They say to a machine what the words before them
/// have said to a person.
const BODIES: [&str; 6] = [": {", ": [", ": <!", ": <?", ": <html", ": <HTML"];

/// How long an identifier is in text.
const ID_LENGTH: usize = 36;

impl Said {
    /// See [`Said`].
    pub(super) fn of(text: &str) -> Self {
        let (gist, rest) = split(text);
        let (before, job, after) = match job_in(&gist) {
            Some((before, id, after)) => {
                let job = (id.to_owned(), short_id(id));
                (before.to_owned(), Some(job), after.to_owned())
            }
            None => (gist, None, String::new()),
        };
        Self {
            before,
            job,
            after,
            rest,
        }
    }
}

/// The gist, and the rest with its heading.
fn split(text: &str) -> (String, Option<(&'static str, String)>) {
    let body = BODIES.iter().filter_map(|mark| text.find(mark)).min();
    if let Some((gist, body)) = body.and_then(|at| text.split_at_checked(at))
        && gist.chars().nth(GIST_MAX).is_none()
    {
        let body = body.trim_start_matches(": ").to_owned();
        return (gist.to_owned(), Some(("What it answered", body)));
    }
    match text.char_indices().nth(GIST_MAX) {
        Some((end, _)) => {
            let start = text.get(..end).unwrap_or_default();
            // A word is not cut in two, unless it is all there is.
            let start = start.rsplit_once(' ').map_or(start, |(words, _)| words);
            (format!("{start} …"), Some(("In full", text.to_owned())))
        }
        None => (text.to_owned(), None),
    }
}

/// The identifier of the first job in a text, with what stands before and after it.
fn job_in(text: &str) -> Option<(&str, &str, &str)> {
    text.match_indices("job ").find_map(|(at, word)| {
        let (before, rest) = text.split_at_checked(at.checked_add(word.len())?)?;
        let (id, after) = rest.split_at_checked(ID_LENGTH)?;
        JobId::from_str(id).ok()?;
        Some((before, id, after))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01a224e0-12aa-7688-94f9-a841ea8fb541";

    #[test]
    fn the_gist_is_seen_and_the_answer_is_folded_away() {
        let said = Said::of(&format!(
            "by job {ID}'s call: openai answered 500 Internal Server Error: {{\"error\": {{}}}}"
        ));
        let html = said.to_string();
        assert!(html.starts_with(&format!(
            "<span class=\"gist\">by job <a href=\"/jobs/{ID}\">…ea8fb541</a>&#39;s call: openai answered 500 \
             Internal Server Error</span><details"
        )), "{html}");
        assert_eq!(
            said.rest,
            Some(("What it answered", "{\"error\": {}}".into()))
        );
        let page = Said::of("apollo answered 502 Bad Gateway: <html><b>no</b>");
        assert_eq!(page.before, "apollo answered 502 Bad Gateway");
        assert!(!page.to_string().contains("<b>"), "{page}");
    }

    #[test]
    fn what_is_short_is_seen_whole_and_what_is_long_is_cut_at_a_word() {
        for whole in ["by operator ada: <b>look</b> first", "", "job 4711: {}x"] {
            assert_eq!(Said::of(whole).rest.is_some(), whole.contains(": {"));
        }
        let long = "wörter ".repeat(40);
        let said = Said::of(&long);
        assert!(said.before.ends_with("wörter …"), "{}", said.before);
        assert!(said.before.chars().count() <= GIST_MAX + 2);
        assert_eq!(said.rest, Some(("In full", long.clone())));
        let late = format!("{long}: {{\"a\": 1}}");
        assert_eq!(Said::of(&late).rest, Some(("In full", late)));
    }
}
