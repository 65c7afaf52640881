//! The report as one page that asks nobody for anything: style and charts are in it.

use std::collections::{BTreeMap, BTreeSet};

use super::figures::{Bucket, Latency};
use super::report::Report;
use super::run::End;
use super::stop::Stop;
use super::text::{counts, latency, quickness};
use super::watch::Sample;
use crate::chart::{Axis, Chart, Paint, Paused, Series, Shape, escape};
use crate::cli::invariants::Check;
use crate::cli::line_clock::millis_between;
use crate::cli::output;

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let tag = escape(&report.plan.tag);
    let sections = [
        summary(report),
        report.stop.as_ref().map_or(String::new(), stopped),
        charts(report),
        campaigns(report),
        phases(report),
        checks(&report.checks),
    ];
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>andon {tag}</title>\n<style>{STYLE}</style></head>\n<body><main>\n\
         <h1>andon {tag}</h1>\n{}\n</main></body></html>\n",
        sections.join("\n")
    )
}

fn summary(report: &Report) -> String {
    let end = match report.end {
        End::Completed => "Every campaign has settled.",
        End::Paused => "The line was paused before all was done.",
        End::NotReady => "The line was not ready: nothing was created.",
        End::Stalled => "No job ended for too long.",
        End::Interrupted => "The run was ended before its end.",
    };
    let rate = report
        .completed_per_minute
        .map_or("not known".to_owned(), |rate| format!("{rate:.1}"));
    let seconds = millis_between(report.began_at, report.ended_at) / 1000.0;
    let mut rows = vec![
        ["server".to_owned(), report.server.clone()],
        ["began".to_owned(), report.began_at.to_rfc3339()],
        ["took".to_owned(), format!("{seconds:.1} s")],
        ["campaigns".to_owned(), counts(&report.campaigns_by_status)],
        ["jobs".to_owned(), counts(&report.jobs_by_status)],
        ["completed a minute".to_owned(), rate],
        ["errors by kind".to_owned(), counts(&report.errors_by_kind)],
        ["attempts by ending".to_owned(), counts(&report.endings)],
        [
            "single calls known from".to_owned(),
            report.calls_known_from.to_owned(),
        ],
    ];
    let wait = report.queue_wait.iter();
    rows.extend(wait.map(|wait| ["queue wait".to_owned(), latency(wait)]));
    rows.extend(
        report
            .blocking
            .iter()
            .map(|why| ["blocked by".to_owned(), why.clone()]),
    );
    let mut text = format!("<p class=\"end\">{end}</p>{}", table(&["", ""], &rows));
    for (what, latencies) in [
        ("attempts at", &report.attempts),
        ("calls to", &report.calls),
    ] {
        if !latencies.is_empty() {
            text.push_str(&latency_table(what, latencies));
        }
    }
    if !report.errors.is_empty() {
        let rows: Vec<_> = report
            .errors
            .iter()
            .map(|row| [row.count.to_string(), row.kind.clone(), row.error.clone()])
            .collect();
        text.push_str("<h2>Errors</h2>");
        text.push_str(&table(&["times", "kind", "error"], &rows));
    }
    text
}

fn latency_table(what: &str, latencies: &BTreeMap<String, Latency>) -> String {
    let rows: Vec<_> = latencies
        .iter()
        .map(|(name, of)| {
            let [p50, p95, p99, max] =
                [of.p50_ms, of.p95_ms, of.p99_ms, of.max_ms].map(|millis| format!("{millis:.1}"));
            [name.clone(), of.count.to_string(), p50, p95, p99, max]
        })
        .collect();
    table(
        &[what, "count", "p50 ms", "p95 ms", "p99 ms", "max ms"],
        &rows,
    )
}

fn stopped(stop: &Stop) -> String {
    let mut rows: Vec<[String; 2]> = Vec::new();
    rows.extend(
        stop.causes
            .iter()
            .map(|why| ["why".to_owned(), why.clone()]),
    );
    rows.push([
        "campaigns held".to_owned(),
        stop.campaigns_paused.join(", "),
    ]);
    rows.push(["jobs held".to_owned(), stop.jobs_paused.to_string()]);
    let quick = stop.first_error.iter().flat_map(quickness);
    rows.extend(quick.map(|(name, value)| [name.trim().to_owned(), value]));
    let jobs: Vec<_> = stop
        .jobs
        .iter()
        .map(|job| {
            let causes = output::cut(&job.causes.join("; "), CAUSES_CHARS_MAX);
            [job.id.clone(), job.kind.clone(), causes]
        })
        .collect();
    format!(
        "<h2>Stopped</h2>{}{}",
        table(&["", ""], &rows),
        behind(
            "Some of the jobs held",
            &table(&["job", "kind", "held by"], &jobs)
        )
    )
}

