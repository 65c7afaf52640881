//! How figures are shown, and how they get into docs/performance.md.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;
use std::{fs, io};

/// Whether figures go into the document, or are only shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writing {
    /// Only printed.
    Shown,
    /// Also written between the marks of their block.
    Docs,
}

impl Writing {
    /// As the flag `--write` says.
    pub fn asked(write: bool) -> Self {
        if write { Self::Docs } else { Self::Shown }
    }
}

/// The document with the figures.
fn document() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../docs/performance.md"
    ))
}

/// Prints figures, and writes them into the block of this name if asked: the text between
/// `<!-- measured: NAME -->` and `<!-- end of NAME -->`.
///
/// # Errors
/// The document cannot be read or written, or has no such block.
pub fn publish(block: &str, text: &str, writing: Writing) -> io::Result<()> {
    let text = text.trim();
    {
        use io::Write as _;
        writeln!(io::stdout(), "{text}\n")?;
    }
    if writing == Writing::Shown {
        return Ok(());
    }
    let whole = fs::read_to_string(document())?;
    let replaced = replace(&whole, block, text)
        .ok_or_else(|| io::Error::other(format!("docs/performance.md has no block `{block}`")))?;
    fs::write(document(), replaced)
}

fn replace(whole: &str, block: &str, text: &str) -> Option<String> {
    let (begin, end) = (
        format!("<!-- measured: {block} -->"),
        format!("<!-- end of {block} -->"),
    );
    let (before, rest) = whole.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n\n{text}\n\n{end}{after}"))
}

/// A table, as Markdown.
#[derive(Debug, Clone)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these columns: the first one names the row, the others hold figures.
    pub fn new<const N: usize>(header: [&str; N]) -> Self {
        Self {
            header: header.map(str::to_owned).to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn push<const N: usize>(&mut self, row: [String; N]) {
        self.rows.push(row.into());
    }

    /// The table as Markdown.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        let mut line = |cells: &[String]| {
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        };
        line(&self.header);
        let rules: Vec<String> = (0..self.header.len())
            .map(|column| if column == 0 { "---" } else { "---:" }.to_owned())
            .collect();
        line(&rules);
        for row in &self.rows {
            line(row);
        }
        text
    }
}

/// What was measured on: processors, memory and database. A sentence.
pub fn machine(postgres_version: &str) -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let after_colon = |text: &str, name: &str| -> Option<String> {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let model = after_colon(&read("/proc/cpuinfo"), "model name")
        .unwrap_or_else(|| std::env::consts::ARCH.into());
    let memory = after_colon(&read("/proc/meminfo"), "MemTotal")
        .and_then(|text| text.split(' ').next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib / (1024 * 1024));
    format!(
        "Measured on {cores} cores ({model}) with {memory} GiB of memory, PostgreSQL {postgres_version} \
         on the same machine, `fsync` and `synchronous_commit` on."
    )
}

/// The value that this share of the sorted values does not exceed; zero of none.
pub fn percentile(sorted: &[Duration], share: f64) -> Duration {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index into a list of measurements"
    )]
    let index = ((sorted.len() as f64 * share).ceil() as usize).saturating_sub(1);
    sorted.get(index).copied().unwrap_or_default()
}

/// The values that these shares of durations do not exceed, in milliseconds.
pub fn millis_at<const N: usize>(
    durations: impl IntoIterator<Item = Duration>,
    shares: [f64; N],
) -> [String; N] {
    let mut sorted: Vec<Duration> = durations.into_iter().collect();
    sorted.sort_unstable();
    shares.map(|share| millis(percentile(&sorted, share)))
}

/// A duration in milliseconds with two digits behind the point.
pub fn millis(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64() * 1000.0)
}

/// So many in this time, a second.
pub fn per_second(count: usize, taken: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = count as f64 / taken.as_secs_f64();
    rate
}

/// A rate, rounded, with its thousands set apart.
pub fn whole(rate: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate, rounded"
    )]
    thousands(rate.round() as u64)
}

/// A number with its thousands set apart, as in `52,300`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_replace_what_stands_in_their_block_only() {
        let whole = "a\n<!-- measured: x -->\nold\n<!-- end of x -->\nb";
        assert_eq!(
            replace(whole, "x", "new").as_deref(),
            Some("a\n<!-- measured: x -->\n\nnew\n\n<!-- end of x -->\nb")
        );
        assert_eq!(replace(whole, "y", "new"), None);
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let sorted: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(percentile(&sorted, 0.5), Duration::from_millis(50));
        assert_eq!(percentile(&sorted, 0.99), Duration::from_millis(99));
        assert_eq!(percentile(&sorted, 1.0), Duration::from_millis(100));
        assert_eq!(percentile(&[], 0.5), Duration::ZERO);
    }

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [
            (7, "7"),
            (999, "999"),
            (52_300, "52,300"),
            (1_000_000, "1,000,000"),
        ] {
            assert_eq!(thousands(number), text);
        }
    }
}
