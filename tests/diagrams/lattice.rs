//! Which fact pauses what, read off every state that a line with two campaigns can reach.

use std::fmt::Write as _;

use andon::cause::Holder;
use andon::line::NewJob;
use andon::{
    CampaignStatus, CauseChain, CircuitState, Command, Intake, JobId, JobStatus, Line, Mark,
    QueueState,
};

use crate::kit::{C1, C2, J1, J2, J3, ada, at};
use crate::space::{Act, empty_line, explore, gate_acts};

/// Something that may be so: a stored fact that pauses, or a status that is derived.
struct Node {
    id: &'static str,
    words: &'static str,
    rank: Rank,
    is: fn(&Line) -> bool,
    /// What the cause chain calls it, if it is a stored fact.
    holder: fn(&Holder) -> bool,
}

/// An arrow leads to a higher rank only, so that of two things that come together the nearer to the
/// stored facts is the cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// What a command writes.
    Fact,
    /// What is written in the same step as another fact.
    FactToo,
    CampaignStatus,
    JobStatus,
}

const NODES: [Node; 10] = [
    Node {
        id: "breaker",
        words: "breaker not CLOSED",
        rank: Rank::Fact,
        is: |line| {
            line.gate()
                .breakers()
                .any(|b| b.state() != CircuitState::Closed)
        },
        holder: |holder| matches!(holder, Holder::Breaker { .. }),
    },
    Node {
        id: "job_mark",
        words: "job 1 paused by hand",
        rank: Rank::Fact,
        is: |line| is_current(line, line.job(J1).unwrap().mark()),
        holder: |holder| matches!(holder, Holder::Job { .. }),
    },
    Node {
        id: "queue",
        words: "queue PAUSED",
        rank: Rank::FactToo,
        is: |line| line.gate().queue().state() == QueueState::Paused,
        holder: |holder| matches!(holder, Holder::Queue),
    },
    Node {
        id: "campaign_mark",
        words: "campaign A paused in this epoch",
        rank: Rank::FactToo,
        is: |line| is_current(line, line.campaign(C1).unwrap().mark()),
        holder: |holder| matches!(holder, Holder::Campaign { campaign } if *campaign == C1),
    },
    Node {
        id: "campaign_mark_b",
        words: "campaign B paused in this epoch",
        rank: Rank::FactToo,
        is: |line| is_current(line, line.campaign(C2).unwrap().mark()),
        holder: |holder| matches!(holder, Holder::Campaign { campaign } if *campaign == C2),
    },
    Node {
        id: "campaign_a",
        words: "campaign A is PAUSED",
        rank: Rank::CampaignStatus,
        is: |line| line.campaign_status(C1) == Some(CampaignStatus::Paused),
        holder: |_| false,
    },
    Node {
        id: "campaign_b",
        words: "campaign B is PAUSED",
        rank: Rank::CampaignStatus,
        is: |line| line.campaign_status(C2) == Some(CampaignStatus::Paused),
        holder: |_| false,
    },
    Node {
        id: "job_1",
        words: "job 1 of A is PAUSED",
        rank: Rank::JobStatus,
        is: |line| line.job_status(J1) == Some(JobStatus::Paused),
        holder: |_| false,
    },
    Node {
        id: "job_2",
        words: "job 2 of A is PAUSED",
        rank: Rank::JobStatus,
        is: |line| line.job_status(J2) == Some(JobStatus::Paused),
        holder: |_| false,
    },
    Node {
        id: "job_3",
        words: "job 3 of B is PAUSED",
        rank: Rank::JobStatus,
        is: |line| line.job_status(J3) == Some(JobStatus::Paused),
        holder: |_| false,
    },
];

type Holding = [bool; NODES.len()];

pub(crate) const TEXT: &str = "\
## What pauses what

Rounded: facts that are stored. Square: statuses that are derived from them. An arrow says that the one is never
so without the other, and that nothing stands between them. Look at the two arrows between stored facts: a
breaker that leaves CLOSED pauses the queue, and a job paused by hand pauses its campaign, each in the same
step (R2, R4). Everything else follows by reading (D1, D2): nothing is written to a campaign or a job when the
queue pauses. Nothing leads from campaign A to campaign B but by way of the queue. A cause chain is this
picture walked backwards (D3); a test compares the facts that it names with the arrows in each of those states.";

