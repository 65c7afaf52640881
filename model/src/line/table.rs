//! The core's decisions, each made once.
//!
//! A decision depends on nothing but what it is given: the gate, and the campaign and job that it is
//! about. There are few normal forms of these, and many lines that are made of them. So each decision is
//! made by the core the first time that it is needed, and kept in a table under the numbers of its forms.

use std::sync::atomic::{AtomicU64, Ordering};

use andon::campaign::JobCounts;
use andon::{
    AnyCampaign, AnyJob, CampaignStage, CampaignStatus, CauseChain, CircuitState, Gate, JobStage,
    JobStatus, QueueState,
};

use super::acts::{CampaignAct, GATE_ACTS, Heard, JOB_ACTS, ResumeAct};
use super::forms::{Forms, Names, is_marked};
use super::steps::{After, Broken, Core, Scene};

/// No campaign, no job: the number 0. Forms count from 1.
pub const ABSENT: u8 = 0;

/// The jobs of each campaign, by place.
pub const JOBS_OF: [&[usize]; 2] = [&[0, 1], &[2]];

/// The campaign of each job, by place.
pub const CAMPAIGN_OF: [usize; 3] = [0, 0, 1];

/// What a decision makes of its gate, campaign and job, as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The gate's form.
    pub gate: u16,
    /// The campaign's form.
    pub campaign: u8,
    /// The job's form.
    pub job: u8,
    /// Whether the campaign's other job was added.
    pub has_spawned: bool,
    /// Whether the epoch moved, which voids every mark.
    pub has_resumed: bool,
    /// What came of it.
    pub heard: u8,
    /// The rules that it broke.
    pub broken: Broken,
}

impl Step {
    /// As one number, never 0.
    fn packed(self) -> u64 {
        1 | (u64::from(self.gate) << 1)
            | (u64::from(self.campaign) << 13)
            | (u64::from(self.job) << 19)
            | (u64::from(self.has_spawned) << 26)
            | (u64::from(self.has_resumed) << 27)
            | (u64::from(self.heard) << 28)
            | (self.broken.0 << 36)
    }

    fn unpacked(number: u64) -> Self {
        Self {
            gate: (number >> 1 & 0xfff) as u16,
            campaign: (number >> 13 & 0x3f) as u8,
            job: (number >> 19 & 0x7f) as u8,
            has_spawned: number >> 26 & 1 == 1,
            has_resumed: number >> 27 & 1 == 1,
            heard: (number >> 28 & 0xff) as u8,
            broken: Broken(number >> 36),
        }
    }
}

/// What a job, campaign or line looks like: computed once for each combination of forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobFacts {
    /// D2.
    pub status: Option<JobStatus>,
    /// Its stage.
    pub stage: Option<JobStage>,
    /// Whether it has a mark.
    pub is_marked: bool,
    /// Whether its cause chain is empty iff it is not PAUSED (I13).
    pub is_explained: bool,
    /// Whether it is PENDING with its attempts used up (R25).
    pub is_used_up: bool,
}

/// See [`JobFacts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CampaignFacts {
    /// D1.
    pub status: Option<CampaignStatus>,
    /// Its stage.
    pub stage: Option<CampaignStage>,
    /// Whether it has a mark.
    pub is_marked: bool,
    /// Whether it is open-ended.
    pub is_open_ended: bool,
    /// See [`JobFacts::is_explained`].
    pub is_explained: bool,
}

/// See [`JobFacts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "what is asked of a gate, each computed once; no state machine"
)]
pub struct GateFacts {
    /// ACTIVE or PAUSED.
    pub queue: QueueState,
    /// Whether every breaker is CLOSED.
    pub is_all_closed: bool,
    /// Whether any breaker is HALF_OPEN.
    pub is_half_open: bool,
    /// Whether a CLOSED breaker is at its threshold (I20).
    pub is_over: bool,
    /// See [`JobFacts::is_explained`].
    pub is_explained: bool,
}

/// The tables of one configuration.
pub struct Tables {
    core: Core,
    /// The gate's forms.
    pub gates: Forms<Gate>,
    /// The forms of any campaign, whatever its place. Number 0 is none; forms count from 1.
    campaigns: Forms<AnyCampaign>,
    /// The forms of any job, as those of campaigns.
    jobs: Forms<AnyJob>,
    on_gate: Vec<AtomicU64>,
    on_campaign: Vec<AtomicU64>,
    on_job: Vec<AtomicU64>,
    on_resume: Vec<AtomicU64>,
    gate_facts: Vec<GateFacts>,
    campaign_facts: Vec<CampaignFacts>,
    job_facts: Vec<JobFacts>,
    voided: Vec<u8>,
    spawned: u8,
}

