//! What must be seen to happen in each scenario: a model in which nobody ever waits shows nothing.

use andon::CampaignStage;

use super::database::Mode;
use super::program::{Outcome, Scope};
use super::scenario::{CAMPAIGN, JOB, OTHER};
use super::{Phase, Scenario, Sometimes, State};

/// What some state of a scenario must show.
pub(super) fn of(scenario: Scenario) -> Vec<Sometimes> {
    match scenario {
        Scenario::ClaimPauseQueue
        | Scenario::ClaimPauseJob
        | Scenario::ClaimReport
        | Scenario::ClaimServiceFailure => [CLAIM_AND_PAUSE, &[FINDS_NOTHING]].concat(),
        Scenario::ClaimPauseCampaign => [CLAIM_AND_PAUSE, &[GOES_ON]].concat(),
        Scenario::ClaimResumeKeep => RESUME_KEEP.to_vec(),
        Scenario::ClaimPauseResume => PAUSE_RESUME.to_vec(),
        Scenario::ClaimClaimPause => CLAIM_CLAIM.to_vec(),
        Scenario::StartPauseQueue => {
            vec![
                STARTS,
                FIRST_WAITS,
                SECOND_WAITS,
                IN_ORDER,
                REFUSED_AFTER_WAITING,
            ]
        }
        Scenario::StartPauseCampaign => vec![STARTS, FIRST_WAITS, SECOND_WAITS, IN_ORDER],
        Scenario::LastEndings => LAST_ENDINGS.to_vec(),
        Scenario::LastPending => LAST_PENDING.to_vec(),
        Scenario::LateEndings => LATE_ENDINGS.to_vec(),
        Scenario::SameEnding => vec![FIRST_WAITS, REPLAYED],
        Scenario::EnqueueClose => ENQUEUE_CLOSE.to_vec(),
        Scenario::CancelJobClaim => CANCEL_CLAIM.to_vec(),
        Scenario::RetrySettle => vec![FIRST_WAITS, SECOND_WAITS, IN_ORDER, REVERSED, SETTLES],
        Scenario::ResetResumeReport => RESET_RESUME.to_vec(),
        Scenario::SweepEndClaim => SWEEP_END.to_vec(),
        Scenario::EndPauseJob => vec![FIRST_WAITS, SECOND_WAITS, COMPLETES_PAUSED, SECOND_REFUSED],
        Scenario::ResumeResume => vec![FIRST_WAITS, SECOND_WAITS, IN_ORDER, RESUMED_ONCE],
        Scenario::SuccessFailures => SUCCESS.to_vec(),
        Scenario::StopAndGo => STOP_AND_GO.to_vec(),
        Scenario::ClaimCancelCampaign => {
            vec![
                CLAIMS,
                FIRST_WAITS,
                SECOND_WAITS,
                FINDS_NOTHING,
                IN_ORDER,
                REVERSED,
            ]
        }
        Scenario::RetrySweep => vec![FIRST_WAITS, SECOND_WAITS, IN_ORDER, REVERSED],
        Scenario::ClaimDeregister => DEREGISTER.to_vec(),
        Scenario::ClaimCancelRetry => CANCEL_RETRY.to_vec(),
    }
}

const FIRST_WAITS: Sometimes = ("the first waits for the second", |m, s| {
    m.waits_for(s, 0, 1)
});
const SECOND_WAITS: Sometimes = ("the second waits for the first", |m, s| {
    m.waits_for(s, 1, 0)
});
const IN_ORDER: Sometimes = ("the first commits before the second", |_, s| {
    s.in_order(0, 1)
});
const REVERSED: Sometimes = ("the second commits before the first", |_, s| {
    s.in_order(1, 0)
});
const CLAIMS: Sometimes = ("a claim takes a job", |_, s| claimed(s, 0));
const FINDS_NOTHING: Sometimes = ("a claim finds nothing after waiting", |_, s| {
    s.outcome(0) == Some(Outcome::Nothing) && has_waited(s)
});
const GOES_ON: Sometimes = ("a claim goes on with the other campaign", |_, s| {
    s.in_order(1, 0) && matches!(s.outcome(0), Some(Outcome::Claimed(_, c)) if c == OTHER)
});
const STARTS: Sometimes = ("the campaign is started", |_, s| {
    matches!(s.outcome(0), Some(Outcome::Started(_)))
});
const REFUSED: Sometimes = ("the first is refused", |_, s| is(s, 0, &Phase::Refused));
const REFUSED_AFTER_WAITING: Sometimes = ("the first is refused after waiting", |_, s| {
    has_waited(s) && is(s, 0, &Phase::Refused)
});
const SECOND_REFUSED: Sometimes = ("the second is refused", |_, s| is(s, 1, &Phase::Refused));
const COMPLETES_PAUSED: Sometimes = ("a PAUSED job completes", |_, s| {
    s.in_order(1, 0) && s.outcome(0) == Some(Outcome::Done)
});
const RESUMED_ONCE: Sometimes = ("the second finds nothing to resume", |_, s| {
    s.outcome(0) == Some(Outcome::Resumed(None)) && s.outcome(1) == Some(Outcome::Nothing)
});
const REPLAYED: Sometimes = ("the second is answered as the first was", |_, s| {
    s.outcome(0) == Some(Outcome::Done) && s.outcome(1) == Some(Outcome::Nothing)
});
const SETTLES: Sometimes = ("the campaign settles", |_, s| {
    let campaign = s.database.campaigns.get(&CAMPAIGN);
    campaign.is_some_and(|campaign| {
        !matches!(
            campaign.stage(),
            CampaignStage::Created | CampaignStage::Running
        )
    })
});

