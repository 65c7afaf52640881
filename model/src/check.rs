//! Checking a configuration whole: every reachable state, every property, and what it cost.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use stateright::report::{ReportData, ReportDiscovery, Reporter};
use stateright::{Checker, Expectation, Model};

use crate::trace::{self, Trace};

/// When a configuration is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Also by `check --small`, and by the tests: seconds.
    Small,
    /// Only by `check`: up to minutes.
    Full,
}

/// One model with its bounds, ready to be checked, replayed and explored.
pub struct Configuration {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is about, in a line.
    pub about: &'static str,
    /// When it is checked.
    pub size: Size,
    /// How many different states are reachable. Pinned: a model that shrinks by mistake would hold
    /// every `always` as well.
    pub states: usize,
    run: Box<dyn Fn(usize) -> Report + Send + Sync>,
    replay: Replay,
    explore: Box<dyn Fn(&str) + Send + Sync>,
}

/// Walks a counter-example in one model.
type Replay = Box<dyn Fn(&Trace) -> Result<Vec<String>, trace::Error> + Send + Sync>;

/// How a configuration's model is made, when it is used.
pub struct Making<M> {
    /// The model that is checked.
    pub checked: Box<dyn Fn() -> M + Send + Sync>,
    /// The model that tells counter-examples: the same without symmetry, so that a thing keeps its name.
    pub told: Box<dyn Fn() -> M + Send + Sync>,
    /// After a check: what acts can come to, and whether it came. A model in which an answer never comes
    /// shows too little.
    pub outcomes: fn(&M) -> Vec<(String, Verdict)>,
}

impl Configuration {
    /// A configuration of a model. The model's [`Model::format_step`] says what a step does, as a
    /// sentence for people.
    pub fn new<M>(
        name: &'static str,
        about: &'static str,
        size: Size,
        states: usize,
        model: M,
    ) -> Self
    where
        M: Model + Clone + Send + Sync + 'static,
        M::State: Clone + Debug + Eq + Hash + Send + Sync,
        M::Action: Clone + Debug + PartialEq + Send + Sync,
    {
        let told = model.clone();
        let making = Making {
            checked: Box::new(move || model.clone()),
            told: Box::new(move || told.clone()),
            outcomes: |_| Vec::new(),
        };
        Self::made(name, about, size, states, making)
    }

    /// As [`Configuration::new`], of a model that is made when it is used.
    pub fn made<M>(
        name: &'static str,
        about: &'static str,
        size: Size,
        states: usize,
        making: Making<M>,
    ) -> Self
    where
        M: Model + Clone + Send + Sync + 'static,
        M::State: Clone + Debug + Eq + Hash + Send + Sync,
        M::Action: Clone + Debug + PartialEq + Send + Sync,
    {
        let making = Arc::new(making);
        let (replayed, explored) = (Arc::clone(&making), Arc::clone(&making));
        Self {
            name,
            about,
            size,
            states,
            run: Box::new(move |threads| run(name, &making, states, threads)),
            replay: Box::new(move |trace| trace::replay(&(replayed.told)(), trace)),
            explore: Box::new(move |address| {
                (explored.told)().checker().serve(address);
            }),
        }
    }

    /// A check that is no search from a first state: it can be neither replayed nor explored.
    pub fn proof(
        name: &'static str,
        about: &'static str,
        size: Size,
        states: usize,
        run: impl Fn(usize) -> Report + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            about,
            size,
            states,
            run: Box::new(run),
            replay: Box::new(move |_| Err(trace::Error::NoStart)),
            explore: Box::new(|_| {}),
        }
    }

    /// Visits every reachable state on so many threads.
    pub fn check(&self, threads: usize) -> Report {
        (self.run)(threads)
    }

    /// Walks a counter-example: a sentence for each step, and what is broken at the end.
    ///
    /// # Errors
    /// [`trace::Error`] if a step of it is not possible here.
    pub fn replay(&self, trace: &Trace) -> Result<Vec<String>, trace::Error> {
        (self.replay)(trace)
    }

    /// Serves stateright's explorer at `address` until the process ends.
    pub fn explore(&self, address: &str) {
        (self.explore)(address);
    }
}

/// What became of a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// An `always` that holds in every reachable state.
    Held,
    /// A `sometimes` that some reachable state shows.
    Reached,
    /// A `sometimes` that no reachable state shows: the model does not do what it is for.
    NeverReached,
    /// An `always` that a reachable state breaks.
    Violated(Trace),
}

impl Verdict {
    /// Whether the property came out as it must.
    pub const fn is_right(&self) -> bool {
        matches!(self, Self::Held | Self::Reached)
    }
}

/// What a check found, and what it cost.
#[derive(Debug)]
pub struct Report {
    /// The configuration.
    pub name: &'static str,
    /// Different states.
    pub states: usize,
    /// How many there should be.
    pub expected_states: usize,
    /// Steps taken, to known states as well.
    pub steps: usize,
    /// The longest of the shortest ways to a state, counted in states.
    pub depth: usize,
    /// Wall-clock time.
    pub time: Duration,
    /// The process's peak resident memory meanwhile, in MiB; none where the system does not tell.
    pub memory: Option<u64>,
    /// What became of each property and outcome, by name.
    pub properties: Vec<(String, Verdict)>,
}

