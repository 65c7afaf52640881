//! What must always hold (section 8 of the rules), checked on a whole line and on a step of it.
//!
//! Written apart from the code that decides: an expectation here is worked out from the rule's words,
//! so that the two can disagree.

mod steps;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Command, Error, Line, Outcome};
use crate::breaker::{AnyBreaker, BreakerRecord, CircuitState, Hold};
use crate::campaign::{AnyCampaign, CampaignStage, CampaignStatus, Intake, JobCounts};
use crate::cause::CauseChain;
use crate::ids::{CampaignId, Token};
use crate::job::{AnyJob, JobStage, JobStatus};
use crate::journal::Ledger;
use crate::queue::QueueState;
use crate::time::Timestamp;

/// A rule that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule} does not hold: {what}")]
pub struct Violation {
    /// The rule's id, such as `I1`.
    pub rule: &'static str,
    /// What is wrong, in words.
    pub what: String,
}

/// One step of a line, as it was given and as it was answered.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// The command.
    pub command: &'a Command,
    /// The instant that was given with it.
    pub now: Timestamp,
    /// The answer.
    pub answer: &'a Result<Outcome, Error>,
}

type Checked = Result<(), Violation>;

/// Fails with a [`Violation`] of `rule` unless `holds`; the text is made only then.
fn holds(rule: &'static str, holds: bool, what: impl FnOnce() -> String) -> Checked {
    if holds {
        Ok(())
    } else {
        Err(Violation { rule, what: what() })
    }
}

fn is_unfinished(status: JobStatus) -> bool {
    match status {
        JobStatus::Pending | JobStatus::Processing | JobStatus::Paused => true,
        JobStatus::Completed | JobStatus::Failed | JobStatus::Cancelled => false,
    }
}

fn is_final(stage: CampaignStage) -> bool {
    match stage {
        CampaignStage::Created | CampaignStage::Running => false,
        CampaignStage::Completed | CampaignStage::Failed | CampaignStage::Cancelled => true,
    }
}