const CLAIM_AND_PAUSE: &[Sometimes] = &[
    ("a claim waits for a pause", |m, s| m.waits_for(s, 0, 1)),
    ("a pause waits for a claim", |m, s| m.waits_for(s, 1, 0)),
    CLAIMS,
    IN_ORDER,
    REVERSED,
    ("a pause returns while a claim is under way", |_, s| {
        is(s, 1, &Phase::Returned)
            && s.transactions
                .first()
                .is_some_and(|t| t.at > 0 && t.phase == Phase::Running)
    }),
];

const RESUME_KEEP: &[Sometimes] = &[
    FIRST_WAITS,
    SECOND_WAITS,
    GOES_ON,
    ("a claim before the resume finds nothing", |_, s| {
        s.outcome(0) == Some(Outcome::Nothing) && s.in_order(0, 1)
    }),
    (
        "the resume waits for the pause, the claim for both",
        |m, s| m.waits_for(s, 1, 2) && m.waits_for(s, 0, 1) && m.waits_for(s, 0, 2),
    ),
];

const PAUSE_RESUME: &[Sometimes] = &[
    ("a claim commits between pause and resume", |_, s| {
        s.in_order(1, 0) && s.in_order(0, 2)
    }),
    ("a claim takes what was paused and resumed", |_, s| {
        s.in_order(1, 2) && s.in_order(2, 0) && claimed(s, 0)
    }),
    ("a pause returns before its resume commits", |_, s| {
        is(s, 1, &Phase::Returned) && !s.committed(2)
    }),
    ("there is nothing to resume", |_, s| {
        s.outcome(2) == Some(Outcome::Nothing)
    }),
];

const CLAIM_CLAIM: &[Sometimes] = &[
    ("two claims hold the gate together", |_, s| {
        let mut claims = s.transactions.iter().take(2);
        claims.all(|claim| claim.gate.is_some())
    }),
    ("a claim passes over the job that another holds", |_, s| {
        s.outcome(0) == Some(Outcome::Nothing) && !s.committed(1) && !s.committed(2)
    }),
    ("the first claim takes the job", |_, s| claimed(s, 0)),
    ("the second claim takes the job", |_, s| claimed(s, 1)),
    (
        "a claim waits behind a pause that waits for a claim",
        |m, s| m.waits_for(s, 1, 2) && m.waits_for(s, 2, 0),
    ),
];

const LAST_ENDINGS: &[Sometimes] = &[
    FIRST_WAITS,
    SECOND_WAITS,
    IN_ORDER,
    REVERSED,
    ("the background pass comes in between", |_, s| {
        s.in_order(0, 2) && s.in_order(2, 1)
    }),
    SETTLES,
];

const LAST_PENDING: &[Sometimes] = &[
    ("two endings share the campaign", |_, s| {
        let mut endings = s.transactions.iter().take(2);
        endings.all(|ending| ending.read.lock == Some(Mode::Shared) && !ending.rows.is_empty())
    }),
    FIRST_WAITS,
    SECOND_WAITS,
    ("the cancel waits for an ending", |m, s| {
        m.waits_for(s, 2, 0)
    }),
    (
        "the last PENDING job has gone, and both endings give up",
        |_, s| s.committed(2) && is(s, 0, &Phase::Refused) && is(s, 1, &Phase::Refused),
    ),
    SETTLES,
];

const LATE_ENDINGS: &[Sometimes] = &[
    ("both late endings are accepted after the sweep", |_, s| {
        s.in_order(2, 0)
            && s.in_order(2, 1)
            && [0, 1].map(|i| s.outcome(i)) == [Some(Outcome::Done); 2]
    }),
    (
        "a job was swept after the look, and its ending gives up",
        |_, s| s.committed(2) && !s.committed(1) && is(s, 0, &Phase::Refused),
    ),
    SETTLES,
];

const ENQUEUE_CLOSE: &[Sometimes] = &[
    FIRST_WAITS,
    SECOND_WAITS,
    IN_ORDER,
    REFUSED,
    SETTLES,
    ("the campaign goes on with the new job", |_, s| {
        s.committed(0) && s.committed(1) && s.committed(2)
    }),
];