fn charts(report: &Report) -> String {
    let paused = report.stop.as_ref().and_then(|stop| stop.paused_at);
    let paused_s = paused.map(|at| millis_between(report.began_at, at) / 1000.0);
    let buckets = &report.work_over_time;
    let what = if report.calls.is_empty() {
        "attempts"
    } else {
        "calls"
    };
    let (started, took) = if report.calls.is_empty() {
        (
            "Attempts by kind of job over time",
            "Median time of an attempt",
        )
    } else {
        ("Calls by service over time", "Median time of a call")
    };
    let chart = |title, unit, series| Chart {
        title,
        unit,
        series,
        seconds: millis_between(report.began_at, report.ended_at) / 1000.0,
        axis: Axis::Seconds,
        paused: paused_s.map_or(Paused::Never, Paused::From),
    };
    let jobs = chart("Jobs by status over time", "jobs", jobs_by_status(report));
    let count = work(
        buckets,
        &|of| f64::from(u32::try_from(of.count).unwrap_or(u32::MAX)),
        Some(0.0),
    );
    let median = work(buckets, &|of| of.p50_ms, None);
    [
        figure(&jobs, Shape::Stacked, &jobs_table(report)),
        figure(
            &chart(started, what, count),
            Shape::Lines,
            &work_table(buckets),
        ),
        figure(
            &chart(took, "ms", median),
            Shape::Lines,
            &work_table(buckets),
        ),
    ]
    .join("\n")
}

fn figure(chart: &Chart, shape: Shape, table: &str) -> String {
    let legend: Vec<String> = chart
        .series
        .iter()
        .map(|series| {
            let (paint, name) = (series.paint.area(), escape(&series.name));
            format!(
                "<li><svg class=\"swatch\" viewBox=\"0 0 8 8\" aria-hidden=\"true\">\
                 <rect width=\"8\" height=\"8\" {paint}/></svg>{name}</li>"
            )
        })
        .collect();
    format!(
        "<figure><figcaption><h2>{}</h2><ul>{}</ul></figcaption>{}{}</figure>",
        escape(chart.title),
        legend.join(""),
        chart.svg(shape),
        behind("The figures behind it", table)
    )
}

fn jobs_by_status(report: &Report) -> Vec<Series> {
    STATUSES
        .iter()
        .map(|(status, colour)| Series {
            name: (*status).to_owned(),
            paint: Paint::Colour(colour),
            points: report
                .samples
                .iter()
                .map(|sample| {
                    let count = sample.jobs.get(*status).copied().unwrap_or(0);
                    let count = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
                    let seconds = millis_between(report.began_at, sample.at) / 1000.0;
                    (seconds, Some(count))
                })
                .collect(),
        })
        .collect()
}

fn jobs_table(report: &Report) -> String {
    let step = report.samples.len().div_ceil(ROWS_MAX).max(1);
    let row = |sample: &Sample| -> Vec<String> {
        let seconds = millis_between(report.began_at, sample.at) / 1000.0;
        let queue = match sample.not_closed.as_slice() {
            [] => sample.queue.clone(),
            open => format!("{}, not closed: {}", sample.queue, open.join(", ")),
        };
        let counts = STATUSES.iter().map(|(status, _)| {
            let count = sample.jobs.get(*status).copied().unwrap_or(0);
            count.to_string()
        });
        let first = [format!("{seconds:.1}"), queue, sample.in_flight.to_string()];
        first.into_iter().chain(counts).collect()
    };
    let rows: Vec<Vec<String>> = report.samples.iter().step_by(step).map(row).collect();
    let statuses = STATUSES.iter().map(|(status, _)| *status);
    let head: Vec<&str> = ["s", "queue", "in flight"]
        .into_iter()
        .chain(statuses)
        .collect();
    table(&head, &rows)
}

/// One series for each service or kind; where nothing began, `nothing` stands.
fn work(buckets: &[Bucket], value: &dyn Fn(&Latency) -> f64, nothing: Option<f64>) -> Vec<Series> {
    let names: BTreeSet<&String> = buckets.iter().flat_map(|one| one.series.keys()).collect();
    names
        .into_iter()
        .zip(COLOURS.iter().cycle())
        .map(|(name, colour)| Series {
            name: name.clone(),
            paint: Paint::Colour(colour),
            points: buckets
                .iter()
                .map(|bucket| {
                    let middle = bucket.from_s + bucket.width_s / 2.0;
                    (middle, bucket.series.get(name).map(value).or(nothing))
                })
                .collect(),
        })
        .collect()
}

fn work_table(buckets: &[Bucket]) -> String {
    let rows: Vec<_> = buckets
        .iter()
        .flat_map(|bucket| {
            bucket.series.iter().map(|(name, of)| {
                let from = format!("{:.1}", bucket.from_s);
                let [p50, p95] = [of.p50_ms, of.p95_ms].map(|millis| format!("{millis:.1}"));
                [from, name.clone(), of.count.to_string(), p50, p95]
            })
        })
        .collect();
    table(&["from s", "of", "count", "p50 ms", "p95 ms"], &rows)
}

