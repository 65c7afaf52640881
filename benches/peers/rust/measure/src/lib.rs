//! What the drivers of both queues share: the arguments, what the handlers had, the clock, and the line
//! of JSON that is their answer. The contract is in `../README.md`.

use std::future::Future;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Whatever went wrong: a driver ends with it.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How a run is set.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub jobs: u64,
    /// Jobs enqueued with one call.
    pub chunk: u64,
    /// One process uses all cores; for some queues this is what its jobs are parted into.
    pub processes: usize,
    pub concurrency: usize,
    pub batch: usize,
}

impl Settings {
    /// Reads the arguments.
    pub fn from_arguments() -> Result<Self, Failure> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let number = |name: &str| -> Result<u64, Failure> {
            let place = arguments.iter().position(|argument| argument == name);
            let value = place.and_then(|place| arguments.get(place + 1));
            Ok(value.ok_or(format!("{name} is missing"))?.parse()?)
        };
        Ok(Self {
            jobs: number("--jobs")?,
            chunk: number("--chunk")?,
            processes: number("--processes")?.try_into()?,
            concurrency: number("--concurrency")?.try_into()?,
            batch: number("--batch")?.try_into()?,
        })
    }

    /// The numbers of all jobs, in chunks that are enqueued with one call each.
    pub fn chunks(self) -> impl Iterator<Item = Range<u64>> {
        let firsts = (0..self.jobs).step_by(self.chunk as usize);
        firsts.map(move |first| first..(first + self.chunk).min(self.jobs))
    }
}

pub fn database_url() -> Result<String, Failure> {
    Ok(std::env::var("DATABASE_URL")?)
}

static COUNT: AtomicU64 = AtomicU64::new(0);
static SUM: AtomicU64 = AtomicU64::new(0);

/// Called by the handler with each job's number.
pub fn handled(number: u64) {
    COUNT.fetch_add(1, Relaxed);
    SUM.fetch_add(number, Relaxed);
}

/// Waits until the handlers have had all jobs, and then until the database holds no unfinished one;
/// seconds since the workers were started.
pub async fn drained<F>(
    jobs: u64,
    started: Instant,
    unfinished: impl Fn() -> F,
) -> Result<f64, Failure>
where
    F: Future<Output = Result<i64, Failure>>,
{
    while COUNT.load(Relaxed) < jobs {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    while unfinished().await? > 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let seconds = started.elapsed().as_secs_f64();
    let (count, sum) = (COUNT.load(Relaxed), SUM.load(Relaxed));
    if count != jobs || sum != jobs * (jobs - 1) / 2 {
        return Err(
            format!("the handlers had {count} jobs instead of {jobs}, or not each once").into(),
        );
    }
    Ok(seconds)
}

/// What becomes of a job that is done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Finished {
    Kept,
    /// For a while, in words.
    KeptFor(&'static str),
}

/// Prints the answer.
pub fn answer(
    (peer, version): (&str, &str),
    settings: Settings,
    words: &str,
    (enqueued, drained): (f64, f64),
    finished: Finished,
) {
    let finished_jobs = match finished {
        Finished::Kept => "kept",
        Finished::KeptFor(while_) => while_,
    };
    let jobs = settings.jobs as f64;
    let line = serde_json::json!({
        "peer": peer,
        "version": version,
        "settings": words,
        "jobs": settings.jobs,
        "enqueue_per_s": jobs / enqueued,
        "drain_per_s": jobs / drained,
        "keeps_finished": finished == Finished::Kept,
        "finished_jobs": finished_jobs,
    });
    println!("{line}");
}
