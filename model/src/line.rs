//! The line's model: two services, the queue, two campaigns and three jobs, in every interleaving of
//! what people, programs, workers, sweeps and ticks may do.
//!
//! Every decision is made by the core, on values of its own types ([`acts`]), for each combination of
//! normal forms once ([`forms`], [`table`]). Which of them is made where is free: any report may come at
//! any time, with any version and token, whether or not a worker would send it; any session may die at
//! any time; any cool-down may have elapsed. That is more than can happen, so what holds here holds for
//! less.
//!
//! A state holds what broke on the step that led to it, so that a broken rule is a reachable state.

pub mod acts;
pub mod forms;
pub mod steps;
pub mod table;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use andon::{CampaignStage, CampaignStatus, JobStage, JobStatus, QueueState};
use stateright::{Model, Property};

use crate::check::{Configuration, Making, Size, Verdict};
use acts::{Act, CampaignAct, EndAct, GATE_ACTS, Heard, JOB_ACTS, JobAct, ResumeAct};
use steps::Broken;
use table::{ABSENT, CAMPAIGN_OF, JOBS_OF, Step, Tables};

/// A line, as numbers of normal forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct State {
    /// The gate's form.
    pub gate: u16,
    /// The campaigns' forms, by place.
    pub campaigns: [u8; 2],
    /// The jobs' forms, by place.
    pub jobs: [u8; 3],
    /// What broke on the way here.
    pub broken: u64,
}

/// Whether states that differ only in the order of equals are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symmetry {
    /// They are: the first campaign's two jobs are put in order.
    Reduced,
    /// They are not, so that a trace names the same job by the same number all along.
    Full,
}

/// What there is of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// How many campaigns: 1 or 2.
    pub campaigns: usize,
    /// How many jobs: 1 to 3. The first two are the first campaign's.
    pub jobs: usize,
    /// Every job's `max_attempts`.
    pub max_attempts: u32,
}

impl Bounds {
    /// The place of the campaign's other job, if there is one.
    fn other(self, place: usize) -> Option<usize> {
        let others = JOBS_OF[CAMPAIGN_OF[place]].iter();
        others
            .copied()
            .find(|other| *other != place && *other < self.jobs)
    }
}

/// The model. See the [module](self).
#[derive(Debug, Clone)]
pub struct LineModel {
    bounds: Bounds,
    symmetry: Symmetry,
    acts: Arc<[Act]>,
    tables: Arc<Tables>,
    /// Of the first, whether each `Heard` has come; of the second, while the queue was PAUSED.
    heard: Arc<[[AtomicBool; Heard::ALL.len()]; 2]>,
}

impl LineModel {
    /// A line within these bounds.
    pub fn new(bounds: Bounds, symmetry: Symmetry) -> Self {
        let tables = Arc::new(Tables::new(bounds.max_attempts));
        Self {
            acts: Self::acts_within(bounds).into(),
            bounds,
            symmetry,
            tables,
            heard: Arc::new(std::array::from_fn(|_| {
                std::array::from_fn(|_| AtomicBool::new(false))
            })),
        }
    }

    /// The tables of its decisions.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Its bounds.
    pub const fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Every act within its bounds.
    pub fn acts(&self) -> &[Act] {
        &self.acts
    }

    /// The line with nothing in it: ACTIVE, every breaker CLOSED (R35).
    pub const fn empty() -> State {
        State {
            gate: 0,
            campaigns: [ABSENT; 2],
            jobs: [ABSENT; 3],
            broken: 0,
        }
    }

    /// What came of acts so far, and what came while the queue was PAUSED.
    pub fn heard(&self) -> [BTreeSet<u8>; 2] {
        [0, 1].map(|paused: usize| {
            let all = (0..).zip(&self.heard[paused]);
            let come = all.filter(|(_, has_come)| has_come.load(Ordering::Relaxed));
            come.map(|(outcome, _)| outcome).collect()
        })
    }

