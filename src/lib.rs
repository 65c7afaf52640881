//! The rules of **andon**, the andon cord for lines of jobs, as a pure state machine.
//!
//! Campaigns own jobs; jobs call outside services; each service has a circuit breaker. *Any* service
//! error can stop the whole line in one atomic step, and only a person's *resume queue* starts it
//! again, when every breaker is closed. Nothing ever resumes by itself.
//!
//! This crate holds those rules and nothing else: no I/O, no clock, no async, no randomness. Time and
//! identifiers come in as arguments. Everything that changes is *decided*, then *evolved*:
//!
//! * `decide_…` looks at entities and either refuses ([`Refusal`], with the facts in it) or gives a
//!   [`Decision`]: the events of one atomic step. It writes nothing.
//! * `evolve` applies an event to an entity. It is the only writer, for production, for replay of the
//!   journal and for models alike, and never refuses.
//!
//! Entities are typestates ([`queue::Queue`], [`breaker::Breaker`], [`campaign::Campaign`],
//! [`job::Job`]): an illegal transition does not compile. Proof values ([`AllBreakersClosed`],
//! [`Admission`], [`campaign::Claimable`], [`Permit`]) carry what a transition depends on. At the
//! border to rows and JSON stands one enum per entity ([`AnyBreaker`] …).
//!
//! The ids in these pages (R1, I5, D2 …) are those of the rules.
//!
//! ```
//! use andon::*;
//!
//! let now = Timestamp::from_micros(0);
//! let openai = ServiceName::new("openai")?;
//! let ada = By::actor(Actor::Operator(ActorName::new("ada")?));
//! let mut gate = Gate::initial();
//! gate.apply(&gate.decide_configure(
//!     &By::SYSTEM,
//!     &[(openai.clone(), BreakerSettings::default())].into(),
//!     now,
//! )?);
//!
//! // A breaker opens: the queue pauses in the same step (R2).
//! gate.apply(&gate.decide_open_breaker(&ada, &openai, now)?);
//! assert_eq!(gate.queue().state(), QueueState::Paused);
//!
//! // Resume is refused while any breaker is not CLOSED (R8).
//! let resume = ResumeRequest { seen: None, keep: &[], unknown: &[], marks: Marks::None };
//! let refusal = gate.decide_resume(&ada, &resume, now).unwrap_err();
//! assert_eq!(refusal.to_string(), "Cannot resume: Circuit breaker openai is open");
//!
//! // A reset resumes nothing (R12); a person's resume does (R7).
//! gate.apply(&gate.decide_reset_breaker(&ada, &openai, now)?);
//! assert_eq!(gate.queue().state(), QueueState::Paused);
//! gate.apply(&gate.decide_resume(&ada, &resume, now)?);
//! assert_eq!(gate.queue().state(), QueueState::Active);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

#![no_std]
// No panic is reachable from a public function; the fuzz targets look for one all the same.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::arithmetic_side_effects
    )
)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod breaker;
pub mod campaign;
pub mod cause;
pub mod event;
pub mod gate;
pub mod ids;
pub mod job;
pub mod journal;
pub mod line;
pub mod origin;
pub mod permit;
pub mod queue;
pub mod refusal;
pub mod retention;
pub mod session;
#[cfg(feature = "serde")]
mod stored;
pub mod time;
pub mod work;

pub use breaker::{AnyBreaker, BreakerRecord, BreakerSettings, CircuitState};
pub use campaign::{
    AnyCampaign, CampaignRecord, CampaignStage, CampaignStatus, Intake, JobCounts, Mark, Marking,
};
pub use cause::{Cause, CauseChain};
pub use event::{
    By, CampaignEvent, Decision, Event, GateEvent, JobEvent, Recording, RefusedCommand, Stamp,
};
pub use gate::{
    Acknowledging, Admission, AllBreakersClosed, CallOutcome, Gate, GateRecord, Marks, Pausing,
    Report, Reporter, Reset, Resume, ResumeRequest, Services, Verdict,
};
pub use ids::{
    ActorName, CallNumber, CampaignId, Epoch, ErrorText, Fingerprint, InvalidText, JobId, Reason,
    ServiceName, SessionId, StepName, Token, UniqueKey, Version,
};
pub use job::{AnyJob, JobRecord, JobStage, JobStatus, Priority};
pub use journal::{Entry, Ledger};
pub use line::{Command, Line, Outcome};
pub use origin::{Actor, Operator, Origin, Pause};
pub use permit::{Confirmation, Permit, PermitRequest, Withheld};
pub use queue::{Acknowledgement, AnyQueue, QueueRecord, QueueState};
pub use refusal::{Blocker, Corrupt, Refusal};
pub use session::Session;
pub use time::{Monotonic, Timestamp};
pub use work::{Attempt, Ended, Ending, Work};
