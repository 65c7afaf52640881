//! Circuit breakers: open by hand, reset, reports from outside, ticks, configuration (RULES
//! section 5).

use andon::{
    By, CallOutcome, Gate, Pausing, Refusal, RefusedCommand, Report, Reporter, Reset, ServiceName,
    Services, Verdict, Version,
};

use super::queue::record_refusal;
use super::{Changes, Result};
use crate::store::{GateLock, Tx};

/// What opening a breaker did (R5).
#[derive(Debug, Clone)]
pub struct Opened {
    /// Whether it was open before.
    pub pausing: Pausing,
    /// The gate after it.
    pub gate: Gate,
}

/// R5, R2: opens a breaker by hand; the queue pauses with it.
pub async fn open(tx: &mut dyn Tx, by: &By, service: &ServiceName) -> Result<Opened> {
    let mut changes = Changes::begin(tx, Some(GateLock::Exclusive)).await?;
    let decision = changes.gate.decide_open_breaker(by, service, changes.now)?;
    changes.take(&decision);
    Ok(Opened {
        pausing: decision.outcome,
        gate: changes.write(tx).await?,
    })
}

/// R12: resets one breaker, and changes nothing else. A refusal is recorded (R31), so it comes back as
/// the inner result of a transaction that is to be committed.
pub async fn reset(
    tx: &mut dyn Tx,
    by: &By,
    service: &ServiceName,
) -> Result<Result<(Reset, Gate), Refusal>> {
    let mut changes = Changes::begin(tx, Some(GateLock::Exclusive)).await?;
    match changes.gate.decide_reset_breaker(by, service, changes.now) {
        Ok(decision) => {
            changes.take(&decision);
            Ok(Ok((decision.outcome, changes.write(tx).await?)))
        }
        Err(refusal) => {
            record_refusal(
                &mut changes,
                by,
                RefusedCommand::Reset,
                Some(service),
                &refusal,
            );
            changes.write(tx).await?;
            Ok(Err(refusal))
        }
    }
}

/// R16: a health check from outside reports.
pub async fn report(
    tx: &mut dyn Tx,
    by: &By,
    service: &ServiceName,
    outcome: CallOutcome,
    version: Option<Version>,
) -> Result<(Verdict, Gate)> {
    let mut changes = Changes::begin(tx, Some(GateLock::Exclusive)).await?;
    let report = Report {
        service: service.clone(),
        outcome,
        version,
        reporter: Reporter::HealthCheck,
    };
    let decision = changes.gate.decide_report(by, &report, changes.now)?;
    changes.take(&decision);
    Ok((decision.outcome, changes.write(tx).await?))
}

/// R15: turns cooled-down breakers HALF_OPEN; answers their services. Nothing else happens.
pub async fn tick(tx: &mut dyn Tx) -> Result<Vec<ServiceName>> {
    let mut changes = Changes::begin(tx, Some(GateLock::Exclusive)).await?;
    let decision = changes.gate.decide_tick(changes.now)?;
    changes.take(&decision);
    changes.write(tx).await?;
    Ok(decision.outcome)
}

/// R19, R35: takes over a configuration. A line is initialised once, ACTIVE and empty; an initialised
/// line whose gate row is missing is corrupt, and nothing re-creates it.
pub async fn configure(tx: &mut dyn Tx, by: &By, services: &Services) -> Result<Gate> {
    tx.gate_lock(GateLock::Exclusive).await?;
    if !tx.is_initialised().await? {
        tx.gate_initialise(&Gate::initial()).await?;
    }
    let mut changes = Changes::begin(tx, None).await?;
    let decision = changes.gate.decide_configure(by, services, changes.now)?;
    changes.take(&decision);
    changes.write(tx).await
}