/// How many places a table of job stages has: none, or one of five.
const STAGES: usize = 6;

fn stage_number(stage: Option<JobStage>) -> usize {
    match stage {
        None => 0,
        Some(JobStage::Pending) => 1,
        Some(JobStage::Processing) => 2,
        Some(JobStage::Completed) => 3,
        Some(JobStage::Failed) => 4,
        Some(JobStage::Cancelled) => 5,
    }
}

fn empty(len: usize) -> Vec<AtomicU64> {
    std::iter::repeat_with(AtomicU64::default)
        .take(len)
        .collect()
}

/// Numbers that fit: there are fewer forms than the types hold.
#[expect(
    clippy::cast_possible_truncation,
    reason = "there are fewer than 128 forms of a kind; a configuration with more would not be built"
)]
const fn small(number: usize) -> u8 {
    number as u8
}

impl Tables {
    /// The tables of jobs with this `max_attempts`.
    pub fn new(max_attempts: u32) -> Self {
        let names = Names::new();
        let gates = Forms::new(names.gates());
        let campaigns = Forms::new(names.campaigns());
        let jobs = Forms::new(names.jobs(max_attempts));
        let (g, c, j) = (gates.len(), campaigns.len() + 1, jobs.len() + 1);
        let core = Core {
            names,
            max_attempts,
        };
        let mut tables = Self {
            on_gate: empty(g * GATE_ACTS.len()),
            on_campaign: empty(g * c * STAGES * STAGES * CampaignAct::ALL.len()),
            on_job: empty(g * c * j * STAGES * JOB_ACTS.len()),
            on_resume: empty(g * c * c * ResumeAct::ALL.len()),
            core,
            gates,
            campaigns,
            jobs,
            gate_facts: Vec::new(),
            campaign_facts: Vec::new(),
            job_facts: Vec::new(),
            voided: Vec::new(),
            spawned: ABSENT,
        };
        tables.look();
        tables.void();
        tables
    }

    /// Computes what each combination of forms looks like.
    fn look(&mut self) {
        let (mut gates, mut campaigns, mut jobs) = (Vec::new(), Vec::new(), Vec::new());
        for g in 0..self.gates.len() {
            let gate = self.gates.get(g);
            gates.push(gate_facts(gate));
            for c in 0..self.campaign_count() {
                let campaign = self.campaign(small(c));
                campaigns.push(campaign.map_or(NO_CAMPAIGN, |one| campaign_facts(gate, one)));
                for j in 0..self.job_count() {
                    jobs.push(match (campaign, self.job(small(j))) {
                        (Some(campaign), Some(job)) => job_facts(gate, campaign, job),
                        _ => NO_JOB,
                    });
                }
            }
        }
        self.gate_facts = gates;
        self.campaign_facts = campaigns;
        self.job_facts = jobs;
    }

    /// What becomes of marks at a resume, by the core's own comparison with a gate that was resumed once
    /// more; and what a job is like when it is added.
    fn void(&mut self) {
        let names = &self.core.names;
        let number = |job: Option<&AnyJob>| {
            let form = names.job_form(job?, &names.next)?;
            self.jobs.number(&form)
        };
        let voided = (0..self.job_count())
            .map(|job| number(self.job(small(job))).map_or(ABSENT, |n| small(n + 1)));
        let voided = voided.collect();
        let spawned = self.core.new_job(self.campaigns.get(0));
        self.spawned = number(spawned.as_ref()).map_or(ABSENT, |n| small(n + 1));
        self.voided = voided;
    }

    /// How many campaign forms there are, absence included.
    pub fn campaign_count(&self) -> usize {
        self.campaigns.len() + 1
    }

    /// How many job forms there are, absence included.
    pub fn job_count(&self) -> usize {
        self.jobs.len() + 1
    }

    /// A campaign form; none is absence.
    pub fn campaign(&self, number: u8) -> Option<&AnyCampaign> {
        Some(self.campaigns.get(usize::from(number).checked_sub(1)?))
    }