const CANCEL_CLAIM: &[Sometimes] = &[
    SECOND_WAITS,
    CLAIMS,
    (
        "a claim passes over the job that is being cancelled",
        |_, s| s.outcome(0) == Some(Outcome::Nothing) && !s.committed(1),
    ),
    IN_ORDER,
    REVERSED,
    SETTLES,
];

const RESET_RESUME: &[Sometimes] = &[
    ("the line is resumed after the reset", |_, s| {
        s.in_order(0, 1) && s.outcome(1) == Some(Outcome::Resumed(None))
    }),
    ("the resume is refused", |_, s| {
        s.outcome(1) == Some(Outcome::Nothing)
    }),
    ("the breaker opens between reset and resume", |_, s| {
        s.in_order(0, 2) && s.in_order(2, 1)
    }),
    ("the breaker opens after the resume", |_, s| {
        s.in_order(1, 2) && s.outcome(2) == Some(Outcome::Paused(Scope::Line))
    }),
    ("all three hold or want the gate", |m, s| {
        m.waits_for(s, 1, 0) && m.waits_for(s, 2, 1)
    }),
];

const SWEEP_END: &[Sometimes] = &[
    FIRST_WAITS,
    SECOND_WAITS,
    ("a late ending is accepted after the sweep", |_, s| {
        s.in_order(0, 1) && s.outcome(1) == Some(Outcome::Done)
    }),
    ("another session claims the swept job", |_, s| claimed(s, 2)),
    ("an ending after that claim is stale", |_, s| {
        s.in_order(2, 1) && claimed(s, 2) && s.outcome(1) == Some(Outcome::Nothing)
    }),
    SETTLES,
];

const SUCCESS: &[Sometimes] = &[
    FIRST_WAITS,
    SECOND_WAITS,
    ("a success is free", |_, s| {
        s.order.first() == Some(&0) && s.outcome(0) == Some(Outcome::Nothing)
    }),
    ("a success clears the count", |_, s| {
        s.in_order(1, 0) && s.in_order(0, 2) && s.outcome(0) == Some(Outcome::Done)
    }),
    (
        "a failure has overtaken a free success, which gives up",
        |_, s| s.committed(1) && is(s, 0, &Phase::Refused),
    ),
    ("the second failure opens the breaker", |_, s| {
        s.in_order(1, 2) && s.outcome(2) == Some(Outcome::Paused(Scope::Line))
    }),
];

const STOP_AND_GO: &[Sometimes] = &[
    (
        "the line stops, is reset and resumed, and a claim goes on",
        |_, s| {
            s.in_order(1, 2)
                && s.in_order(2, 3)
                && s.in_order(3, 0)
                && s.outcome(1) == Some(Outcome::Paused(Scope::Line))
                && claimed(s, 0)
        },
    ),
    (
        "a claim between failure and resume finds nothing",
        |_, s| s.in_order(1, 0) && s.in_order(0, 3) && s.outcome(0) == Some(Outcome::Nothing),
    ),
    ("a resume before the reset is refused", |_, s| {
        s.in_order(1, 3) && s.in_order(3, 2) && s.outcome(3) == Some(Outcome::Nothing)
    }),
    ("all four hold or want the gate", |m, s| {
        m.waits_for(s, 0, 1) && m.waits_for(s, 2, 1) && m.waits_for(s, 3, 1)
    }),
];

const CANCEL_RETRY: &[Sometimes] = &[
    IN_ORDER,
    REVERSED,
    ("a cancelled job is sent back", |_, s| {
        s.in_order(1, 2) && s.outcome(2) == Some(Outcome::Done)
    }),
    ("the retry waits for the claim", |m, s| m.waits_for(s, 2, 0)),
    (
        "the job has changed hands, and the retry gives up",
        |_, s| s.in_order(0, 1) && claimed(s, 0) && is(s, 2, &Phase::Refused),
    ),
];

const DEREGISTER: &[Sometimes] = &[
    CLAIMS,
    IN_ORDER,
    SECOND_WAITS,
    REFUSED_AFTER_WAITING,
    ("what was claimed is released", |_, s| {
        let job = s.database.jobs.get(&JOB);
        s.in_order(0, 1) && job.is_some_and(|job| job.stage() == andon::JobStage::Pending)
    }),
];

fn claimed(state: &State, index: usize) -> bool {
    matches!(state.outcome(index), Some(Outcome::Claimed(..)))
}

/// Whether the first has ever waited.
fn has_waited(state: &State) -> bool {
    state.transactions.first().is_some_and(|t| t.has_waited)
}

fn is(state: &State, index: usize, phase: &Phase) -> bool {
    state
        .transactions
        .get(index)
        .is_some_and(|transaction| transaction.phase == *phase)
}
