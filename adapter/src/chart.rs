//! Charts as SVG, drawn into the page itself.

use std::fmt::Write as _;
use std::time::Duration;

use chrono::{DateTime, Utc};

/// A line, or a layer, of a chart.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) paint: Paint,
    /// Seconds since the beginning, and the value then; none where it is not known.
    pub(crate) points: Vec<(f64, Option<f64>)>,
}

/// What a series is drawn in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    /// A CSS colour, in a page that has its style in it.
    Colour(&'static str),
    /// A class of the page's style sheet.
    Class(&'static str),
}

impl Paint {
    /// The attribute of a filled area.
    pub(crate) fn area(self) -> String {
        match self {
            Self::Colour(colour) => format!("fill=\"{colour}\""),
            Self::Class(class) => format!("class=\"area {class}\""),
        }
    }

    /// The attributes of a line.
    pub(crate) fn line(self) -> String {
        match self {
            Self::Colour(colour) => {
                format!("fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"")
            }
            Self::Class(class) => format!("class=\"line {class}\""),
        }
    }
}

/// How the axis of time is labelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Axis {
    /// Seconds since the beginning.
    Seconds,
    /// UTC, from this time on.
    Clock(DateTime<Utc>),
}

impl Axis {
    fn label(self, seconds: f64, whole: f64) -> String {
        match self {
            Self::Seconds => format!("{} s", short(seconds)),
            Self::Clock(since) => {
                let form = match (whole > DAY, seconds > 0.0) {
                    (true, _) => "%d %b %H:%M",
                    (false, true) => "%H:%M",
                    // Once is enough.
                    (false, false) => "%H:%M UTC",
                };
                later(since, seconds).format(form).to_string()
            }
        }
    }

    /// The instant behind a label, for a script that shows it in the reader's zone.
    fn instant(self, seconds: f64, whole: f64) -> String {
        match self {
            Self::Clock(since) if whole <= DAY => {
                let at = later(since, seconds);
                format!(" data-clock=\"{}\"", at.format("%Y-%m-%dT%H:%M:%SZ"))
            }
            Self::Clock(_) | Self::Seconds => String::new(),
        }
    }
}

fn later(since: DateTime<Utc>, seconds: f64) -> DateTime<Utc> {
    let passed = chrono::Duration::from_std(Duration::from_secs_f64(seconds));
    since + passed.unwrap_or_default()
}

/// From how many seconds on times of day would stand for several days.
const DAY: f64 = 86_400.0;

/// When the line was paused, in seconds since the beginning.
#[derive(Debug, Clone)]
pub(crate) enum Paused {
    /// It was not.
    Never,
    /// From then on.
    From(f64),
    /// In these spans.
    During(Vec<(f64, f64)>),
}

/// What a chart shows.
#[derive(Debug, Clone)]
pub(crate) struct Chart {
    pub(crate) title: &'static str,
    /// What a value is, such as `jobs` or `ms`.
    pub(crate) unit: &'static str,
    pub(crate) series: Vec<Series>,
    /// How long the whole is: charts beside each other go to the same second.
    pub(crate) seconds: f64,
    pub(crate) axis: Axis,
    pub(crate) paused: Paused,
}

/// How values stand on each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Layers that add up to the whole. Every series must have the same times.
    Stacked,
    /// Lines beside each other.
    Lines,
}

impl Chart {
    /// The chart as one `svg` element. One without values says so.
    pub(crate) fn svg(&self, shape: Shape) -> String {
        let layers = match shape {
            Shape::Stacked => self.stacked(),
            Shape::Lines => self.series.iter().map(|one| one.points.clone()).collect(),
        };
        let all = || layers.iter().flatten();
        let seconds = all().map(|(at, _)| *at).fold(self.seconds, f64::max);
        let values = all().filter_map(|(_, value)| *value);
        let top = nice(values.fold(0.0, f64::max));
        let frame = Frame {
            seconds: if seconds > 0.0 { seconds } else { 1.0 },
            top,
            axis: self.axis,
        };
        let names: Vec<&str> = self.series.iter().map(|one| one.name.as_str()).collect();
        let mut svg = format!(
            "<svg role=\"img\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" aria-label=\"{title}\">\
             <title>{title}</title><desc>{}: {}</desc>",
            escape(self.unit),
            escape(&names.join(", ")),
            title = escape(self.title)
        );
        if all().next().is_none() {
            add(
                &mut svg,
                format_args!("<text x=\"{LEFT}\" y=\"40\">nothing to show</text></svg>"),
            );
            return svg;
        }
        frame.draw_axes(&mut svg, self.unit);
        // The topmost layer reaches lowest, so it is drawn first and the others over it.
        for (series, points) in self.series.iter().zip(&layers).rev() {
            match shape {
                Shape::Stacked => frame.draw_area(&mut svg, series, points),
                Shape::Lines => frame.draw_line(&mut svg, series, points),
            }
        }
        frame.draw_pause(&mut svg, &self.paused);
        svg.push_str("</svg>");
        svg
    }