/// What an invariant is about.
#[derive(Debug, Clone, Copy)]
pub enum Check {
    /// A state.
    State(fn(&Line) -> Result<(), Violation>),
    /// A step, from the line before it to the line after it.
    Step(fn(&Line, Step<'_>, &Line) -> Result<(), Violation>),
}

/// The invariants by their ids, for those that check each on its own. I16 is about sequences of steps.
pub const INVARIANTS: &[(&str, Check)] = &[
    ("I1", Check::State(i1_active_means_every_breaker_closed)),
    ("I2", Check::State(i2_a_breaker_stops_everything)),
    ("I3", Check::State(i3_a_paused_job_pauses_its_campaign)),
    ("I4", Check::State(i4_a_paused_campaign_pauses_its_jobs)),
    ("I5", Check::Step(steps::i5_only_resume_resumes)),
    (
        "I6",
        Check::Step(steps::i6_resume_needs_every_breaker_closed),
    ),
    ("I7", Check::Step(steps::i7_reset_changes_one_breaker)),
    (
        "R7",
        Check::Step(steps::r7_an_acknowledgement_changes_nothing_else),
    ),
    ("I8", Check::Step(steps::i8_nothing_starts_while_paused)),
    ("I9", Check::State(i9_one_good_token)),
    ("I9", Check::Step(steps::i9_tokens_grow_and_end_once)),
    ("I10", Check::Step(steps::i10_final_stages_stay)),
    ("I11", Check::State(i11_counts_are_right)),
    ("I11", Check::Step(steps::i11_jobs_are_conserved)),
    ("I12", Check::State(i12_marks_are_not_of_the_future)),
    ("I12", Check::Step(steps::i12_the_epoch_counts_resumes)),
    ("I13", Check::State(i13_paused_has_a_cause)),
    (
        "I14",
        Check::Step(steps::i14_a_report_repeated_changes_nothing),
    ),
    ("I15", Check::Step(steps::i15_the_journal_gives_the_state)),
    (
        "I17",
        Check::Step(steps::i17_a_live_session_keeps_what_it_holds),
    ),
    ("I17", Check::Step(steps::i17_recorded_steps_are_given)),
    (
        "I18",
        Check::Step(steps::i18_reports_change_breakers_by_the_rules),
    ),
    ("I19", Check::Step(steps::i19_a_pause_takes_no_lease)),
    ("I19", Check::Step(steps::i19_a_pause_drops_no_result)),
    ("I20", Check::State(i20_held_means_open)),
    (
        "I20",
        Check::Step(steps::i20_a_closed_breaker_is_below_its_threshold),
    ),
    ("R15", Check::Step(steps::r15_only_a_tick_half_opens)),
    ("R27", Check::State(r27_nothing_is_left_to_settle)),
    (
        "R31",
        Check::Step(steps::r31_the_version_counts_gate_changes),
    ),
];

impl Line {
    /// Checks every invariant that is about one state.
    ///
    /// # Errors
    /// The first one that does not hold.
    pub fn check(&self) -> Result<(), Violation> {
        INVARIANTS.iter().try_for_each(|(_, check)| match check {
            Check::State(check) => check(self),
            Check::Step(_) => Ok(()),
        })
    }

    /// Checks every invariant that is about a step from `before` to this line.
    ///
    /// # Errors
    /// The first one that does not hold.
    pub fn check_step(&self, before: &Self, step: Step<'_>) -> Result<(), Violation> {
        INVARIANTS.iter().try_for_each(|(_, check)| match check {
            Check::State(_) => Ok(()),
            Check::Step(check) => check(before, step, self),
        })
    }

    /// R32, I15: folds the journal from the start, and names the first difference to what is stored;
    /// none if they agree. The journal must not have been drained.
    pub fn audit(&self) -> Option<String> {
        let mut folded = Ledger::default();
        for entry in &self.journal {
            folded.fold(entry);
        }
        let campaigns: Vec<AnyCampaign> = self.campaigns().cloned().collect();
        folded.first_difference(self.gate(), &campaigns)
    }

    fn breakers(&self) -> Vec<BreakerRecord> {
        self.gate().breakers().map(AnyBreaker::record).collect()
    }

    fn is_every_breaker_closed(&self) -> bool {
        self.gate()
            .breakers()
            .all(|breaker| breaker.state() == CircuitState::Closed)
    }

    fn is_paused(&self) -> bool {
        self.gate().queue().state() == QueueState::Paused
    }

    fn is_campaign_paused(&self, id: CampaignId) -> bool {
        self.campaign_status(id) == Some(CampaignStatus::Paused)
    }
}

fn i1_active_means_every_breaker_closed(line: &Line) -> Checked {
    for breaker in line.breakers() {
        let is_closed = breaker.state == CircuitState::Closed;
        holds("I1", line.is_paused() || is_closed, || {
            format!("ACTIVE with breaker {} {}", breaker.service, breaker.state)
        })?;
    }
    Ok(())
}

fn i2_a_breaker_stops_everything(line: &Line) -> Checked {
    if line.is_every_breaker_closed() {
        return Ok(());
    }
    for campaign in line.campaigns() {
        let status = campaign.status(line.gate());
        holds("I2", status != CampaignStatus::Running, || {
            format!(
                "campaign {} runs while a breaker is not CLOSED",
                campaign.id()
            )
        })?;
    }
    for job in line.jobs() {
        let stage = line.campaign(job.campaign()).map(AnyCampaign::stage);
        let is_going = matches!(
            line.job_status(job.id()),
            Some(JobStatus::Pending | JobStatus::Processing)
        );
        let is_running = stage == Some(CampaignStage::Running);
        holds("I2", !(is_going && is_running), || {
            format!("job {} goes on while a breaker is not CLOSED", job.id())
        })?;
    }
    Ok(())
}

fn i3_a_paused_job_pauses_its_campaign(line: &Line) -> Checked {
    for job in line.jobs() {
        let is_marked = job.mark().map(|mark| mark.epoch) == Some(line.gate().epoch());
        let is_open = line.job_status(job.id()).is_some_and(is_unfinished);
        let is_campaign_paused = line.is_campaign_paused(job.campaign());
        holds("I3", !(is_marked && is_open) || is_campaign_paused, || {
            format!("job {} is paused by itself, its campaign is not", job.id())
        })?;
    }
    Ok(())
}

fn i4_a_paused_campaign_pauses_its_jobs(line: &Line) -> Checked {
    for job in line.jobs() {
        let is_bound = line.is_campaign_paused(job.campaign()) && !job.stage().is_final();
        let status = line.job_status(job.id());
        holds("I4", !is_bound || status == Some(JobStatus::Paused), || {
            format!("job {} is {status:?}, its campaign PAUSED", job.id())
        })?;
    }
    Ok(())
}

fn i9_one_good_token(line: &Line) -> Checked {
    for job in line.jobs() {
        let (id, token) = (job.id(), job.token());
        let has_ending = line
            .attempt(id, token)
            .is_some_and(|attempt| attempt.ending.is_some());
        holds("I9", !(has_ending && job.is_token_good()), || {
            format!("token {token} of job {id} has an ending and is good for another")
        })?;
        let is_held = job.stage() == JobStage::Processing;
        holds("I9", !is_held || token > Token::NONE, || {
            format!("job {id} is PROCESSING without a token")
        })?;
    }
    Ok(())
}

fn i11_counts_are_right(line: &Line) -> Checked {
    let mut counted: BTreeMap<CampaignId, JobCounts> = BTreeMap::new();
    for job in line.jobs() {
        let campaign = job.campaign();
        holds("I11", line.campaign(campaign).is_some(), || {
            format!("job {} has no campaign", job.id())
        })?;
        let counts = counted.entry(campaign).or_default();
        *counts = counts.with(job.stage());
    }
    for campaign in line.campaigns() {
        let id = campaign.id();
        let (counted, kept) = (counted.remove(&id).unwrap_or_default(), line.job_counts(id));
        holds("I11", counted == kept, || {
            format!("campaign {id} has {counted:?}, counted as {kept:?}")
        })?;
    }
    Ok(())
}

fn i12_marks_are_not_of_the_future(line: &Line) -> Checked {
    let epoch = Some(line.gate().epoch());
    let campaigns = line.campaigns().map(AnyCampaign::mark);
    for mark in campaigns.chain(line.jobs().map(AnyJob::mark)) {
        holds("I12", mark.map(|mark| mark.epoch) <= epoch, || {
            format!("a mark is of the future: {mark:?}")
        })?;
    }
    Ok(())
}

fn i13_paused_has_a_cause(line: &Line) -> Checked {
    let check = |what: String, is_paused: bool, chain: CauseChain| {
        holds("I13", is_paused != chain.is_empty(), || {
            format!("{what}: paused {is_paused}, causes: {chain}")
        })
    };
    let gate = line.gate();
    check("queue".into(), line.is_paused(), CauseChain::of_queue(gate))?;
    for campaign in line.campaigns() {
        let id = campaign.id();
        let chain = CauseChain::of_campaign(gate, campaign);
        check(format!("campaign {id}"), line.is_campaign_paused(id), chain)?;
    }
    for job in line.jobs() {
        let id = job.id();
        let is_paused = line.job_status(id) == Some(JobStatus::Paused);
        let chain = line.job_causes(id).unwrap_or_default();
        check(format!("job {id}"), is_paused, chain)?;
    }
    Ok(())
}

fn i20_held_means_open(line: &Line) -> Checked {
    for breaker in line.breakers() {
        let is_open = breaker.state == CircuitState::Open;
        holds("I20", breaker.hold == Hold::Free || is_open, || {
            format!("breaker {} is {} and held", breaker.service, breaker.state)
        })?;
    }
    Ok(())
}

fn r27_nothing_is_left_to_settle(line: &Line) -> Checked {
    for campaign in line.campaigns() {
        let jobs = line.job_counts(campaign.id());
        let is_left = campaign.stage() == CampaignStage::Running
            && campaign.intake() == Intake::Closed
            && jobs.total() > 0
            && jobs.unfinished() == 0;
        holds("R27", !is_left, || {
            format!("campaign {} has only final jobs, and runs", campaign.id())
        })?;
    }
    Ok(())
}
