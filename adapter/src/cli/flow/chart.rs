//! Charts as SVG, drawn into the page itself.

use std::fmt::Write as _;

use super::html::escape;

/// A line, or a layer, of a chart.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) name: String,
    /// A CSS colour.
    pub(super) colour: &'static str,
    /// Seconds since the run began, and the value then; none where it is not known.
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// What a chart shows.
#[derive(Debug, Clone)]
pub(super) struct Chart {
    pub(super) title: &'static str,
    /// What a value is, such as `jobs` or `ms`.
    pub(super) unit: &'static str,
    pub(super) series: Vec<Series>,
    /// How long the run was: all of its charts go to the same second.
    pub(super) seconds: f64,
    /// When the line was paused, in seconds since the run began.
    pub(super) paused_s: Option<f64>,
}

/// How values stand on each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Layers that add up to the whole. Every series must have the same times.
    Stacked,
    /// Lines beside each other.
    Lines,
}

impl Chart {
    /// The chart as one `svg` element. One without values says so.
    pub(super) fn svg(&self, shape: Shape) -> String {
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
        };
        let mut svg = format!(
            "<svg role=\"img\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" aria-label=\"{}\">",
            escape(self.title)
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
        if let Some(at) = self.paused_s {
            let x = frame.x(at);
            add(
                &mut svg,
                format_args!(
                    "<line class=\"paused\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{BOTTOM}\"/>\
                     <text x=\"{:.1}\" y=\"{:.1}\">paused</text>",
                    x + 4.0,
                    TOP + 10.0
                ),
            );
        }
        svg.push_str("</svg>");
        svg
    }

    /// Each layer's upper edge.
    fn stacked(&self) -> Vec<Vec<(f64, Option<f64>)>> {
        let mut below: Vec<f64> = Vec::new();
        let mut layers = Vec::new();
        for series in &self.series {
            below.resize(series.points.len(), 0.0);
            let layer = series.points.iter().zip(&mut below);
            layers.push(
                layer
                    .map(|((at, value), below)| {
                        *below += value.unwrap_or(0.0);
                        (*at, Some(*below))
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
            add(
                svg,
                format_args!(
                    "<text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{} s</text>",
                    BOTTOM + 16.0,
                    short(seconds)
                ),
            );
        }
        let unit = escape(unit);
        add(
            svg,
            format_args!("<text class=\"tick\" x=\"4\" y=\"12\">{unit}</text>"),
        );
    }

    fn draw_area(&self, svg: &mut String, series: &Series, points: &[(f64, Option<f64>)]) {
        let (Some(first), Some(last)) = (points.first(), points.last()) else {
            return;
        };
        let mut path = format!("M {:.1},{BOTTOM}", self.x(first.0));
        for (at, value) in points {
            let (x, y) = (self.x(*at), self.y(value.unwrap_or(0.0)));
            add(&mut path, format_args!(" L {x:.1},{y:.1}"));
        }
        add(
            &mut path,
            format_args!(" L {:.1},{BOTTOM} Z", self.x(last.0)),
        );
        let (colour, name) = (series.colour, escape(&series.name));
        add(
            svg,
            format_args!("<path d=\"{path}\" fill=\"{colour}\"><title>{name}</title></path>"),
        );
    }

    /// A line with a gap where a value is not known, and a dot at each value, so that a single one is seen.
    fn draw_line(&self, svg: &mut String, series: &Series, points: &[(f64, Option<f64>)]) {
        let (mut path, mut dots, mut pen) = (String::new(), String::new(), 'M');
        let colour = series.colour;
        for (at, value) in points {
            let Some(value) = value else {
                pen = 'M';
                continue;
            };
            let (x, y) = (self.x(*at), self.y(*value));
            add(&mut path, format_args!("{pen} {x:.1},{y:.1} "));
            add(
                &mut dots,
                format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"{colour}\"/>"),
            );
            pen = 'L';
        }
        let name = escape(&series.name);
        add(
            svg,
            format_args!(
                "<g><title>{name}</title><path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" \
                 stroke-width=\"2\"/>{dots}</g>"
            ),
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
/// Into how many parts the axes are divided.
const PARTS: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: &[&[Option<f64>]]) -> Chart {
        let series = points.iter().zip(["one", "<two>"]).map(|(values, name)| {
            let points = (0..).map(f64::from).zip(values.iter().copied());
            Series {
                name: name.to_owned(),
                colour: "#000",
                points: points.collect(),
            }
        });
        Chart {
            title: "jobs & more",
            unit: "jobs",
            series: series.collect(),
            seconds: 1.0,
            paused_s: Some(1.0),
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