    /// Every act that these bounds know of.
    fn acts_within(bounds: Bounds) -> Vec<Act> {
        let mut all: Vec<Act> = (0..GATE_ACTS.len()).map(Act::Gate).collect();
        let is_two = bounds.campaigns > 1;
        let resumes = ResumeAct::ALL.into_iter();
        let resumes = resumes.filter(|act| is_two || !act.kept().contains(&1));
        all.extend(resumes.map(Act::Resume));
        for place in 0..bounds.campaigns {
            all.extend(CampaignAct::ALL.map(|act| Act::Campaign(place, act)));
        }
        for place in 0..bounds.jobs {
            let is_alone = bounds.other(place).is_none();
            let is_possible = |act: &usize| {
                !(is_alone && matches!(JOB_ACTS[*act], JobAct::End(_, EndAct::CompleteAndSpawn)))
            };
            let acts = (0..JOB_ACTS.len()).filter(is_possible);
            all.extend(acts.map(|act| Act::Job(place, act)));
        }
        all
    }

    /// Carries out an act: the step that the core decided, and the state after it.
    pub fn act(&self, state: &State, act: Act) -> (Step, State) {
        let tables = &self.tables;
        let mut after = State {
            broken: 0,
            ..*state
        };
        let step = match act {
            Act::Gate(act) => tables.on_gate(state.gate, act),
            Act::Resume(act) => {
                let (step, campaigns) = tables.on_resume(state.gate, state.campaigns, act);
                after.campaigns = campaigns;
                step
            }
            Act::Campaign(place, act) => {
                let jobs = match place {
                    0 => [state.jobs[0], state.jobs[1]],
                    _ => [state.jobs[2], ABSENT],
                };
                let step = tables.on_campaign(state.gate, state.campaigns[place], jobs, act);
                after.campaigns[place] = step.campaign;
                if step.heard == Heard::Deleted as u8 {
                    for job in JOBS_OF[place] {
                        after.jobs[*job] = ABSENT;
                    }
                }
                step
            }
            Act::Job(place, act) => self.act_on_job(state, &mut after, place, act),
        };
        after.gate = step.gate;
        if step.has_resumed {
            after.jobs = after.jobs.map(|job| tables.voided(job));
        }
        if after == *state && step.broken == Broken::default() {
            // Nothing happened, as with most acts in most states.
            return (step, after);
        }
        let judged = self.judge(state, act, step, &after);
        after.broken = step.broken.and(judged).and(self.broken_in(&after)).0;
        let is_reduced = self.symmetry == Symmetry::Reduced && self.bounds.jobs > 1;
        if is_reduced && after.jobs[0] > after.jobs[1] {
            after.jobs.swap(0, 1);
        }
        (step, after)
    }

    fn act_on_job(&self, state: &State, after: &mut State, place: usize, act: usize) -> Step {
        let of = CAMPAIGN_OF[place];
        let other = self.bounds.other(place);
        let other_job = other.map_or(ABSENT, |other| state.jobs[other]);
        let (campaign, job) = (state.campaigns[of], state.jobs[place]);
        let step = self
            .tables
            .on_job(state.gate, campaign, job, other_job, act);
        after.campaigns[of] = step.campaign;
        after.jobs[place] = step.job;
        if let (true, Some(other)) = (step.has_spawned, other) {
            after.jobs[other] = self.tables.spawned();
        }
        step
    }

    /// The step invariants that are about the whole line.
    fn judge(&self, before: &State, act: Act, step: Step, after: &State) -> Broken {
        let mut broken = Broken::default();
        let tables = &self.tables;
        let (was, is) = (
            tables.gate_facts(before.gate),
            tables.gate_facts(after.gate),
        );
        let is_resume = matches!(act, Act::Resume(_));
        let is_queue_resumed = was.queue == QueueState::Paused && is.queue == QueueState::Active;
        broken.note(Broken::I5, || is_queue_resumed && !is_resume);
        broken.note(Broken::I6, || step.has_resumed && !was.is_all_closed);
        for place in 0..2 {
            let was_of = tables.campaign_facts(before.gate, before.campaigns[place]);
            let is_of = tables.campaign_facts(after.gate, after.campaigns[place]);
            broken.note(Broken::I5, || {
                !is_resume
                    && was_of.status == Some(CampaignStatus::Paused)
                    && is_of.status == Some(CampaignStatus::Running)
            });
            let is_final = |stage| {
                matches!(
                    stage,
                    Some(
                        CampaignStage::Completed | CampaignStage::Failed | CampaignStage::Cancelled
                    )
                )
            };
            broken.note(Broken::I10, || {
                is_final(was_of.stage)
                    && was_of.stage != is_of.stage
                    && step.heard != Heard::RetriedAndReopened as u8
            });
            broken.note(Broken::I8, || {
                let has_started = was_of.stage == Some(CampaignStage::Created)
                    && is_of.stage == Some(CampaignStage::Running);
                has_started && !(was.queue == QueueState::Active && was.is_all_closed)
            });
        }
        for (place, of) in CAMPAIGN_OF.into_iter().enumerate() {
            let was_of = tables.job_facts(before.gate, before.campaigns[of], before.jobs[place]);
            let is_of = tables.job_facts(after.gate, after.campaigns[of], after.jobs[place]);
            broken.note(Broken::I5, || {
                !is_resume
                    && was_of.status == Some(JobStatus::Paused)
                    && matches!(
                        is_of.status,
                        Some(JobStatus::Pending | JobStatus::Processing)
                    )
            });
            broken.note(Broken::I8, || {
                let campaign = tables
                    .campaign_facts(before.gate, before.campaigns[of])
                    .status;
                let is_claimed = was_of.stage != Some(JobStage::Processing)
                    && is_of.stage == Some(JobStage::Processing);
                is_claimed
                    && !(was.queue == QueueState::Active
                        && was.is_all_closed
                        && campaign == Some(CampaignStatus::Running))
            });
            broken.note(Broken::I11, || {
                was_of.stage.is_some()
                    && is_of.stage.is_none()
                    && step.heard != Heard::Deleted as u8
            });
        }
        broken
    }

