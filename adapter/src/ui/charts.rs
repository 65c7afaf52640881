//! Figures over time as charts, each with the same figures in a table behind it.

use std::time::Duration;

use andon::{JobStatus, ServiceName, Timestamp};
use askama::Template;
use askama::filters::HtmlSafe;

use super::show::{Time, number};
use crate::api::shapes;
use crate::chart::{Axis, Chart, Paint, Paused, Series, Shape};
use crate::line;
use crate::line::series::{self, Asked, Span};
use crate::store::{SampleOf, Tx};

/// How many points a chart shows: of the newest hour one for each half minute.
const POINTS_SHOWN: u32 = 125;

/// The newest hour.
const NEWEST: Asked = Asked {
    since: None,
    until: None,
    points_max: POINTS_SHOWN,
};

/// The layers of jobs, the lowest first, each with the classes it is drawn in.
const STATUSES: [(JobStatus, &str); 6] = [
    (JobStatus::Completed, "good"),
    (JobStatus::Failed, "bad"),
    (JobStatus::Cancelled, "quiet"),
    (JobStatus::Processing, "good light"),
    (JobStatus::Paused, "wait"),
    (JobStatus::Pending, "quiet light"),
];

/// A chart as it is shown.
#[derive(Debug, Clone, Template)]
#[template(path = "chart.html")]
pub(super) struct ChartShown {
    id: &'static str,
    title: &'static str,
    svg: Drawing,
    /// Name and class, the topmost layer first.
    legend: Vec<(String, &'static str)>,
    columns: Vec<String>,
    rows: Vec<RowShown>,
}

impl HtmlSafe for ChartShown {}

#[derive(Debug, Clone)]
struct RowShown {
    at: Time,
    figures: Vec<String>,
}

/// An `svg` element, whose texts are escaped where it is drawn.
#[derive(Debug, Clone)]
struct Drawing(String);

impl std::fmt::Display for Drawing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl HtmlSafe for Drawing {}

/// One point: when, its figures in the order of the series, and whether it was paused.
struct Point {
    at: Timestamp,
    figures: Vec<u64>,
    is_paused: bool,
}

/// What is shown of a series.
struct Shown {
    id: &'static str,
    title: &'static str,
    unit: &'static str,
    shape: Shape,
    span: Span,
    names: Vec<(String, &'static str)>,
    points: Vec<Point>,
}

/// The jobs of the newest hour by status, of the line or of a campaign.
pub(super) async fn jobs(tx: &mut dyn Tx, of: SampleOf) -> line::Result<ChartShown> {
    let series = series::jobs(tx, of, NEWEST).await?;
    let figure = |point: &series::JobPoint, status| point.jobs.get(&status).copied().unwrap_or(0);
    Ok(Shown {
        id: "jobs-chart",
        title: "Jobs by status in the last hour",
        unit: "jobs",
        shape: Shape::Stacked,
        span: series.span,
        names: STATUSES
            .map(|(status, class)| (status.to_string(), class))
            .into(),
        points: series
            .points
            .iter()
            .map(|point| Point {
                at: point.at,
                figures: STATUSES.map(|(status, _)| figure(point, status)).into(),
                is_paused: point.is_paused,
            })
            .collect(),
    }
    .chart())
}

/// The calls of a service in the newest hour.
pub(super) async fn calls(tx: &mut dyn Tx, service: &ServiceName) -> line::Result<ChartShown> {
    let series = series::calls(tx, service, NEWEST).await?;
    Ok(Shown {
        id: "calls-chart",
        title: "Calls and errors in the last hour",
        unit: "calls a minute",
        shape: Shape::Stacked,
        span: series.span,
        names: vec![("errors".into(), "bad"), ("successes".into(), "good")],
        points: series
            .points
            .iter()
            .map(|point| Point {
                at: point.at,
                figures: vec![point.failed, point.succeeded],
                is_paused: false,
            })
            .collect(),
    }
    .chart())
}

fn value(figure: u64) -> f64 {
    f64::from(u32::try_from(figure).unwrap_or(u32::MAX))
}

impl Shown {
    fn seconds(&self, at: Timestamp) -> f64 {
        at.since(self.span.since).as_secs_f64()
    }

    /// The points of one series. Where a step has none, nothing is known: the line has a gap there.
    fn points_of(&self, place: usize) -> Vec<(f64, Option<f64>)> {
        let mut points = Vec::new();
        let mut expected: Option<Timestamp> = None;
        for point in &self.points {
            if expected.is_some_and(|expected| point.at > expected) {
                points.push((self.seconds(point.at), None));
            }
            let figure = point.figures.get(place).copied();
            let start = self.seconds(point.at);
            points.push((start, figure.map(value)));
            // A point stands for its whole step, so that a single one is seen.
            let end = point.at.plus(self.span.step).min(self.span.until);
            points.push((self.seconds(end).max(start), figure.map(value)));
            expected = Some(point.at.plus(self.span.step));
        }
        points
    }

    fn paused(&self) -> Paused {
        let mut spans: Vec<(f64, f64)> = Vec::new();
        for point in self.points.iter().filter(|point| point.is_paused) {
            let end = point.at.plus(self.span.step).min(self.span.until);
            let (start, end) = (self.seconds(point.at), self.seconds(end));
            match spans.last_mut() {
                Some(last) if last.1 >= start => last.1 = end,
                _ => spans.push((start, end)),
            }
        }
        Paused::During(spans)
    }

    fn chart(self) -> ChartShown {
        let drawn = |(place, (name, class)): (usize, &(String, &'static str))| Series {
            name: name.clone(),
            paint: Paint::Class(class),
            points: self.points_of(place),
        };
        let chart = Chart {
            title: self.title,
            unit: self.unit,
            series: self.names.iter().enumerate().map(drawn).collect(),
            seconds: self
                .seconds(self.span.until)
                .max(Duration::from_mins(1).as_secs_f64()),
            axis: Axis::Clock(shapes::time(self.span.since)),
            paused: self.paused(),
        };
        let svg = Drawing(chart.svg(self.shape));
        let row = |point: &Point| RowShown {
            at: Time::of(shapes::time(point.at)),
            figures: point.figures.iter().map(|figure| number(*figure)).collect(),
        };
        ChartShown {
            id: self.id,
            title: self.title,
            svg,
            columns: self.names.iter().map(|(name, _)| name.clone()).collect(),
            rows: self.points.iter().rev().map(row).collect(),
            legend: self.names.into_iter().rev().collect(),
        }
    }
}