    /// A job form; none is absence.
    pub fn job(&self, number: u8) -> Option<&AnyJob> {
        Some(self.jobs.get(usize::from(number).checked_sub(1)?))
    }

    /// What a gate looks like.
    pub fn gate_facts(&self, gate: u16) -> GateFacts {
        self.gate_facts[usize::from(gate)]
    }

    fn row(&self, gate: u16, campaign: u8) -> usize {
        usize::from(gate) * self.campaign_count() + usize::from(campaign)
    }

    /// What a campaign looks like beside a gate.
    pub fn campaign_facts(&self, gate: u16, campaign: u8) -> CampaignFacts {
        self.campaign_facts[self.row(gate, campaign)]
    }

    /// What a job looks like beside a gate and its campaign.
    pub fn job_facts(&self, gate: u16, campaign: u8, job: u8) -> JobFacts {
        self.job_facts[self.row(gate, campaign) * self.job_count() + usize::from(job)]
    }

    fn stage_of(&self, job: u8) -> Option<JobStage> {
        Some(self.job(job)?.stage())
    }

    /// An act on the gate alone.
    pub fn on_gate(&self, gate: u16, act: usize) -> Step {
        let index = usize::from(gate) * GATE_ACTS.len() + act;
        kept(&self.on_gate[index], || {
            let gate = self.gates.get(gate.into());
            let after = self.core.on_gate(gate, GATE_ACTS[act]);
            self.step(&after, (ABSENT, ABSENT))
        })
    }

    /// A resume, and the campaigns after it.
    pub fn on_resume(&self, gate: u16, campaigns: [u8; 2], act: ResumeAct) -> (Step, [u8; 2]) {
        let row = self.row(gate, campaigns[0]) * self.campaign_count() + usize::from(campaigns[1]);
        let index = row * ResumeAct::ALL.len() + act as usize;
        // The campaign's and job's places in the step hold both campaigns.
        let step = kept(&self.on_resume[index], || {
            let gate = self.gates.get(gate.into());
            let mut named = [0, 1].map(|place| {
                let campaign = self.campaign(campaigns[place])?;
                Some(Names::at_place(campaign, place))
            });
            let mut after = self.core.on_resume(gate, &mut named, act);
            let numbers = named.map(|campaign| match campaign {
                None => ABSENT,
                Some(campaign) => self.campaign_number(&Names::at_place(&campaign, 0), &mut after),
            });
            Step {
                campaign: numbers[0],
                job: numbers[1],
                ..self.step(&after, (ABSENT, ABSENT))
            }
        });
        (step, [step.campaign, step.job])
    }

    /// An act on a campaign that has these jobs.
    pub fn on_campaign(&self, gate: u16, campaign: u8, jobs: [u8; 2], act: CampaignAct) -> Step {
        let stages = jobs.map(|job| self.stage_of(job));
        let counted = stage_number(stages[0]) * STAGES + stage_number(stages[1]);
        let row = self.row(gate, campaign) * STAGES * STAGES + counted;
        let index = row * CampaignAct::ALL.len() + act as usize;
        kept(&self.on_campaign[index], || {
            let scene = Scene {
                gate: self.gates.get(gate.into()).clone(),
                campaign: self.campaign(campaign).cloned(),
                job: None,
            };
            let stages = stages.into_iter().flatten();
            let counts = stages.fold(JobCounts::default(), JobCounts::with);
            let after = self.core.on_campaign(&scene, counts, act);
            self.step(&after, (campaign, ABSENT))
        })
    }

    /// An act on a job, beside its campaign and the campaign's other job.
    pub fn on_job(&self, gate: u16, campaign: u8, job: u8, other: u8, act: usize) -> Step {
        let other = self.stage_of(other);
        let row = self.row(gate, campaign) * self.job_count() + usize::from(job);
        let index = (row * STAGES + stage_number(other)) * JOB_ACTS.len() + act;
        kept(&self.on_job[index], || {
            let scene = Scene {
                gate: self.gates.get(gate.into()).clone(),
                campaign: self.campaign(campaign).cloned(),
                job: self.job(job).cloned(),
            };
            let after = self.core.on_job(&scene, other, JOB_ACTS[act]);
            self.step(&after, (campaign, job))
        })
    }

    /// A job as it is added by another one's completion.
    pub const fn spawned(&self) -> u8 {
        self.spawned
    }