impl Report {
    /// Whether every property came out as it must, over as many states as there should be.
    pub fn is_right(&self) -> bool {
        self.states == self.expected_states
            && self
                .properties
                .iter()
                .all(|(_, verdict)| verdict.is_right())
    }

    /// The counter-examples.
    pub fn counter_examples(&self) -> impl Iterator<Item = &Trace> {
        self.properties
            .iter()
            .filter_map(|(_, verdict)| match verdict {
                Verdict::Violated(trace) => Some(trace),
                Verdict::Held | Verdict::Reached | Verdict::NeverReached => None,
            })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.time.as_secs_f64();
        write!(
            f,
            "{}: {} states, {} steps, depth {}, {seconds:.1} s, {:.0} states/s",
            self.name,
            self.states,
            self.steps,
            self.depth,
            per_second(self.states, self.time),
        )?;
        if let Some(memory) = self.memory {
            write!(f, ", {memory} MiB")?;
        }
        writeln!(f)?;
        if self.states != self.expected_states {
            writeln!(
                f,
                "  WRONG     there should be {} states: a change of the rules or of the model moved \
                 the number; if it should have, pin the new one",
                self.expected_states
            )?;
        }
        let mut answers = 0;
        for (name, verdict) in &self.properties {
            match verdict {
                // There are dozens of these, so they are counted.
                Verdict::Reached if name.starts_with("answered") => answers += 1,
                Verdict::Held => writeln!(f, "  held      {name}")?,
                Verdict::Reached => writeln!(f, "  reached   {name}")?,
                Verdict::NeverReached => writeln!(f, "  NEVER     {name}")?,
                Verdict::Violated(trace) => {
                    writeln!(f, "  VIOLATED  {name}, in {} steps:", trace.steps.len())?;
                    for line in &trace.sentences {
                        writeln!(f, "      {line}")?;
                    }
                }
            }
        }
        if answers > 0 {
            writeln!(f, "  reached   {answers} different answers to commands")?;
        }
        Ok(())
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a rate for people, of numbers far below 2^52"
)]
fn per_second(states: usize, time: Duration) -> f64 {
    states as f64 / time.as_secs_f64().max(1e-9)
}

fn run<M>(name: &'static str, making: &Making<M>, expected_states: usize, threads: usize) -> Report
where
    M: Model + Clone + Send + Sync + 'static,
    M::State: Clone + Debug + Eq + Hash + Send + Sync,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    let model = (making.checked)();
    let begun = Instant::now();
    reset_peak_memory();
    let mut progress = Progress::new(name, expected_states);
    let checker = model
        .clone()
        .checker()
        .threads(threads)
        .spawn_bfs()
        .report(&mut progress)
        .join();
    progress.bar.finish_and_clear();
    let (time, memory) = (begun.elapsed(), peak_memory());
    let found = checker.discoveries();
    let judged = model.properties().into_iter().map(|property| {
        let is_found = found.contains_key(property.name);
        let verdict = match (&property.expectation, is_found) {
            (Expectation::Sometimes, true) => Verdict::Reached,
            (Expectation::Sometimes, false) => Verdict::NeverReached,
            (Expectation::Always | Expectation::Eventually, false) => Verdict::Held,
            (Expectation::Always | Expectation::Eventually, true) => {
                let told = (making.told)();
                let way = trace::shortest(&told, &property).unwrap_or_default();
                Verdict::Violated(Trace::tell(&told, name, property.name, &way))
            }
        };
        (property.name.to_owned(), verdict)
    });
    let mut properties: Vec<(String, Verdict)> = judged.collect();
    properties.extend((making.outcomes)(&model));
    Report {
        name,
        states: checker.unique_state_count(),
        expected_states,
        steps: checker.state_count(),
        depth: checker.max_depth(),
        time,
        memory,
        properties,
    }
}

/// A bar on a terminal; nothing elsewhere.
struct Progress {
    bar: ProgressBar,
}

impl Progress {
    fn new(name: &'static str, expected_states: usize) -> Self {
        let bar = ProgressBar::new(expected_states as u64);
        if let Ok(style) =
            ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} states {eta}")
        {
            bar.set_style(style);
        }
        bar.set_message(name);
        Self { bar }
    }
}

impl<M: Model> Reporter<M> for Progress {
    fn report_checking(&mut self, data: ReportData) {
        self.bar.set_position(data.unique_states as u64);
    }

    fn report_discoveries(&mut self, _: &M, _: BTreeMap<&'static str, ReportDiscovery<M>>) {}

    fn delay(&self) -> Duration {
        Duration::from_millis(50)
    }
}

/// Linux counts the peak afresh from here.
fn reset_peak_memory() {
    // Elsewhere, and where it is forbidden, the peak of the whole process is shown.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes / 1024)
}

/// Checks the small ones of a model's configurations, as every test run does.
#[cfg(test)]
#[track_caller]
pub(crate) fn assert_small_ones_are_right(configurations: Vec<Configuration>, threads: usize) {
    for configuration in configurations {
        if configuration.size == Size::Small {
            let report = configuration.check(threads);
            assert!(report.is_right(), "{report}");
        }
    }
}