/// The arrows: each follows from what held in all states, and from no two others.
fn arrows(states: &[Holding]) -> Vec<(usize, usize)> {
    let follows = |from: usize, to: usize| {
        NODES[from].rank < NODES[to].rank && states.iter().all(|holds| !holds[from] || holds[to])
    };
    let nodes = 0..NODES.len();
    let pairs = nodes
        .clone()
        .flat_map(|from| (0..NODES.len()).map(move |to| (from, to)));
    pairs
        .filter(|(from, to)| follows(*from, *to))
        .filter(|(from, to)| {
            !nodes
                .clone()
                .any(|via| follows(*from, via) && follows(via, *to))
        })
        .collect()
}

pub(crate) fn diagram() -> String {
    let states: Vec<Holding> = states().into_iter().map(|(holds, _)| holds).collect();
    let mut text = String::from("flowchart LR\n");
    for node in &NODES {
        let (id, words) = (node.id, node.words);
        let _ = match node.rank {
            Rank::Fact | Rank::FactToo => writeln!(text, "    {id}([{words}])"),
            Rank::CampaignStatus | Rank::JobStatus => writeln!(text, "    {id}[{words}]"),
        };
    }
    for (from, to) in arrows(&states) {
        let _ = writeln!(text, "    {} --> {}", NODES[from].id, NODES[to].id);
    }
    text
}

/// Every reachable state: what holds, and the cause chains of the five that have a status.
fn states() -> Vec<(Holding, Chains)> {
    let steps = explore(two_campaigns(), &acts(), |line| {
        (NODES.map(|node| (node.is)(line)), Chains::of(line))
    });
    let mut states: Vec<_> = steps.into_iter().map(|step| step.before).collect();
    states.dedup();
    states
}

/// For each status, which of the nodes its cause chain names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Chains([Holding; 5]);

impl Chains {
    fn of(line: &Line) -> Self {
        let named = |chain: Option<CauseChain>| {
            let causes = chain.unwrap().causes;
            NODES.map(|node| causes.iter().any(|cause| (node.holder)(&cause.holder)))
        };
        Self([
            named(line.campaign_causes(C1)),
            named(line.campaign_causes(C2)),
            named(line.job_causes(J1)),
            named(line.job_causes(J2)),
            named(line.job_causes(J3)),
        ])
    }
}

/// D3, I13: what a chain names is what holds and leads to the status by the arrows.
#[test]
fn d3_i13_cause_chains_name_the_facts_that_lead_to_a_status() {
    let states = states();
    let holding: Vec<Holding> = states.iter().map(|(holds, _)| *holds).collect();
    let arrows = arrows(&holding);
    let statuses = NODES.len() - 5;
    for (holds, Chains(chains)) in &states {
        for (place, named) in chains.iter().enumerate() {
            let mut leads = NODES.map(|_| false);
            leads[statuses + place] = true;
            // No path is longer than there are ranks.
            for _ in 0..4 {
                for (from, to) in &arrows {
                    leads[*from] |= leads[*to];
                }
            }
            // A job's own pause is named for that job; for others it is its campaign's.
            let is_its_own = NODES[statuses + place].id == "job_1";
            for (node, named) in named.iter().enumerate().take(statuses) {
                let is_shown = is_its_own || NODES[node].id != "job_mark";
                let expected = leads[node] && holds[node] && is_shown;
                let (fact, shown) = (NODES[node].words, NODES[statuses + place].words);
                assert_eq!(*named, expected, "{shown} because of {fact}: {holds:?}");
            }
        }
    }
}

fn is_current(line: &Line, mark: Option<&Mark>) -> bool {
    mark.is_some_and(|mark| mark.is_current(line.gate().epoch()))
}

fn two_campaigns() -> Line {
    let mut line = empty_line();
    for (campaign, jobs) in [(C1, &[J1, J2][..]), (C2, &[J3])] {
        let intake = Intake::Closed;
        let jobs = jobs.iter().map(|job: &JobId| NewJob::new(*job)).collect();
        for command in [
            Command::CreateCampaign { campaign, intake },
            Command::Enqueue { campaign, jobs },
            Command::StartCampaign { campaign },
        ] {
            let answer = line.execute(&ada(), command, at(0));
            assert!(answer.is_ok(), "{answer:?}");
        }
    }
    line
}

/// What changes the gate, and pauses of both campaigns and of A's first job.
fn acts() -> Vec<Act> {
    let mut acts = gate_acts();
    acts.push(Act::new("pause campaign", ada(), |_| {
        Some(vec![Command::PauseCampaign { campaign: C1 }])
    }));
    acts.push(Act::new("pause the other campaign", ada(), |_| {
        Some(vec![Command::PauseCampaign { campaign: C2 }])
    }));
    acts.push(Act::new("pause job", ada(), |_| {
        Some(vec![Command::PauseJob { job: J1 }])
    }));
    acts
}
