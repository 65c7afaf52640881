//! The lines that the benchmarks measure. The benchmarks themselves are in `benches/`, and the programs
//! that measure whole lines in `src/bin/`.

pub mod database;
pub mod line;
pub mod processes;
pub mod report;
pub mod served;
pub mod worker;

use std::time::Duration;

use andon::{
    Actor, ActorName, By, CallNumber, CallOutcome, ErrorText, Gate, InvalidText, JobId, Pause,
    Report, Reporter, ServiceName, Services, Timestamp, Token, Version,
};
use andon::{BreakerSettings, Origin, Refusal};
use andon_adapter::wire;
use andon_adapter::worker::{Ask, Clock, GateWatch};

/// What a program of its own comes to: it ends with the first thing that went wrong.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Why a line could not be set up: a mistake in a benchmark.
#[derive(Debug)]
pub struct Unusable(pub String);

impl From<InvalidText> for Unusable {
    fn from(error: InvalidText) -> Self {
        Self(error.to_string())
    }
}

impl From<Refusal> for Unusable {
    fn from(refusal: Refusal) -> Self {
        Self(refusal.to_string())
    }
}

/// An instant: the same one throughout, since no rule here depends on it.
pub const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

const JOB: JobId = JobId::from_u128(7);

/// The five services of the lead-generation line.
pub const SERVICES: [&str; 5] = [
    "apollo",
    "instantly",
    "millionverifier",
    "openai",
    "perplexity",
];

/// An ACTIVE gate with five services whose breakers open at this many failures.
///
/// # Errors
/// [`Unusable`].
pub fn gate(threshold: u32) -> Result<Gate, Unusable> {
    let settings = BreakerSettings::new(threshold, None)?;
    let mut services = Services::new();
    for name in SERVICES {
        services.insert(ServiceName::new(name)?, settings);
    }
    let mut gate = Gate::initial();
    let decision = gate.decide_configure(&By::SYSTEM, &services, NOW)?;
    gate.apply(&decision);
    Ok(gate)
}

/// Who gives the commands.
///
/// # Errors
/// [`Unusable`].
pub fn operator() -> Result<By, Unusable> {
    Ok(By::actor(Actor::Operator(ActorName::new("bench")?)))
}

/// A report of a call of a job to openai, under the gate's version.
///
/// # Errors
/// [`Unusable`].
pub fn report(gate: &Gate, outcome: CallOutcome) -> Result<Report, Unusable> {
    Ok(Report {
        service: ServiceName::new("openai")?,
        outcome,
        version: Some(gate.version()),
        reporter: Reporter::Call(JOB),
    })
}

/// What a failed call says.
pub fn failure() -> CallOutcome {
    CallOutcome::Failure(ErrorText::new("500 Internal Server Error"))
}

/// Why a breaker opened.
///
/// # Errors
/// [`Unusable`].
pub fn pause() -> Result<Pause, Unusable> {
    Ok(Pause {
        at: NOW,
        version: Version::ZERO,
        origin: Origin::Call {
            service: ServiceName::new("openai")?,
            job: JOB,
            error: ErrorText::new("500 Internal Server Error"),
        },
    })
}

/// A gate as a worker knows it: confirmed as ACTIVE for an hour from now.
pub fn confirmed(clock: Clock) -> GateWatch {
    let watch = GateWatch::default();
    let gate = wire::Gate {
        state: wire::GateState::Active,
        version: Version::ZERO,
        ttl_ms: 3_600_000,
        stopped: Vec::new(),
        fenced: Vec::new(),
        retired: Vec::new(),
    };
    watch.hear(&gate, clock.now());
    watch
}

/// What a permit is asked for, in a session that outlives the run.
///
/// # Errors
/// [`Unusable`].
pub fn ask(clock: Clock) -> Result<Ask, Unusable> {
    let wrong = |what: &str| Unusable(format!("{what} cannot be 1"));
    Ok(Ask {
        job: JOB,
        token: Token::new(1).map_err(|_| wrong("a token"))?,
        call: CallNumber::new(1).map_err(|_| wrong("a call's number"))?,
        service: ServiceName::new("openai")?,
        session_expires_at: clock.now().plus(Duration::from_hours(24)),
        deadline: Duration::from_secs(20),
    })
}