    /// The state invariants, and what makes them inductive (see [`crate::inductive`]).
    pub fn broken_in(&self, state: &State) -> Broken {
        let tables = &self.tables;
        let gate = tables.gate_facts(state.gate);
        let mut broken = Broken::default();
        let mut holds = |rule: Broken, holds: bool| broken.note(rule, || !holds);
        holds(
            Broken::I1,
            gate.queue == QueueState::Paused || gate.is_all_closed,
        );
        holds(Broken::I13, gate.is_explained);
        holds(Broken::I20, !gate.is_over);
        for (place, jobs) in JOBS_OF.into_iter().enumerate() {
            let campaign = tables.campaign_facts(state.gate, state.campaigns[place]);
            let is_paused = campaign.status == Some(CampaignStatus::Paused);
            let is_running = campaign.status == Some(CampaignStatus::Running);
            holds(Broken::I2, gate.is_all_closed || !is_running);
            holds(Broken::I13, campaign.is_explained);
            holds(
                Broken::MARKED,
                !campaign.is_marked || campaign.stage != Some(CampaignStage::Created),
            );
            let mut unfinished = 0;
            let mut count = 0;
            for job in jobs {
                let number = state.jobs[*job];
                if number == ABSENT {
                    continue;
                }
                holds(Broken::OWNED, campaign.stage.is_some());
                count += 1;
                let facts = tables.job_facts(state.gate, state.campaigns[place], number);
                holds(Broken::I13, facts.is_explained);
                holds(Broken::LEFT_OVER, !facts.is_used_up);
                let is_going = matches!(
                    facts.status,
                    Some(JobStatus::Pending | JobStatus::Processing)
                );
                let is_unfinished = is_going || facts.status == Some(JobStatus::Paused);
                let is_of_running = campaign.stage == Some(CampaignStage::Running);
                holds(
                    Broken::I2,
                    gate.is_all_closed || !(is_going && is_of_running),
                );
                holds(Broken::I3, !(facts.is_marked && is_unfinished) || is_paused);
                holds(Broken::I4, !(is_paused && is_unfinished && is_going));
                let is_unfinished_by_stage =
                    matches!(facts.stage, Some(JobStage::Pending | JobStage::Processing));
                unfinished += usize::from(is_unfinished_by_stage);
                let is_created = campaign.stage == Some(CampaignStage::Created);
                holds(
                    Broken::MARKED,
                    !(is_created && (facts.is_marked || facts.stage == Some(JobStage::Processing))),
                );
                holds(Broken::MARKED, !facts.is_marked || campaign.is_marked);
            }
            let is_settled = matches!(
                campaign.stage,
                Some(CampaignStage::Completed | CampaignStage::Failed)
            );
            holds(Broken::FINAL, !is_settled || unfinished == 0);
            let is_left = campaign.stage == Some(CampaignStage::Running)
                && !campaign.is_open_ended
                && count > 0
                && unfinished == 0;
            holds(Broken::LEFT, !is_left);
        }
        broken
    }

