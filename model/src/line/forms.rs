//! Normal forms: of all gates, campaigns and jobs that the rules cannot tell apart, one.
//!
//! The rules compare epochs, versions and tokens, and never look at how large they are. So a form keeps
//! only the outcome of the comparison: a mark is current or there is none, a report's version is at
//! least the breaker's `since` or below it, a token is the job's latest or an older one. Times are due
//! or not. Origins, reasons, error texts and who has a stop in hand are shown and never decided upon (the
//! gate's model has the one exception: who acknowledges a stop is told who did so before). Hence the forms are
//! finitely many, and a bound on depth is not needed.
//!
//! A form is a value of the core's own types, so that it can be handed to the core as it is.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::time::Duration;

use andon::breaker::{Hold, Standing};
use andon::{
    Actor, ActorName, AnyCampaign, AnyJob, BreakerRecord, BreakerSettings, By, CallNumber,
    CampaignId, CampaignRecord, CampaignStage, CircuitState, Epoch, Gate, GateRecord, Intake,
    JobId, JobRecord, JobStage, Mark, Origin, Pause, Priority, QueueRecord, ServiceName, SessionId,
    Timestamp, Token, Version,
};

/// The instant of every command. Due is what is due now.
pub const NOW: Timestamp = Timestamp::from_micros(0);
/// Later than any command.
const LATER: Timestamp = Timestamp::from_micros(i64::MAX);
/// The cool-down of the service that has one.
pub const COOL_DOWN: Duration = Duration::from_mins(1);
/// The numbers of every form. Comparisons are met at their edge: a fresh version is the breaker's `since`
/// itself, a stale one the one before it.
const EPOCH: u64 = 5;
const VERSION: u64 = 10;
const SINCE: u64 = VERSION;
const STALE: u64 = SINCE - 1;
const TOKEN: u64 = 3;
const OLDER: u64 = 2;

/// One of the two services: one with a threshold of 1 and a cool-down, one with a threshold of 2 and none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// `apollo`: any service error opens it; it cools down.
    Apollo,
    /// `openai`: the second service error in a row opens it; only a reset closes it.
    Openai,
}

impl Service {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Apollo, Self::Openai];

    const fn settings(self) -> (&'static str, u32, Option<Duration>) {
        match self {
            Self::Apollo => ("apollo", 1, Some(COOL_DOWN)),
            Self::Openai => ("openai", 2, None),
        }
    }
}

/// The fixed names and numbers that forms are made of.
#[derive(Debug, Clone)]
pub struct Names {
    services: [(ServiceName, BreakerSettings); 2],
    /// A person.
    pub operator: By,
    /// A program that may pause and open, and no more.
    pub automation: By,
    /// Who holds leases.
    pub worker: ActorName,
    /// The version of a report that is not stale: the line's own.
    pub fresh: Version,
    /// A version below every `since`.
    pub stale: Version,
    /// A version that the line has not reached.
    pub future: Version,
    /// The latest token of every job.
    pub token: Token,
    /// An older one.
    pub older_token: Token,
    /// The number of every call.
    pub call: CallNumber,
    /// A gate one resume later than every form.
    pub next: Gate,
    epoch: Epoch,
    since: Version,
    pause: Pause,
}