    /// A job once the epoch has moved: its mark is void (R9, D1).
    pub fn voided(&self, job: u8) -> u8 {
        self.voided[usize::from(job)]
    }

    fn campaign_number(&self, campaign: &AnyCampaign, after: &mut After) -> u8 {
        let form = self.core.names.campaign_form(campaign, &after.scene.gate);
        let number = self.campaigns.number(&form);
        after.broken.note(Broken::FORM, || number.is_none());
        number.map_or(ABSENT, |number| small(number + 1))
    }

    /// The step in numbers. What has no campaign or job in its scene leaves theirs as they were.
    fn step(&self, after: &After, before: (u8, u8)) -> Step {
        let names = &self.core.names;
        let (gate, mut broken) = (&after.scene.gate, after.broken);
        let gate_number = names
            .gate_form(gate)
            .and_then(|form| self.gates.number(&form));
        let of_campaign = after.scene.campaign.as_ref().map(|one| {
            let form = names.campaign_form(one, gate);
            self.campaigns.number(&form)
        });
        let of_job = after.scene.job.as_ref().map(|one| {
            let form = names.job_form(one, gate)?;
            self.jobs.number(&form)
        });
        broken.note(Broken::FORM, || {
            gate_number.is_none() || of_campaign == Some(None) || of_job == Some(None)
        });
        let number = |of: Option<Option<usize>>, before: u8| match of {
            Some(Some(number)) => small(number + 1),
            // It is not in the scene: it was not asked for, or it was deleted.
            None if after.heard == Heard::Deleted => ABSENT,
            None | Some(None) => before,
        };
        Step {
            gate: u16::from(small(gate_number.unwrap_or_default())),
            campaign: number(of_campaign, before.0),
            job: number(of_job, before.1),
            has_spawned: after.has_spawned,
            has_resumed: after.heard == Heard::Resumed,
            heard: after.heard as u8,
            broken,
        }
    }
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tables").finish_non_exhaustive()
    }
}

/// Reads an entry, or makes it. Two threads that make it make the same.
fn kept(entry: &AtomicU64, make: impl FnOnce() -> Step) -> Step {
    match entry.load(Ordering::Relaxed) {
        0 => {
            let step = make();
            entry.store(step.packed(), Ordering::Relaxed);
            step
        }
        number => Step::unpacked(number),
    }
}

const NO_CAMPAIGN: CampaignFacts = CampaignFacts {
    status: None,
    stage: None,
    is_marked: false,
    is_open_ended: false,
    is_explained: true,
};

const NO_JOB: JobFacts = JobFacts {
    status: None,
    stage: None,
    is_marked: false,
    is_explained: true,
    is_used_up: false,
};

fn gate_facts(gate: &Gate) -> GateFacts {
    let queue = gate.queue().state();
    GateFacts {
        queue,
        is_all_closed: gate.breakers().all(|b| b.state() == CircuitState::Closed),
        is_half_open: gate.breakers().any(|b| b.state() == CircuitState::HalfOpen),
        is_over: gate.breakers().any(|b| {
            b.state() == CircuitState::Closed && b.failure_count() >= b.settings().threshold()
        }),
        is_explained: CauseChain::of_queue(gate).is_empty() == (queue == QueueState::Active),
    }
}

fn campaign_facts(gate: &Gate, campaign: &AnyCampaign) -> CampaignFacts {
    let status = campaign.status(gate);
    let has_causes = !CauseChain::of_campaign(gate, campaign).is_empty();
    CampaignFacts {
        status: Some(status),
        stage: Some(campaign.stage()),
        is_marked: is_marked(campaign, gate),
        is_open_ended: campaign.intake() == andon::Intake::OpenEnded,
        is_explained: has_causes == (status == CampaignStatus::Paused),
    }
}

fn job_facts(gate: &Gate, campaign: &AnyCampaign, job: &AnyJob) -> JobFacts {
    let status = job.status(gate, campaign);
    let has_causes = !CauseChain::of_job(gate, campaign, job).is_empty();
    JobFacts {
        status: Some(status),
        stage: Some(job.stage()),
        is_marked: job.mark().is_some(),
        is_explained: has_causes == (status == JobStatus::Paused),
        is_used_up: job.stage() == JobStage::Pending && job.attempt() >= job.max_attempts(),
    }
}