    /// A line in words.
    pub fn in_words(&self, state: &State) -> String {
        let gate = self.tables.gates.get(state.gate.into());
        let mut text = format!("queue {}", gate.queue().state());
        for breaker in gate.breakers() {
            let _ = write!(text, ", breaker {} {}", breaker.service(), breaker.state());
        }
        for place in 0..self.bounds.campaigns {
            if let Some(campaign) = self.tables.campaign(state.campaigns[place]) {
                let marked = if campaign.mark().is_some() {
                    ", marked"
                } else {
                    ""
                };
                let _ = write!(
                    text,
                    "; campaign {} {}{marked}",
                    place + 1,
                    campaign.stage()
                );
            }
        }
        for place in 0..self.bounds.jobs {
            if let Some(job) = self.tables.job(state.jobs[place]) {
                let marked = if job.mark().is_some() { ", marked" } else { "" };
                let _ = write!(text, "; job {} {}{marked}", place + 1, job.stage());
            }
        }
        text
    }

    /// What of the line is different, as people are shown it.
    fn differences(&self, before: &State, after: &State) -> String {
        let mut text = String::new();
        let (was, is) = (
            self.tables.gates.get(before.gate.into()),
            self.tables.gates.get(after.gate.into()),
        );
        for (was, is) in was.breakers().zip(is.breakers()) {
            if was != is {
                let _ = write!(text, "; breaker {} → {}", is.service(), is.state());
            }
        }
        let (was, is) = (was.queue().state(), is.queue().state());
        if was == is {
            let _ = write!(text, "; queue still {is}");
        } else {
            let _ = write!(text, "; queue → {is}");
        }
        for place in 0..self.bounds.campaigns {
            let facts = |state: &State| {
                let number = state.campaigns[place];
                self.tables.campaign_facts(state.gate, number).status
            };
            if facts(before) != facts(after) {
                let status = facts(after).map_or("gone", CampaignStatus::as_str);
                let _ = write!(text, "; campaign {} → {status}", place + 1);
            }
        }
        for (place, of) in CAMPAIGN_OF.into_iter().enumerate() {
            let facts = |state: &State| {
                let campaign = state.campaigns[of];
                let number = state.jobs[place];
                self.tables.job_facts(state.gate, campaign, number).status
            };
            if facts(before) != facts(after) {
                let status = facts(after).map_or("gone", JobStatus::as_str);
                let _ = write!(text, "; job {} → {status}", place + 1);
            }
        }
        text.trim_start_matches("; ").to_owned()
    }
}

fn kept(state: &State, rule: Broken) -> bool {
    !Broken(state.broken).has(rule)
}

impl Model for LineModel {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        vec![Self::empty()]
    }

    /// Nothing is looked for beyond a broken rule.
    fn actions(&self, state: &State, actions: &mut Vec<Act>) {
        if state.broken == 0 {
            actions.extend_from_slice(&self.acts);
        }
    }

    fn next_state(&self, state: &State, act: Act) -> Option<State> {
        let (step, after) = self.act(state, act);
        let is_paused = self.tables.gate_facts(state.gate).queue == QueueState::Paused;
        let has_come = self.heard[usize::from(is_paused)].get(usize::from(step.heard));
        // Written once: the threads that look share it.
        if let Some(has_come) = has_come.filter(|it| !it.load(Ordering::Relaxed)) {
            has_come.store(true, Ordering::Relaxed);
        }
        (after != *state).then_some(after)
    }

    fn format_step(&self, before: &State, act: Act) -> Option<String> {
        let (step, after) = self.act(before, act);
        let heard = Heard::ALL.get(usize::from(step.heard)).copied();
        let heard = heard.map_or_else(String::new, Heard::words);
        let differences = self.differences(before, &after);
        Some(format!("{} → {heard}; {differences}", act.words()))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = state_properties();
        all.extend(step_properties());
        all.extend(situations());
        all
    }
}

