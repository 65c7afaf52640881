//! Background passes: level-triggered (they look at the state, not at messages) and idempotent, so
//! that any number of servers may run them and a lost one costs delay, not correctness. None of them
//! ever resumes anything (R7).

use std::time::Duration;

use andon::{By, ErrorText, Gate, Timestamp};
use tokio_util::sync::CancellationToken;

use super::{
    Changes, Error, Line, Rank, Result, after_collision, breakers, campaigns, is_collision, jobs,
};
use crate::store::{GateLock, Tx};

/// How many dead sessions or unsettled campaigns one pass takes on.
const PASS_MAX: u32 = 1000;

/// How many deltas of counts one transaction folds.
const FOLD_MAX: u32 = 10_000;

/// Whoever counts a campaign's jobs adds up the deltas that are not folded: after a fold of more than
/// this many the next one follows fast.
const FOLD_BUSY: u64 = 100;

/// From one fold to the next while the line is busy.
const FOLD_PAUSE: Duration = Duration::from_millis(100);

/// For how long answers under idempotency keys are kept.
const IDEMPOTENCY_KEPT: Duration = Duration::from_hours(48);

/// The note that records which database the line lives in (R35).
const IDENTITY: &str = "database_identity";

impl Line {
    /// Start-up (R19, R35): takes over the configuration, and pauses a line that finds itself in
    /// another database than the one recorded. It creates no gate row in an initialised line and
    /// resumes nothing.
    ///
    /// # Errors
    /// As [`Line::transact`].
    pub async fn start_up(&self) -> Result<Gate> {
        let mut attempt = 1;
        loop {
            // Which database this is, is asked in the transaction itself: the next one may be in another.
            let (identity, tx) = self.store().begin_start_up().await?;
            let services = self.settings().services.clone();
            let found = identity.clone();
            let answer = self
                .finish(
                    tx,
                    &move |tx: &mut dyn Tx| {
                        let (identity, services) = (found.clone(), services.clone());
                        Box::pin(async move {
                            breakers::configure(tx, &By::SYSTEM, &services).await?;
                            check_identity(tx, &identity).await
                        })
                    },
                    Rank::Command,
                )
                .await;
            if is_collision(&answer, attempt) {
                after_collision(attempt).await;
                attempt += 1;
                continue;
            }
            let gate = answer?;
            self.store().settle_in(&identity);
            return Ok(gate);
        }
    }

    /// One pass over everything that time brings about: cool-downs, expired sessions, campaigns that a
    /// crash left unsettled, counts to fold, old idempotency keys, figures for charts.
    ///
    /// # Errors
    /// As [`Line::transact`]; what was done before the error stays done.
    pub async fn pass(&self) -> Result<()> {
        self.tick().await?;
        self.sweep().await?;
        self.settle().await?;
        self.fold().await?;
        let now = self
            .transact(|tx| {
                Box::pin(async move {
                    let now = tx.clock().await?;
                    let before = i64::try_from(IDEMPOTENCY_KEPT.as_micros()).unwrap_or(i64::MAX);
                    let before = Timestamp::from_micros(now.as_micros().saturating_sub(before));
                    tx.idempotency_prune(before).await?;
                    Ok(now)
                })
            })
            .await?;
        self.record_series(now).await;
        Ok(())
    }

    /// Folds deltas into counts until none is left that was there; answers how many there were.
    async fn fold(&self) -> Result<u64> {
        let mut folded = 0u64;
        loop {
            let of_one = self
                .transact_quietly(|tx| Box::pin(async move { Ok(tx.counts_fold(FOLD_MAX).await?) }))
                .await?;
            folded = folded.saturating_add(of_one);
            if of_one < u64::from(FOLD_MAX) {
                return Ok(folded);
            }
        }
    }

    /// R15: looks without a lock whether a cool-down has elapsed, and only then takes the gate.
    async fn tick(&self) -> Result<()> {
        let is_due = self
            .query(|tx| {
                Box::pin(async move {
                    let gate = tx.gate().await?;
                    let now = tx.clock().await?;
                    Ok(!gate.decide_tick(now)?.outcome.is_empty())
                })
            })
            .await?;
        if is_due {
            let cooled = self.transact(|tx| Box::pin(breakers::tick(tx))).await?;
            for service in cooled {
                tracing::info!(breaker = %service, "cool-down elapsed: half-open, nothing resumes");
            }
        }
        Ok(())
    }

    /// R24: sweeps dead sessions, each in a transaction of its own, so that one that fails does not
    /// keep the others.
    async fn sweep(&self) -> Result<()> {
        let dead = self
            .query(|tx| {
                Box::pin(async move {
                    let now = tx.clock().await?;
                    Ok(tx.sessions_dead(now, PASS_MAX).await?)
                })
            })
            .await?;
        for session in dead {
            match self
                .transact(move |tx| Box::pin(jobs::sweep(tx, session)))
                .await
            {
                Ok(swept) => tracing::info!(%session, swept, "a worker session has died"),
                Err(error) => tracing::error!(%session, cause = ?error, "a sweep failed"),
            }
        }
        Ok(())
    }

    /// R27: settles what a crash has left.
    async fn settle(&self) -> Result<()> {
        let unsettled = self
            .query(|tx| Box::pin(async move { Ok(tx.campaigns_unsettled(PASS_MAX).await?) }))
            .await?;
        for campaign in unsettled {
            if let Err(error) = self
                .transact(move |tx| Box::pin(campaigns::settle(tx, campaign)))
                .await
            {
                tracing::error!(%campaign, cause = ?error, "settling failed");
            }
        }
        Ok(())
    }

    /// Runs [`Line::pass`] every `interval` until told to stop, and folds counts more often than that while
    /// the line is busy. Errors are logged, and the next pass looks again: after start-up, since a database that
    /// broke off may have come back as another (R35).
    pub async fn run_background(&self, interval: Duration, stop: CancellationToken) {
        let mut timer = tokio::time::interval(interval);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut is_sound = true;
        let mut is_busy = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = timer.tick() => {}
                () = tokio::time::sleep(FOLD_PAUSE), if is_busy => {
                    is_busy = self.fold().await.is_ok_and(|folded| folded > FOLD_BUSY);
                    continue;
                }
            }
            let looked = if is_sound {
                self.pass().await
            } else {
                self.start_up().await.map(drop)
            };
            is_sound = looked.is_ok();
            is_busy = is_sound;
            if let Err(error) = looked {
                tracing::error!(cause = ?error, "a background pass failed");
            }
        }
    }
}

/// R35: pauses the line if it lives in another database than the one recorded, and records this one.
async fn check_identity(tx: &mut dyn Tx, identity: &str) -> Result<Gate, Error> {
    let mut changes = Changes::begin(tx, None).await?;
    match tx.note(IDENTITY).await? {
        Some(recorded) if recorded == identity => {}
        Some(recorded) => {
            let detail = ErrorText::new(&format!("recorded {recorded}, found {identity}"));
            tx.gate_lock(GateLock::Exclusive).await?;
            let decision = changes.gate.decide_database_changed(detail, changes.now)?;
            changes.take(&decision);
            tx.note_write(IDENTITY, identity).await?;
        }
        None => tx.note_write(IDENTITY, identity).await?,
    }
    changes.write(tx).await
}
