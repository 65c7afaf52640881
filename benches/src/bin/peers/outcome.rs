//! What the rounds came to: the table, and how andon stands to what it is held against.

use andon_bench::report::{Table, thousands, whole};

use crate::contenders::{ANDON, ANDON_LIKE_FLOOR, Contender, FLOOR, Kind, Measured, Settings};

/// One who was measured.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) contender: Contender,
    pub(crate) settings: Settings,
    pub(crate) rounds: Vec<Measured>,
}

/// The middle of the rounds, and their ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    least: f64,
    pub(crate) median: f64,
    most: f64,
}

impl Row {
    pub(crate) fn new(contender: Contender, settings: Settings) -> Self {
        Self {
            contender,
            settings,
            rounds: Vec::new(),
        }
    }

    pub(crate) fn drained(&self) -> Spread {
        self.spread(|round| round.drain_per_s)
    }

    pub(crate) fn enqueued(&self) -> Spread {
        self.spread(|round| round.enqueue_per_s)
    }

    fn spread(&self, rate: fn(&Measured) -> f64) -> Spread {
        let mut rates: Vec<f64> = self.rounds.iter().map(rate).collect();
        rates.sort_by(f64::total_cmp);
        let at = |index: usize| rates.get(index).copied().unwrap_or_default();
        Spread {
            least: at(0),
            median: at(rates.len() / 2),
            most: at(rates.len().saturating_sub(1)),
        }
    }

    pub(crate) fn keeps_finished(&self) -> bool {
        self.rounds.iter().all(|round| round.keeps_finished)
    }

    fn is_peer(&self) -> bool {
        matches!(self.contender.kind, Kind::Peer(_))
    }
}

fn shown(spread: Spread) -> String {
    let Spread {
        least,
        median,
        most,
    } = spread;
    format!("{} ({}–{})", whole(median), whole(least), whole(most))
}

/// The table, and what it comes to.
pub(crate) fn text(rows: &[Row], jobs: usize, rounds: usize, machine: &str) -> String {
    let named = |name: &str| rows.iter().find(|row| row.contender.name == name);
    let andon = named(ANDON).map(|row| row.drained().median);
    let mut table = Table::new([
        "queue",
        "done/s",
        "andon is × as fast",
        "enqueued/s",
        "finished jobs",
        "set to",
    ]);
    let mut by_rate: Vec<&Row> = rows.iter().collect();
    by_rate.sort_by(|a, b| b.drained().median.total_cmp(&a.drained().median));
    for row in by_rate {
        let (version, finished, settings) = row.rounds.last().map_or_else(Default::default, |it| {
            let version = if row.is_peer() {
                format!(" {}", it.version)
            } else {
                String::new()
            };
            (version, it.finished_jobs.clone(), it.settings.clone())
        });
        let times = andon.map(|andon| format!("{:.2}", andon / row.drained().median));
        table.push([
            format!("{}{version}", row.contender.name),
            shown(row.drained()),
            times.unwrap_or_default(),
            shown(row.enqueued()),
            finished,
            settings,
        ]);
    }
    let fewer = rows.iter().filter(|row| row.contender.share > 1);
    let fewer: Vec<String> = fewer
        .map(|row| {
            let jobs = u64::try_from(jobs / row.contender.share).unwrap_or_default();
            format!(", {} for {}", thousands(jobs), row.contender.name)
        })
        .collect();
    let fewer = fewer.concat();
    format!(
        "{}\n{}\nThe middle of {rounds} rounds, and the least and the most of them; {} jobs{fewer}. {machine}",
        table.markdown(),
        goals(rows),
        thousands(u64::try_from(jobs).unwrap_or_default()),
    )
}

/// What andon is meant to reach, and what it reaches.
fn goals(rows: &[Row]) -> String {
    let named = |name: &str| rows.iter().find(|row| row.contender.name == name);
    let (Some(andon), Some(like_floor), Some(floor)) =
        (named(ANDON), named(ANDON_LIKE_FLOOR), named(FLOOR))
    else {
        return String::new();
    };
    let best = |rate: fn(&Row) -> Spread, counts: fn(&Row) -> bool| {
        let peers = rows.iter().filter(|row| row.is_peer() && counts(row));
        peers.map(|row| rate(row).median).fold(0.0, f64::max)
    };
    let (drained, enqueued) = (andon.drained().median, andon.enqueued().median);
    let any = drained / best(Row::drained, |_| true);
    let keeping = drained / best(Row::drained, Row::keeps_finished);
    let enqueuing = enqueued / best(Row::enqueued, |_| true);
    let of_floor = like_floor.drained().median / floor.drained().median;
    let mut table = Table::new(["done and enqueued beside", "goal", "reached"]);
    for (what, goal, reached) in [
        ("done: the fastest peer", 1.3, any),
        (
            "done: the fastest peer that keeps finished jobs",
            2.5,
            keeping,
        ),
        ("enqueued: the fastest peer", 1.5, enqueuing),
        (
            "done: the bare `SKIP LOCKED`, both at batch 100",
            0.6,
            of_floor,
        ),
    ] {
        let reached = format!("{reached:.2} ×");
        table.push([what.to_owned(), format!("{goal:.1} ×"), reached]);
    }
    table.markdown()
}