fn campaigns(report: &Report) -> String {
    let rows: Vec<_> = report
        .campaigns
        .iter()
        .map(|campaign| {
            [
                campaign.name.clone(),
                campaign.status.clone(),
                counts(&campaign.jobs),
                campaign.causes.join("; "),
            ]
        })
        .collect();
    let table = table(&["campaign", "status", "jobs", "held by"], &rows);
    format!("<h2>Campaigns</h2>{table}")
}

fn phases(report: &Report) -> String {
    let rows: Vec<_> = report
        .phases
        .iter()
        .map(|phase| {
            let seconds = millis_between(report.began_at, phase.at) / 1000.0;
            let breakers: Vec<String> = phase
                .breakers
                .iter()
                .map(|(service, state)| format!("{service} {state}"))
                .collect();
            [
                phase.name.to_owned(),
                format!("{seconds:.1}"),
                phase.queue.clone(),
                breakers.join(", "),
                counts(&phase.jobs),
                phase.in_flight.to_string(),
            ]
        })
        .collect();
    let head = ["phase", "s", "queue", "breakers", "jobs", "in flight"];
    format!("<h2>Phases</h2>{}", table(&head, &rows))
}

fn checks(checks: &[Check]) -> String {
    let rows: Vec<_> = checks
        .iter()
        .map(|check| {
            let seen = check.broken.as_ref();
            [
                if seen.is_none() {
                    "✓ held"
                } else {
                    "✗ broken"
                }
                .to_owned(),
                check.rules.to_owned(),
                check.words.to_owned(),
                seen.cloned().unwrap_or_default(),
            ]
        })
        .collect();
    let table = table(&["", "rules", "what must hold", "seen"], &rows);
    format!("<h2>Checked from outside</h2>{table}")
}

fn table(head: &[&str], rows: &[impl AsRef<[String]>]) -> String {
    let row = |name: &str, texts: &mut dyn Iterator<Item = &str>| {
        let cells = texts.map(|text| format!("<{name}>{}</{name}>", escape(text)));
        format!("<tr>{}</tr>", cells.collect::<String>())
    };
    let head = if head.iter().all(|text| text.is_empty()) {
        String::new()
    } else {
        format!("<thead>{}</thead>", row("th", &mut head.iter().copied()))
    };
    let rows: String = rows
        .iter()
        .map(|texts| row("td", &mut texts.as_ref().iter().map(String::as_str)))
        .collect();
    format!("<div class=\"wide\"><table>{head}<tbody>{rows}</tbody></table></div>")
}

fn behind(words: &str, content: &str) -> String {
    format!(
        "<details><summary>{}</summary>{content}</details>",
        escape(words)
    )
}

/// From the bottom up, in colours that are told apart without red and green.
const STATUSES: [(&str, &str); 6] = [
    ("COMPLETED", "#009e73"),
    ("FAILED", "#d55e00"),
    ("CANCELLED", "#8a8a8a"),
    ("PROCESSING", "#0072b2"),
    ("PENDING", "#56b4e9"),
    ("PAUSED", "#e69f00"),
];
const COLOURS: [&str; 7] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8a8a",
];
/// The whole causes stand once, above.
const CAUSES_CHARS_MAX: usize = 160;
/// How many rows stand behind a chart at most.
const ROWS_MAX: usize = 300;
const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:15px/1.5 system-ui,sans-serif;margin:0}\
main{max-width:60rem;margin:0 auto;padding:1rem}\
.end{font-weight:600}\
.wide{overflow-x:auto}\
table{border-collapse:collapse;margin:.5rem 0;font-variant-numeric:tabular-nums}\
th,td{text-align:left;padding:.2rem .8rem .2rem 0;vertical-align:top;border-bottom:1px solid #8884}\
figure{margin:1.5rem 0}\
figcaption ul{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1rem;padding:0;margin:0}\
svg{width:100%;height:auto;font:12px system-ui,sans-serif}\
svg.swatch{width:.8em;height:.8em;margin-right:.4em}\
svg text{fill:currentColor}\
.grid{stroke:#8885}\
.paused{stroke:currentColor;stroke-dasharray:4 3}";

#[cfg(test)]
mod tests {
    use super::super::report::tests::facts;
    use super::*;

    #[test]
    fn what_services_say_is_shown_and_never_obeyed() {
        let mut facts = facts();
        for job in facts.in_full.values_mut() {
            for attempt in &mut job.attempts {
                attempt.error = Some("<script>alert('\"&')</script>".to_owned());
            }
        }
        let page = page(&Report::of(&facts));
        let escaped = "&lt;script&gt;alert(&#39;&quot;&amp;&#39;)&lt;/script&gt;";
        assert!(page.contains(escaped) && !page.contains("<script"));
    }
}