    /// Each layer's upper edge. Where no layer has a value, nothing is known.
    fn stacked(&self) -> Vec<Vec<(f64, Option<f64>)>> {
        let mut below: Vec<f64> = Vec::new();
        let mut layers = Vec::new();
        let is_known = |place: usize| {
            let mut values = self.series.iter().filter_map(|one| one.points.get(place));
            values.any(|(_, value)| value.is_some())
        };
        for series in &self.series {
            below.resize(series.points.len(), 0.0);
            let layer = series.points.iter().zip(&mut below).enumerate();
            layers.push(
                layer
                    .map(|(place, ((at, value), below))| {
                        *below += value.unwrap_or(0.0);
                        (*at, is_known(place).then_some(*below))
                    })
                    .collect(),
            );
        }
        layers
    }
}

/// Where seconds and values are drawn.
struct Frame {
    seconds: f64,
    top: f64,
    axis: Axis,
}

impl Frame {
    fn x(&self, seconds: f64) -> f64 {
        LEFT + seconds / self.seconds * (RIGHT - LEFT)
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - value / self.top * (BOTTOM - TOP)
    }

    fn draw_axes(&self, svg: &mut String, unit: &str) {
        for part in 0..=PARTS {
            let part = f64::from(part) / f64::from(PARTS);
            let (value, y) = (self.top * part, self.y(self.top * part));
            add(
                svg,
                format_args!(
                    "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                     <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                    LEFT - 6.0,
                    y + 4.0,
                    short(value)
                ),
            );
            let (seconds, x) = (self.seconds * part, self.x(self.seconds * part));
            // The last one would reach over the edge.
            let anchor = if part < 1.0 { "middle" } else { "end" };
            add(
                svg,
                format_args!(
                    "<text class=\"tick time\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\"{}>{}</text>",
                    BOTTOM + 16.0,
                    self.axis.instant(seconds, self.seconds),
                    self.axis.label(seconds, self.seconds)
                ),
            );
        }
        let unit = escape(unit);
        add(
            svg,
            format_args!("<text class=\"tick unit\" x=\"4\" y=\"9\">{unit}</text>"),
        );
    }

    fn draw_pause(&self, svg: &mut String, paused: &Paused) {
        let (from, spans) = match paused {
            Paused::Never => return,
            Paused::From(at) => (Some(*at), &[][..]),
            Paused::During(spans) => (None, spans.as_slice()),
        };
        for (start, end) in spans {
            let (x, width) = (self.x(*start), self.x(*end) - self.x(*start));
            add(
                svg,
                format_args!(
                    "<rect class=\"pause\" x=\"{x:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"6\">\
                     <title>paused</title></rect>"
                ),
            );
        }
        if let Some(at) = from {
            let x = self.x(at);
            add(
                svg,
                format_args!(
                    "<line class=\"paused\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{BOTTOM}\"/>"
                ),
            );
        }
        if let Some(at) = from.or(spans.first().map(|(start, _)| *start)) {
            // Near the end its name would not fit after it.
            let (x, anchor) = if self.x(at) > RIGHT - NAME_WIDTH {
                (RIGHT, "end")
            } else {
                (self.x(at) + 4.0, "start")
            };
            add(
                svg,
                format_args!(
                    "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">paused</text>",
                    if from.is_some() {
                        TOP + 10.0
                    } else {
                        TOP - 4.0
                    }
                ),
            );
        }
    }

    /// An area with a gap where nothing is known.
    fn draw_area(&self, svg: &mut String, series: &Series, points: &[(f64, Option<f64>)]) {
        let mut path = String::new();
        for known in points.split(|(_, value)| value.is_none()) {
            let (Some(first), Some(last)) = (known.first(), known.last()) else {
                continue;
            };
            add(&mut path, format_args!("M {:.1},{BOTTOM}", self.x(first.0)));
            for (at, value) in known {
                let (x, y) = (self.x(*at), self.y(value.unwrap_or(0.0)));
                add(&mut path, format_args!(" L {x:.1},{y:.1}"));
            }
            let end = self.x(last.0);
            add(&mut path, format_args!(" L {end:.1},{BOTTOM} Z "));
        }
        let (paint, name) = (series.paint.area(), escape(&series.name));
        add(
            svg,
            format_args!("<path d=\"{path}\" {paint}><title>{name}</title></path>"),
        );
    }