fn state_properties() -> Vec<Property<LineModel>> {
    vec![
        Property::always(
            "I1, R2: queue ACTIVE only with every breaker CLOSED",
            |_, s| kept(s, Broken::I1),
        ),
        Property::always(
            "I2, R3: a breaker not CLOSED means no campaign and no job going",
            |_, s| kept(s, Broken::I2),
        ),
        Property::always(
            "I3, R4: a job paused by itself means its campaign PAUSED",
            |_, s| kept(s, Broken::I3),
        ),
        Property::always(
            "I4, R3: a PAUSED campaign means each unfinished job PAUSED",
            |_, s| kept(s, Broken::I4),
        ),
        Property::always("I13, D1, D2, D3: PAUSED iff there is a cause", |_, s| {
            kept(s, Broken::I13)
        }),
        Property::always(
            "I20: CLOSED means fewer failures than the threshold",
            |_, s| kept(s, Broken::I20),
        ),
        Property::always("R27: nothing is left to settle", |_, s| {
            kept(s, Broken::LEFT)
        }),
        // Not rules, but what the rules rest on: without them the invariants are not inductive.
        Property::always(
            "R4, R6: a marked job has a marked campaign; a CREATED campaign has no mark and no lease",
            |_, s| kept(s, Broken::MARKED),
        ),
        Property::always(
            "R27, R28: a settled campaign has no unfinished job",
            |_, s| kept(s, Broken::FINAL),
        ),
        Property::always("R25: a PENDING job has an attempt left", |_, s| {
            kept(s, Broken::LEFT_OVER)
        }),
        Property::always("R28: a job belongs to a campaign", |_, s| {
            kept(s, Broken::OWNED)
        }),
    ]
}

fn step_properties() -> Vec<Property<LineModel>> {
    vec![
        Property::always(
            "I5, R7: only resume queue sets anything going again",
            |_, s| kept(s, Broken::I5),
        ),
        Property::always(
            "I6, R8: a resume takes effect only with every breaker CLOSED",
            |_, s| kept(s, Broken::I6),
        ),
        Property::always("I7, R12: a reset changes its one breaker", |_, s| {
            kept(s, Broken::I7)
        }),
        Property::always(
            "I8, R20, R21: nothing is claimed or started while anything holds it",
            |_, s| kept(s, Broken::I8),
        ),
        Property::always("I9: tokens only grow, by claims", |_, s| {
            kept(s, Broken::I9)
        }),
        Property::always("I10, R26: a final stage changes only by a retry", |_, s| {
            kept(s, Broken::I10)
        }),
        Property::always(
            "I11: no job vanishes but with its deleted campaign",
            |_, s| kept(s, Broken::I11),
        ),
        Property::always(
            "I12, R9: the epoch moves at effective resumes only",
            |_, s| kept(s, Broken::I12),
        ),
        Property::always("I15, R32: the journal gives gate and campaigns", |_, s| {
            kept(s, Broken::I15)
        }),
        Property::always(
            "I18, R1, R13, R14, R16, R22: reports change breakers by the rules, whatever becomes of the job",
            |_, s| kept(s, Broken::I18),
        ),
        Property::always("I19, R23: a pause takes no lease", |_, s| {
            kept(s, Broken::I19)
        }),
        Property::always(
            "R5, R31: the version moves with gate changes only",
            |_, s| kept(s, Broken::R31),
        ),
        Property::always("R6: only what may be paused is paused", |_, s| {
            kept(s, Broken::R6)
        }),
        Property::always(
            "R9, R10: an effective resume voids every mark but the kept ones",
            |_, s| kept(s, Broken::R9),
        ),
        Property::always(
            "R11: a resume with a stale version changes nothing",
            |_, s| kept(s, Broken::R11),
        ),
        Property::always(
            "R15: only a tick half-opens, and only what has cooled down",
            |_, s| kept(s, Broken::R15),
        ),
        Property::always(
            "R24: a sweep keeps the token good, and gives no attempt back",
            |_, s| kept(s, Broken::R24),
        ),
        Property::always(
            "R25: endings use up and give back attempts by the rule",
            |_, s| kept(s, Broken::R25),
        ),
        Property::always("R27: the last ending settles, and no other", |_, s| {
            kept(s, Broken::R27)
        }),
        Property::always(
            "R28: jobs are added only where the rule allows it",
            |_, s| kept(s, Broken::R28),
        ),
        Property::always("R36: automation neither resets nor resumes", |_, s| {
            kept(s, Broken::R36)
        }),
        Property::always("every value stays within the normal forms", |_, s| {
            kept(s, Broken::FORM)
        }),
    ]
}

