//! A service with its own storage keeps the gate itself, guards its calls, and resumes by hand. Here
//! the storage is a string; a locked row of the service's own database does as well.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]
#![expect(clippy::wildcard_imports, reason = "an example is short")]
use andon::*;
type Answer<T> = Result<T, Box<dyn core::error::Error>>;

/// Load, decide, evolve, store: in a transaction of the service's own.
fn change<O>(
    stored: &mut String,
    decide: impl FnOnce(&Gate) -> Result<Decision<O>, Refusal>,
) -> Answer<O> {
    let mut gate: Gate = serde_json::from_str(stored)?;
    let decision = decide(&gate)?;
    gate.apply(&decision);
    *stored = serde_json::to_string(&gate)?;
    Ok(decision.outcome)
}

/// One call to a service: not made unless the gate is open, and reported whatever became of it.
fn call(stored: &mut String, make: fn() -> CallOutcome) -> Answer<Verdict> {
    let gate: Gate = serde_json::from_str(stored)?;
    gate.admission()?;
    let report = Report {
        service: ServiceName::new("openai")?,
        version: Some(gate.version()),
        outcome: make(),
        reporter: Reporter::Call(JobId::from_u128(7)),
    };
    change(stored, |gate| gate.decide_report(&By::SYSTEM, &report, NOW))
}

/// A real service reads its database's clock.
const NOW: Timestamp = Timestamp::from_micros(0);

fn main() -> Answer<()> {
    let openai = ServiceName::new("openai")?;
    let services = [(openai.clone(), BreakerSettings::default())].into();
    let ada = By::actor(Actor::Operator(ActorName::new("ada")?));
    #[rustfmt::skip]
    let ask = ResumeRequest { seen: None, keep: &[], unknown: &[], marks: Marks::None };
    let resume = |gate: &Gate| gate.decide_resume(&ada, &ask, NOW);
    let fail = || CallOutcome::Failure(ErrorText::new("500 Internal Server Error"));
    let line = &mut serde_json::to_string(&Gate::initial())?;
    change(line, |g| g.decide_configure(&By::SYSTEM, &services, NOW))?;

    println!("a failing call: {:?}", call(line, fail)?);
    println!("another is not made: {}", call(line, fail).is_err());
    println!(
        "resume: {:?}",
        change(line, resume).map_err(|e| e.to_string())
    );
    change(line, |g| g.decide_reset_breaker(&ada, &openai, NOW))?;
    println!("nor after a reset: {}", call(line, fail).is_err());
    println!("resume: {:?}", change(line, resume)?);
    println!("a call: {:?}", call(line, || CallOutcome::Success)?);
    Ok(())
}