    /// A line with a gap where a value is not known, and a dot at each value, so that a single one is seen.
    fn draw_line(&self, svg: &mut String, series: &Series, points: &[(f64, Option<f64>)]) {
        let (mut path, mut dots, mut pen) = (String::new(), String::new(), 'M');
        let (line, dot) = (series.paint.line(), series.paint.area());
        for (at, value) in points {
            let Some(value) = value else {
                pen = 'M';
                continue;
            };
            let (x, y) = (self.x(*at), self.y(*value));
            add(&mut path, format_args!("{pen} {x:.1},{y:.1} "));
            add(
                &mut dots,
                format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" {dot}/>"),
            );
            pen = 'L';
        }
        let name = escape(&series.name);
        add(
            svg,
            format_args!("<g><title>{name}</title><path d=\"{path}\" {line}/>{dots}</g>"),
        );
    }
}

fn add(text: &mut String, more: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _infallible = text.write_fmt(more);
}

/// The next number whose parts are easy to read: 1, 2, 4, 5, 8 or 10 times a power of ten.
fn nice(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 4.0, 5.0, 8.0, 10.0];
    let step = steps.into_iter().find(|step| step * power >= value);
    step.unwrap_or(10.0) * power
}

/// A number as an axis shows it.
fn short(value: f64) -> String {
    let text = if value >= 10.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    };
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 740.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 250.0;
/// How much room the name of a pause takes.
const NAME_WIDTH: f64 = 60.0;
/// Into how many parts the axes are divided.
const PARTS: u32 = 4;

/// A text as HTML shows it and no more: error texts come from outside services.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: &[&[Option<f64>]]) -> Chart {
        let series = points.iter().zip(["one", "<two>"]).map(|(values, name)| {
            let points = (0..).map(f64::from).zip(values.iter().copied());
            Series {
                name: name.to_owned(),
                paint: Paint::Colour("#000"),
                points: points.collect(),
            }
        });
        Chart {
            title: "jobs & more",
            unit: "jobs",
            series: series.collect(),
            seconds: 1.0,
            axis: Axis::Seconds,
            paused: Paused::From(1.0),
        }
    }

    #[test]
    fn layers_add_up_and_lines_have_gaps() {
        let chart = chart(&[&[Some(1.0), Some(2.0)], &[Some(3.0), None]]);
        let edge = [(0.0, Some(4.0)), (1.0, Some(2.0))];
        assert_eq!(chart.stacked()[1], edge);
        let lines = chart.svg(Shape::Lines);
        assert_eq!(lines.matches("<circle").count(), 3);
        let stacked = chart.svg(Shape::Stacked);
        // 4 of 4 is the top, at the left; the layer below ends at 2, which is half-way up, at the right.
        assert!(stacked.contains(" L 56.0,20.0 L 740.0,135.0 "), "{stacked}");
        assert!(stacked.contains("jobs &amp; more") && stacked.contains("&lt;two&gt;"));
        assert!(stacked.contains("paused"));
    }

    #[test]
    fn an_area_has_a_gap_where_nobody_looked() {
        let values = [Some(1.0), None, Some(2.0), Some(2.0)];
        let mut gap = chart(&[&values]);
        gap.paused = Paused::During(vec![(2.0, 3.0)]);
        let svg = gap.svg(Shape::Stacked);
        assert_eq!(svg.matches(" Z ").count(), 2, "{svg}");
        assert_eq!(svg.matches("class=\"pause\"").count(), 1, "{svg}");
    }

    #[test]
    fn an_axis_shows_the_time_of_day_and_over_days_the_day() {
        let noon = Axis::Clock(DateTime::from_timestamp(1_767_268_800, 0).unwrap());
        assert_eq!(noon.label(0.0, 7200.0), "12:00 UTC");
        assert_eq!(noon.label(3600.0, 7200.0), "13:00");
        let at = " data-clock=\"2026-01-01T13:00:00Z\"";
        assert_eq!(noon.instant(3600.0, 7200.0), at);
        assert_eq!(noon.label(86_400.0, 90_000.0), "02 Jan 12:00");
        assert_eq!(Axis::Seconds.label(2.5, 9.0), "2.5 s");
    }

    #[test]
    fn a_chart_of_nothing_says_so() {
        assert!(chart(&[]).svg(Shape::Lines).contains("nothing to show"));
        let zero = chart(&[&[Some(0.0)]]).svg(Shape::Stacked);
        assert!(!zero.contains("NaN") && !zero.contains("inf"), "{zero}");
    }

    #[test]
    fn axes_end_at_numbers_that_are_easy_to_read() {
        for (value, top) in [
            (0.0, "1"),
            (3.0, "4"),
            (11.0, "20"),
            (0.7, "0.8"),
            (100.0, "100"),
        ] {
            assert_eq!(short(nice(value)), top, "{value}");
        }
    }
}