/// The situations that a line is built for. Which outcomes are reached is [`LineModel::heard`]'s.
fn situations() -> Vec<Property<LineModel>> {
    vec![
        Property::sometimes(
            "waiting for resume: every breaker CLOSED, queue PAUSED",
            |m: &LineModel, s: &State| {
                let gate = m.tables.gate_facts(s.gate);
                gate.is_all_closed && gate.queue == QueueState::Paused
            },
        ),
        Property::sometimes("a breaker is HALF_OPEN", |m: &LineModel, s: &State| {
            m.tables.gate_facts(s.gate).is_half_open
        }),
        Property::sometimes(
            "a campaign is PAUSED while the queue is ACTIVE",
            |m: &LineModel, s: &State| {
                m.tables.gate_facts(s.gate).queue == QueueState::Active
                    && m.tables.campaign_facts(s.gate, s.campaigns[0]).status
                        == Some(CampaignStatus::Paused)
            },
        ),
        Property::sometimes("a job in flight is PAUSED", |m: &LineModel, s: &State| {
            let job = m.tables.job_facts(s.gate, s.campaigns[0], s.jobs[0]);
            job.stage == Some(JobStage::Processing) && job.status == Some(JobStatus::Paused)
        }),
        Property::sometimes(
            "a cancelled job still has a lease",
            |m: &LineModel, s: &State| {
                m.tables
                    .job(s.jobs[0])
                    .is_some_and(|job| job.stage() == JobStage::Cancelled && job.holder().is_some())
            },
        ),
        Property::sometimes(
            "a mark outlives its settled campaign",
            |m: &LineModel, s: &State| {
                let campaign = m.tables.campaign_facts(s.gate, s.campaigns[0]);
                campaign.is_marked && campaign.stage == Some(CampaignStage::Completed)
            },
        ),
    ]
}

/// What acts can come to: whether each answer has come, and the ones that a paused line gives, while the
/// queue was PAUSED.
fn outcomes(model: &LineModel) -> Vec<(String, Verdict)> {
    let [running, paused] = model.heard();
    let reached = |has_come: bool| {
        if has_come {
            Verdict::Reached
        } else {
            Verdict::NeverReached
        }
    };
    let mut all = Vec::new();
    for outcome in Heard::ALL {
        let has_come = [&running, &paused]
            .into_iter()
            .any(|heard| heard.contains(&(outcome as u8)));
        let words = outcome.words();
        all.push(match outcome {
            // No refusal is for a reason that the model does not know of, and nothing is left to the
            // background pass to settle, since the step that ends the last job does (R27).
            Heard::Other | Heard::SettledLate if has_come => {
                (format!("never answered: {words}"), Verdict::NeverReached)
            }
            Heard::Other | Heard::SettledLate => {
                (format!("never answered: {words}"), Verdict::Held)
            }
            _ => (format!("answered: {words}"), reached(has_come)),
        });
    }
    let while_paused = [
        Heard::Completed,
        Heard::CompletedAndSettled,
        Heard::FailedAndSettled,
        Heard::SweptToPending,
        Heard::SweptToFailed,
        Heard::JobCancelledAndSettled,
        Heard::RetriedAndReopened,
        Heard::ClaimGateClosed,
        Heard::Enqueued,
        Heard::PausedAlready,
        Heard::StaleLease,
    ];
    all.extend(while_paused.map(|outcome| {
        let has_come = paused.contains(&(outcome as u8));
        let name = format!("answered while PAUSED: {}", outcome.words());
        (name, reached(has_come))
    }));
    all
}

fn configuration(
    name: &'static str,
    about: &'static str,
    size: Size,
    states: usize,
    bounds: Bounds,
) -> Configuration {
    let make = move |symmetry| Box::new(move || LineModel::new(bounds, symmetry));
    let making = Making {
        checked: make(Symmetry::Reduced),
        told: make(Symmetry::Full),
        outcomes,
    };
    Configuration::made(name, about, size, states, making)
}

/// The configurations of this model.
pub fn configurations() -> Vec<Configuration> {
    vec![
        configuration(
            "line-1x1",
            "two services, the queue, one campaign with one job",
            Size::Small,
            2358,
            Bounds {
                campaigns: 1,
                jobs: 1,
                max_attempts: 2,
            },
        ),
        configuration(
            "line-1x2",
            "two services, the queue, one campaign with two jobs",
            Size::Small,
            23_310,
            Bounds {
                campaigns: 1,
                jobs: 2,
                max_attempts: 2,
            },
        ),
        configuration(
            "line-2x3",
            "two services, the queue, two campaigns with two jobs and one",
            Size::Full,
            3_053_610,
            Bounds {
                campaigns: 2,
                jobs: 3,
                max_attempts: 2,
            },
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_holds_and_every_answer_is_given_on_small_lines() {
        crate::check::assert_small_ones_are_right(configurations(), 1);
    }
}