impl Names {
    /// The names and numbers.
    #[expect(
        clippy::expect_used,
        clippy::missing_panics_doc,
        reason = "they are written here and valid; a model without them has nothing to check"
    )]
    pub fn new() -> Self {
        let valid = "a valid name or number";
        let actor = |name| ActorName::new(name).expect(valid);
        let version = |number| Version::new(number).expect(valid);
        let operator = By::actor(Actor::Operator(actor("operator")));
        let service = |service: Service| {
            let (name, threshold, cool_down) = service.settings();
            let settings = BreakerSettings::new(threshold, cool_down).expect(valid);
            (ServiceName::new(name).expect(valid), settings)
        };
        let epoch = |number| Epoch::new(number).expect(valid);
        let next = QueueRecord {
            epoch: epoch(EPOCH + 1),
            ..Gate::initial().record().queue
        };
        let next = GateRecord {
            queue: next,
            breakers: Vec::new(),
        };
        Self {
            services: Service::ALL.map(service),
            automation: By::actor(Actor::Automation(actor("automation"))),
            worker: actor("worker"),
            fresh: version(VERSION),
            stale: version(STALE),
            future: version(VERSION + 1),
            token: Token::new(TOKEN).expect(valid),
            older_token: Token::new(OLDER).expect(valid),
            call: CallNumber::new(1).expect(valid),
            epoch: epoch(EPOCH),
            next: Gate::try_from(next).expect(valid),
            since: version(SINCE),
            pause: Pause {
                at: NOW,
                version: version(SINCE),
                origin: Origin::QueueByHand {
                    actor: operator.actor.clone(),
                    reason: None,
                },
            },
            operator,
        }
    }

    /// A service's name.
    pub fn service(&self, service: Service) -> &ServiceName {
        match service {
            Service::Apollo => &self.services[0].0,
            Service::Openai => &self.services[1].0,
        }
    }

    /// A campaign's identifier, from its place.
    pub const fn campaign(index: usize) -> CampaignId {
        CampaignId::from_u128(index as u128 + 1)
    }

    /// A job's identifier: all have the same, since no rule compares them.
    pub const fn job() -> JobId {
        JobId::from_u128(1)
    }

    /// A campaign's form as that of the campaign at this place: a resume tells campaigns apart.
    pub fn at_place(campaign: &AnyCampaign, place: usize) -> AnyCampaign {
        AnyCampaign::from(CampaignRecord {
            id: Self::campaign(place),
            ..campaign.record()
        })
    }

    /// The session of every lease.
    pub const fn session() -> SessionId {
        SessionId::from_u128(1)
    }

    fn mark(&self) -> Mark {
        Mark {
            epoch: self.epoch,
            pause: self.pause.clone(),
            again: None,
        }
    }

    /// The normal form of a gate; none if it is not even type-correct.
    pub fn gate_form(&self, gate: &Gate) -> Option<Gate> {
        let record = gate.record();
        let breakers = record.breakers.into_iter().map(|breaker| {
            let is_closed = breaker.state == CircuitState::Closed;
            BreakerRecord {
                since: self.since,
                // The count of a breaker that is not CLOSED is only shown.
                failure_count: if is_closed {
                    breaker.failure_count.min(breaker.settings.threshold())
                } else {
                    0
                },
                opening: (!is_closed).then(|| self.pause.clone()),
                opened_at: (!is_closed).then_some(NOW),
                ..breaker
            }
        });
        let queue = QueueRecord {
            epoch: self.epoch,
            version: self.fresh,
            last_seen: NOW,
            pause: record.queue.pause.map(|_| self.pause.clone()),
            again: None,
            acknowledged: None,
        };
        Gate::try_from(GateRecord {
            queue,
            breakers: breakers.collect(),
        })
        .ok()
    }

    /// The normal form of a campaign beside this gate (not yet in normal form itself).
    pub fn campaign_form(&self, campaign: &AnyCampaign, gate: &Gate) -> AnyCampaign {
        AnyCampaign::from(CampaignRecord {
            mark: is_marked(campaign, gate).then(|| self.mark()),
            ..campaign.record()
        })
    }

    /// The normal form of a job beside this gate; none if it is not even type-correct.
    pub fn job_form(&self, job: &AnyJob, gate: &Gate) -> Option<AnyJob> {
        let record = job.record();
        let is_pending = record.stage == JobStage::Pending;
        let is_marked = record
            .mark
            .as_ref()
            .is_some_and(|mark| mark.is_current(gate.epoch()))
            // Nothing brings a completed job back, so nothing looks at its mark.
            && record.stage != JobStage::Completed;
        AnyJob::try_from(JobRecord {
            mark: is_marked.then(|| self.mark()),
            // A retry sets it to 0, and nothing else brings a final job back.
            attempt: if record.stage.is_final() {
                0
            } else {
                record.attempt
            },
            run_at: if is_pending && record.run_at > NOW {
                LATER
            } else {
                NOW
            },
            priority: Priority::default(),
            token: self.token,
            session: record.session.map(|_| Self::session()),
            ..record
        })
        .ok()
    }

    /// Every type-correct gate form, the ones that break invariants included; first the initial one.
    pub fn gates(&self) -> Vec<Gate> {
        let breaker = |service: Service| -> Vec<BreakerRecord> {
            let (name, settings) = match service {
                Service::Apollo => self.services[0].clone(),
                Service::Openai => self.services[1].clone(),
            };
            let states = [
                CircuitState::Closed,
                CircuitState::Open,
                CircuitState::HalfOpen,
            ];
            let mut all = Vec::new();
            for state in states {
                for hold in [Hold::Free, Hold::Held] {
                    for failure_count in 0..=settings.threshold() {
                        let is_closed = state == CircuitState::Closed;
                        all.push(BreakerRecord {
                            service: name.clone(),
                            state,
                            since: self.since,
                            hold,
                            failure_count,
                            settings,
                            standing: Standing::Declared,
                            opening: (!is_closed).then(|| self.pause.clone()),
                            opened_at: (!is_closed).then_some(NOW),
                        });
                    }
                }
            }
            all
        };
        let (apollos, openais) = (breaker(Service::Apollo), breaker(Service::Openai));
        let mut all = Vec::new();
        for pause in [None, Some(self.pause.clone())] {
            for apollo in &apollos {
                for openai in &openais {
                    let queue = QueueRecord {
                        epoch: self.epoch,
                        version: self.fresh,
                        last_seen: NOW,
                        pause: pause.clone(),
                        again: None,
                        acknowledged: None,
                    };
                    let breakers = vec![apollo.clone(), openai.clone()];
                    let gate = Gate::try_from(GateRecord { queue, breakers });
                    all.extend(gate.ok().and_then(|gate| self.gate_form(&gate)));
                }
            }
        }
        unique(all)
    }

    /// Every type-correct form of a campaign.
    pub fn campaigns(&self) -> Vec<AnyCampaign> {
        let stages = [
            CampaignStage::Created,
            CampaignStage::Running,
            CampaignStage::Completed,
            CampaignStage::Failed,
            CampaignStage::Cancelled,
        ];
        let mut all = Vec::new();
        for stage in stages {
            for intake in [Intake::Closed, Intake::OpenEnded] {
                for mark in [None, Some(self.mark())] {
                    let id = Self::campaign(0);
                    all.push(AnyCampaign::from(CampaignRecord {
                        id,
                        stage,
                        intake,
                        mark,
                    }));
                }
            }
        }
        all
    }

    /// Every type-correct form of a job.
    pub fn jobs(&self, max_attempts: u32) -> Vec<AnyJob> {
        let stages = [
            JobStage::Pending,
            JobStage::Processing,
            JobStage::Completed,
            JobStage::Failed,
            JobStage::Cancelled,
        ];
        let gate = Gate::initial();
        let mut all = Vec::new();
        for stage in stages {
            for mark in [None, Some(self.mark())] {
                for attempt in 0..=max_attempts {
                    for run_at in [NOW, LATER] {
                        for session in [None, Some(Self::session())] {
                            let job = AnyJob::try_from(JobRecord {
                                id: Self::job(),
                                campaign: Self::campaign(0),
                                stage,
                                mark: mark.clone(),
                                attempt,
                                max_attempts,
                                run_at,
                                priority: Priority::default(),
                                token: self.token,
                                session,
                            });
                            all.extend(job.ok().and_then(|job| self.job_form(&job, &gate)));
                        }
                    }
                }
            }
        }
        unique(all)
    }
}

/// Whether a campaign has a mark of the gate's epoch.
pub fn is_marked(campaign: &AnyCampaign, gate: &Gate) -> bool {
    campaign
        .mark()
        .is_some_and(|mark| mark.is_current(gate.epoch()))
}

/// Each once, in the order of its first place.
fn unique<T: Clone + Eq + Hash>(all: Vec<T>) -> Vec<T> {
    let mut seen = HashSet::new();
    all.into_iter()
        .filter(|one| seen.insert(one.clone()))
        .collect()
}

/// The forms of one kind, numbered.
#[derive(Debug, Clone)]
pub struct Forms<T> {
    forms: Vec<T>,
    numbers: HashMap<T, usize>,
}

impl<T: Clone + Eq + Hash> Forms<T> {
    /// Numbers them.
    pub fn new(forms: Vec<T>) -> Self {
        let numbers = forms.iter().cloned().zip(0..).collect();
        Self { forms, numbers }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.forms.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    /// The form of this number.
    pub fn get(&self, number: usize) -> &T {
        &self.forms[number]
    }

    /// The number of this form; none if it is not one of them.
    pub fn number(&self, form: &T) -> Option<usize> {
        self.numbers.get(form).copied()
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::new()
    }
}
