//! The *transactions* model: the store's commands split at their statements, run by two or three
//! transactions at once as PostgreSQL's READ COMMITTED would, in every interleaving.
//!
//! # What is modelled
//!
//! * **A transaction is a program of statements**, those of the adapter's commands in their order: which
//!   lock, which read, which write, the journal, the commit ([`Program::statements`]). Between its reads
//!   and its writes the core decides, by the very functions that production calls, from what *this
//!   transaction has read*; nothing here knows a rule.
//! * **Each statement sees what was committed when it began.** A statement that waits for an advisory
//!   lock *inside itself* therefore goes on with the snapshot from before it waited; one that waits for
//!   a row reads that row afresh, and that row only. A lock in a statement of its own reads nothing, so
//!   that everything after it is seen as of after the lock: on this rests I16.
//! * **Locks last until the transaction ends**: the advisory lock of the gate, shared or exclusive, with
//!   PostgreSQL's queue (who asks for it waits behind everybody who asked before in a conflicting mode);
//!   the advisory locks of campaigns, shared or not, and of the journal; row locks, shared or not. `SKIP LOCKED` passes over what others
//!   hold, and over rows whose newest version no longer fits. A cycle of waits is a deadlock, and is
//!   reported as found, although PostgreSQL would abort one of the transactions and the line would try
//!   it again.
//! * **A commit makes all writes visible at once**; writes are whole rows by their ids, so that lost
//!   updates can happen, and differences for the counts. **A transaction may break off before any of
//!   its statements**, and then leaves nothing behind.
//! * **A caller hears of a commit in a step of its own**: I16 speaks of pauses that have *returned*.
//!
//! # What each commit is held against
//!
//! The invariants I1, I3, I5 to I12, I15, I16, I19 and the rules R21, R27, R28, each judged on what is
//! committed before and after ([`judge`]); and beyond them, that the commit is *serial*: the command,
//! decided once more from everything as it is stored at that instant, gives the same events. What a
//! model of whole, atomic commands shows then holds for these transactions as well. Beside the
//! invariants stand `sometimes` properties: that each waits for the other, and both orders of commits.
//!
//! # What must be found
//!
//! A model that finds nothing wrong may be one that can find nothing. So the store is also built wrong in
//! one point at a time ([`Shape`]), and for each the shortest counter-example and its length are pinned
//! ([`WRONG`]): no lock on the gate; the lock inside the claim's own statement; a share of the queue's row
//! alone (it sees a pause of the queue and misses one of a campaign); the gate read before its lock; locks in
//! another order (a deadlock in four steps); endings that do not lock the campaign, or only ever share it,
//! or look once whether a job is still PENDING there, or take their own for one that is (two last ones leave it
//! unsettled); claims that do not lock their job, or do not share their session; adding jobs without the
//! campaign's lock; a success that writes a breaker, or a cancel of a campaign, without holding the gate; a
//! retry that locks the session last, or does not look again at who holds the job.
//!
//! # What was found
//!
//! Three of these shapes were not built wrong to be found: they were the store's own, and every test passed.
//!
//! * *R21.* Cancelling a campaign took no lock that a claim takes: a claim that had read the campaign RUNNING
//!   committed after the cancel had returned ([`Shape::CancelUnlocked`]). It now takes the gate, as a pause does.
//! * *R21.* A claim read its session without a lock, and committed after that session was deregistered or
//!   swept, which then had released nothing: the next sweep returned the job, at the cost of an attempt
//!   ([`Shape::SessionUnlocked`]). It now shares the session's row.
//! * *The lock order.* A retry of a cancelled job wrote the dead session of its lease while it held campaign and
//!   job; a sweep of that session locks them the other way round ([`Shape::SessionLast`]). It now looks who
//!   holds the job, locks the session first, and looks again: without that second look it would send back a
//!   job that another session holds by then ([`Shape::HolderSeenOnce`]).
//!
//! Each was a command whose own rows were locked well, beside a claim that decides from rows it does not lock.
//! Of every row that a claim reads and does not lock it has to be asked who else writes it, and what keeps the
//! two apart; the answer is the gate for queue, breakers and campaigns, and the session's own row.
//!
//! # What is not
//!
//! Each scenario has two or three transactions, one has four, over one or two campaigns, jobs and
//! sessions. A rule looks at one job, its campaign, that campaign's counts and the gate, so that a fault
//! that needs more of them is hard to think of; that is an argument, not a proof. Time stands still (what
//! time brings is in the other models), a batch of endings is one ending (rows of one kind are locked in
//! the order of their ids), a claim takes one job in one look, and reads that only serve an answer are left
//! out. Foreign keys, unique keys, constraints and triggers take no part: they are nets under these rules.
//! Nor do faults of PostgreSQL itself, nor SQLite, where a writing transaction is alone.

pub mod database;
pub mod judge;
pub mod program;
mod scenario;
mod shown;
mod told;

use std::collections::{BTreeMap, BTreeSet};

use andon::{CircuitState, Gate};
use stateright::{Model, Property};

use database::{Database, Mode, Row, Writes};
use judge::{Commit, Rule};
use program::{Names, Outcome, Program, Read, Refused, Scope, Shape, Statement};

pub use scenario::{Scenario, WRONG, Wrong, configurations};

/// How far a transaction has got.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Phase {
    /// It is about to run its next statement.
    Running,
    /// Its next statement has begun and waits for a lock; with its snapshot, if it will still use it.
    Waiting(Option<Box<Database>>),
    /// It has committed.
    Committed,
    /// And its caller has heard so.
    Returned,
    /// It came to nothing: the core refused.
    Refused,
    /// It broke off.
    BrokenOff,
}

/// A transaction.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Transaction {
    /// Which of its program's statements is next.
    at: usize,
    phase: Phase,
    /// Whether it has ever waited.
    has_waited: bool,
    /// How it holds the gate's lock.
    gate: Option<Mode>,
    /// Whether it holds the journal's lock.
    journal: bool,
    rows: BTreeMap<Row, Mode>,
    read: Read,
    writes: Writes,
    outcome: Outcome,
}

impl Transaction {
    fn new() -> Self {
        Self {
            at: 0,
            phase: Phase::Running,
            has_waited: false,
            gate: None,
            journal: false,
            rows: BTreeMap::new(),
            read: Read::default(),
            writes: Writes::default(),
            outcome: Outcome::Nothing,
        }
    }

    /// It ends: its locks are free, and what it has read and written is of no further use.
    fn end(&mut self, phase: Phase) {
        *self = Self {
            phase,
            has_waited: self.has_waited,
            outcome: self.outcome,
            ..Self::new()
        };
    }

    fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Waiting(_))
    }

    fn has_committed(&self) -> bool {
        matches!(self.phase, Phase::Committed | Phase::Returned)
    }
}

/// A state: what is committed, and how far each transaction has got.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    database: Database,
    transactions: Vec<Transaction>,
    /// Who waits for the gate's lock, the first first.
    queue: Vec<usize>,
    /// Who has committed, the first first.
    order: Vec<usize>,
    broken: BTreeSet<Rule>,
}

impl State {
    fn keeps(&self, rule: Rule) -> bool {
        !self.broken.contains(&rule)
    }

    fn committed(&self, index: usize) -> bool {
        self.order.contains(&index)
    }

    /// Whether one transaction has committed, and another after it.
    fn in_order(&self, first: usize, second: usize) -> bool {
        let place = |index| self.order.iter().position(|committed| *committed == index);
        matches!((place(first), place(second)), (Some(a), Some(b)) if a < b)
    }

    fn outcome(&self, index: usize) -> Option<Outcome> {
        let transaction = self.transactions.get(index)?;
        transaction.has_committed().then_some(transaction.outcome)
    }
}

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// A transaction runs its next statement, or begins to wait in it, or goes on after it has waited.
    Step(usize),
    /// A transaction breaks off.
    BreakOff(usize),
    /// A transaction's caller hears that it has committed.
    Return(usize),
}

/// The transactions of one scenario, in one shape of the store.
#[derive(Clone)]
pub struct Transactions {
    start: Database,
    programs: Vec<Program>,
    statements: Vec<Vec<Statement>>,
    names: Names,
    sometimes: Vec<Sometimes>,
}

/// A property that some state must show.
type Sometimes = (&'static str, fn(&Transactions, &State) -> bool);

/// What a statement needs before it can go on.
enum Need {
    Gate(Mode),
    Row(Row, Mode),
    Journal,
}

impl Transactions {
    fn new(
        start: Database,
        programs: Vec<Program>,
        shape: Shape,
        names: Names,
        sometimes: Vec<Sometimes>,
    ) -> Self {
        let statements = programs.iter().map(|p| p.statements(shape)).collect();
        Self {
            start,
            programs,
            statements,
            names,
            sometimes,
        }
    }

    fn statement(&self, index: usize, at: usize) -> Option<Statement> {
        self.statements.get(index)?.get(at).copied()
    }

    fn next(&self, state: &State, index: usize) -> Option<(Program, Statement)> {
        let transaction = state.transactions.get(index)?;
        let program = self.programs.get(index)?;
        Some((*program, self.statement(index, transaction.at)?))
    }

    /// What the next statement of a transaction needs.
    fn needs(state: &State, index: usize, program: Program, statement: Statement) -> Vec<Need> {
        let Some(transaction) = state.transactions.get(index) else {
            return Vec::new();
        };
        let row = |row: Option<Row>| -> Vec<Need> {
            row.map(|row| Need::Row(row, Mode::Exclusive))
                .into_iter()
                .collect()
        };
        let campaign = |mode| -> Vec<Need> {
            let id = program.campaign(&state.database);
            id.map(|id| Need::Row(Row::CampaignLock(id), mode))
                .into_iter()
                .collect()
        };
        let writes = &transaction.writes;
        let all = |rows: Vec<Row>| rows.into_iter().flat_map(|one| row(Some(one))).collect();
        match statement {
            Statement::LockGate(mode) => vec![Need::Gate(mode)],
            Statement::ClaimTakingLock => vec![Need::Gate(Mode::Shared)],
            Statement::LockQueueRow(mode) => vec![Need::Row(Row::Queue, mode)],
            Statement::ClaimSharingQueueRow => vec![Need::Row(Row::Queue, Mode::Shared)],
            Statement::LockSession => row(program.session().map(Row::Session)),
            Statement::ShareSession => program
                .session()
                .filter(|_| transaction.read.gate.is_none() || transaction.is_open())
                .map(|session| Need::Row(Row::Session(session), Mode::Shared))
                .into_iter()
                .collect(),
            Statement::LockHolder => row(transaction.read.holder.map(Row::Session)),
            Statement::LockCampaign => campaign(Mode::Exclusive),
            Statement::ShareCampaign => campaign(Mode::Shared),
            Statement::LockCampaignAsSeen => {
                campaign(transaction.read.lock.unwrap_or(Mode::Exclusive))
            }
            Statement::LockJob => row(program.job().map(Row::Job)),
            Statement::WriteSessions => {
                all(writes.sessions.keys().copied().map(Row::Session).collect())
            }
            Statement::WriteCampaigns => all(writes
                .campaigns
                .keys()
                .copied()
                .map(Row::Campaign)
                .collect()),
            Statement::WriteJobs => all(writes.jobs.keys().copied().map(Row::Job).collect()),
            Statement::WriteGate => all(gate_rows(writes)),
            Statement::AppendJournal => vec![Need::Journal],
            Statement::ReadGate
            | Statement::LookAtGate
            | Statement::ReadSession
            | Statement::LookAtHolder
            | Statement::ReadHolder
            | Statement::CheckHolder
            | Statement::ReadHeld
            | Statement::ReadCampaigns
            | Statement::ReadCampaign
            | Statement::LookAtCounts
            | Statement::LookAtCountsOnly
            | Statement::CheckStage
            | Statement::CheckCounts
            | Statement::ReadCounts
            | Statement::ReadMarks
            | Statement::ReadAttempt
            | Statement::Propose
            | Statement::ProposeUnlocked
            | Statement::Decide
            | Statement::Commit => Vec::new(),
        }
    }

    /// The transactions that one has to wait for at its next statement; none if it need not wait.
    fn blockers(&self, state: &State, index: usize) -> Vec<usize> {
        let Some((program, statement)) = self.next(state, index) else {
            return Vec::new();
        };
        let needs = Self::needs(state, index, program, statement);
        let ahead: Vec<usize> = state
            .queue
            .iter()
            .copied()
            .take_while(|waiting| *waiting != index)
            .collect();
        let others = state.transactions.iter().enumerate();
        others
            .filter(|(other, _)| *other != index)
            .filter(|(other, transaction)| {
                needs.iter().any(|need| match need {
                    Need::Gate(mode) => {
                        let asked = self
                            .next(state, *other)
                            .and_then(|(_, statement)| statement.gate_mode())
                            .filter(|_| ahead.contains(other));
                        [transaction.gate, asked]
                            .into_iter()
                            .flatten()
                            .any(|held| held.conflicts(*mode))
                    }
                    Need::Row(row, mode) => transaction
                        .rows
                        .get(row)
                        .is_some_and(|held| held.conflicts(*mode)),
                    Need::Journal => transaction.journal,
                })
            })
            .map(|(other, _)| other)
            .collect()
    }

    /// Whether some transactions wait for each other in a circle.
    fn is_deadlocked(&self, state: &State) -> bool {
        let waits: Vec<Vec<usize>> = (0..state.transactions.len())
            .map(|index| match state.transactions.get(index) {
                Some(transaction) if transaction.is_waiting() => self.blockers(state, index),
                _ => Vec::new(),
            })
            .collect();
        (0..waits.len()).any(|first| {
            let mut reached = BTreeSet::new();
            let mut open = waits.get(first).cloned().unwrap_or_default();
            while let Some(next) = open.pop() {
                if reached.insert(next) {
                    open.extend(waits.get(next).into_iter().flatten());
                }
            }
            reached.contains(&first)
        })
    }

    fn waits_for(&self, state: &State, waiting: usize, holding: usize) -> bool {
        let transaction = state.transactions.get(waiting);
        transaction.is_some_and(Transaction::is_waiting)
            && self.blockers(state, waiting).contains(&holding)
    }

    fn step(&self, state: &State, index: usize) -> Option<State> {
        let (program, statement) = self.next(state, index)?;
        let blockers = self.blockers(state, index);
        let mut after = state.clone();
        let transaction = after.transactions.get_mut(index)?;
        if !blockers.is_empty() {
            if transaction.is_waiting() {
                return None;
            }
            let snapshot = statement.keeps_snapshot().then(|| state.database.clone());
            transaction.phase = Phase::Waiting(snapshot.map(Box::new));
            transaction.has_waited = true;
            if statement.gate_mode().is_some() {
                after.queue.push(index);
            }
            return Some(after);
        }
        let snapshot = match std::mem::replace(&mut transaction.phase, Phase::Running) {
            Phase::Waiting(Some(snapshot)) => *snapshot,
            _ => state.database.clone(),
        };
        after.queue.retain(|waiting| *waiting != index);
        if statement == Statement::Commit {
            self.commit(&mut after, index, program)?;
            return Some(after);
        }
        let done = Self::execute(&mut after, index, (program, statement), &snapshot)
            .and_then(|()| self.advance(&mut after, index, program));
        if done.is_err() {
            after.transactions.get_mut(index)?.end(Phase::Refused);
        }
        Some(after)
    }

    /// Runs a statement that need not wait (any longer).
    fn execute(
        state: &mut State,
        index: usize,
        (program, statement): (Program, Statement),
        snapshot: &Database,
    ) -> Result<(), Refused> {
        let needs = Self::needs(state, index, program, statement);
        let locked_by_others: BTreeSet<Row> = state
            .transactions
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index)
            .flat_map(|(_, other)| other.rows.keys().copied())
            .collect();
        let State {
            database,
            transactions,
            ..
        } = state;
        let Some(transaction) = transactions.get_mut(index) else {
            return Ok(());
        };
        transaction.hold(needs);
        let gate = |database: &Database| database.gate().map_err(|e| Refused(e.to_string()));
        let campaign = program.campaign(database);
        let session = |id| database.sessions.get(&id).cloned();
        let counts = |database: &Database| {
            let of_campaign = campaign.and_then(|id| database.counts.get(&id));
            of_campaign.copied().unwrap_or_default()
        };
        let read = &mut transaction.read;
        match statement {
            Statement::ReadGate => read.gate = Some(gate(snapshot)?),
            Statement::LookAtGate => {
                read.is_free = gate(snapshot)?.breakers().all(|breaker| {
                    breaker.state() == CircuitState::Closed && breaker.failure_count() == 0
                });
            }
            Statement::ReadSession | Statement::LockSession | Statement::ShareSession => {
                read.session = program.session().and_then(session);
            }
            Statement::LookAtHolder => read.holder = holder(snapshot, program),
            Statement::LockHolder => {
                read.session = read.holder.and_then(session);
            }
            Statement::ReadHolder => {
                read.session = holder(database, program).and_then(session);
            }
            Statement::ReadHeld => {
                read.is_held = holder(snapshot, program) == program.session();
            }
            Statement::ReadCampaigns => read.campaigns.clone_from(&snapshot.campaigns),
            Statement::LookAtCounts if is_own_pending(snapshot, program) => {}
            Statement::LookAtCounts | Statement::LookAtCountsOnly => {
                read.lock = (counts(snapshot).pending > 0).then_some(Mode::Shared);
            }
            Statement::ReadCampaign
            | Statement::LockCampaign
            | Statement::ShareCampaign
            | Statement::LockCampaignAsSeen => {
                let row = campaign.and_then(|id| database.campaigns.get(&id));
                read.campaigns = row.map(|row| (row.id(), row.clone())).into_iter().collect();
            }
            Statement::LockJob => {
                let row = program.job().and_then(|id| database.jobs.get(&id));
                read.jobs = row.map(|row| (row.id(), row.clone())).into_iter().collect();
            }
            Statement::ReadCounts => read.counts = counts(snapshot),
            Statement::ReadMarks => {
                let of_now = gate(snapshot)?;
                let marks = andon::Marks::of(&of_now, snapshot.campaigns.values());
                read.is_any_marked = marks == andon::Marks::Some;
            }
            Statement::ReadAttempt => {
                let key = program::first_token(program.job());
                read.attempt = key.and_then(|key| snapshot.attempts.get(&key).cloned());
            }
            Statement::ProposeUnlocked => read.jobs.clone_from(&snapshot.jobs),
            Statement::ClaimTakingLock => {
                read.gate = Some(gate(snapshot)?);
                read.campaigns.clone_from(&snapshot.campaigns);
                transaction.propose(snapshot, database, &locked_by_others);
            }
            Statement::ClaimSharingQueueRow => {
                // The row that it has waited for is read afresh, all others are of the snapshot.
                let mut seen = snapshot.clone();
                seen.gate.queue = database.gate.queue.clone();
                read.gate = Some(gate(&seen)?);
                read.campaigns.clone_from(&snapshot.campaigns);
                transaction.propose(snapshot, database, &locked_by_others);
            }
            Statement::Propose => transaction.propose(snapshot, database, &locked_by_others),
            Statement::LockGate(_)
            | Statement::LockQueueRow(_)
            | Statement::CheckHolder
            | Statement::CheckStage
            | Statement::CheckCounts
            | Statement::Decide
            | Statement::WriteSessions
            | Statement::WriteCampaigns
            | Statement::WriteJobs
            | Statement::WriteGate
            | Statement::AppendJournal
            | Statement::Commit => {}
        }
        Ok(())
    }

    /// Goes to the next statement that has something to do; decides on the way, once all is read.
    fn advance(&self, state: &mut State, index: usize, program: Program) -> Result<(), Refused> {
        let Some(transaction) = state.transactions.get_mut(index) else {
            return Ok(());
        };
        loop {
            transaction.at += 1;
            let Some(statement) = self.statement(index, transaction.at) else {
                return Ok(());
            };
            if statement == Statement::CheckHolder {
                transaction.check_holder()?;
            } else if statement == Statement::CheckStage {
                transaction.check_stage()?;
            } else if statement == Statement::CheckCounts {
                transaction.check_counts()?;
            } else if statement == Statement::Decide {
                let decided = program.decide(&transaction.read, &self.names)?;
                transaction.read = Read::default();
                transaction.writes = decided.writes;
                transaction.outcome = decided.outcome;
            } else if transaction.has_to_run(program, statement, &self.names) {
                return Ok(());
            }
        }
    }

    fn commit(&self, state: &mut State, index: usize, program: Program) -> Option<()> {
        let transaction = state.transactions.get_mut(index)?;
        let outcome = transaction.outcome;
        let writes = std::mem::take(&mut transaction.writes);
        transaction.end(Phase::Committed);
        let after = state.database.committed(&writes);
        let commit = Commit {
            program,
            outcome,
            writes: &writes,
            before: &state.database,
            after: &after,
        };
        let mut broken = commit.broken(&self.names);
        if let Outcome::Claimed(_, campaign) | Outcome::Started(campaign) = outcome
            && Self::returned(state).any(|scope| match scope {
                Scope::Line => true,
                Scope::Campaign(paused) => paused == campaign,
            })
        {
            broken.insert(Rule::I16);
        }
        state.broken.extend(broken);
        state.database = after;
        state.order.push(index);
        Some(())
    }

    /// What the pauses hold still that have returned, and that no resume has undone since.
    fn returned(state: &State) -> impl Iterator<Item = Scope> {
        let resumed = state
            .order
            .iter()
            .rposition(|index| matches!(state.outcome(*index), Some(Outcome::Resumed(_))));
        let since = state.order.iter().skip(resumed.unwrap_or_default());
        since.filter_map(|index| {
            let transaction = state.transactions.get(*index)?;
            match (&transaction.phase, transaction.outcome) {
                (Phase::Returned, Outcome::Paused(scope)) => Some(scope),
                (Phase::Returned, Outcome::Resumed(Some(kept))) => Some(Scope::Campaign(kept)),
                _ => None,
            }
        })
    }

    /// What a transaction is called: its program's name, with a number where there are two of it.
    fn name(&self, index: usize) -> String {
        let Some(program) = self.programs.get(index) else {
            return String::from("nobody");
        };
        let name = program.name();
        let alike = |programs: &[Program]| programs.iter().filter(|p| p.name() == name).count();
        let before = self.programs.get(..index).map_or(0, alike);
        match alike(&self.programs) {
            1 => name.to_owned(),
            _ => format!("{name} {}", before + 1),
        }
    }
}

impl Transaction {
    fn hold(&mut self, needs: Vec<Need>) {
        for need in needs {
            match need {
                Need::Gate(mode) => self.gate = Some(mode),
                Need::Row(row, mode) => {
                    let held = self.rows.entry(row).or_insert(mode);
                    *held = mode.max(*held);
                }
                Need::Journal => self.journal = true,
            }
        }
    }

    /// PENDING jobs of the snapshot, the first of each campaign; locked unless others hold them, and looked
    /// at again in their newest version (R21). The store's statement leaves out campaigns that are PAUSED;
    /// here the core has to dispose of them.
    fn propose(&mut self, snapshot: &Database, newest: &Database, locked: &BTreeSet<Row>) {
        for campaign in self.read.campaigns.keys() {
            let is_pending = |job: &&andon::AnyJob| {
                job.campaign() == *campaign && job.stage() == andon::JobStage::Pending
            };
            let proposed = snapshot
                .jobs
                .values()
                .filter(is_pending)
                .filter(|job| !locked.contains(&Row::Job(job.id())))
                .filter_map(|job| newest.jobs.get(&job.id()))
                .filter(is_pending)
                .min_by_key(|job| job.claim_order());
            if let Some(job) = proposed {
                self.rows.insert(Row::Job(job.id()), Mode::Exclusive);
                self.read.jobs.insert(job.id(), job.clone());
            }
        }
    }

    /// Whether it has read that the line is open.
    fn is_open(&self) -> bool {
        let gate: Option<&Gate> = self.read.gate.as_ref();
        gate.is_some_and(|gate| gate.admission().is_ok())
    }

    /// R26. What has changed hands since it was looked at is decided afresh in a new transaction, as for
    /// a success that needs the gate after all.
    fn check_holder(&self) -> Result<(), Refused> {
        let job = self.read.jobs.values().next();
        if job.and_then(andon::AnyJob::holder) == self.read.holder {
            Ok(())
        } else {
            Err(Refused(
                "the job's holder has changed since it was looked at".into(),
            ))
        }
    }

    /// R27. The job was swept in between: decided afresh, as above.
    fn check_stage(&self) -> Result<(), Refused> {
        if self.read.lock == Some(Mode::Shared) && self.read.jobs.values().any(is_pending) {
            return Err(Refused("a job is PENDING that was not".into()));
        }
        Ok(())
    }

    /// R27. The last PENDING job has gone in between: decided afresh, as above.
    fn check_counts(&self) -> Result<(), Refused> {
        if self.read.lock == Some(Mode::Shared) && self.read.counts.pending == 0 {
            return Err(Refused("the campaign has no PENDING job any more".into()));
        }
        Ok(())
    }

    /// Whether a statement has anything to do. A claim on a line that is not open reads no job; a sweep
    /// of a session that holds nothing locks none; nothing is written that does not change.
    fn has_to_run(&self, program: Program, statement: Statement, names: &Names) -> bool {
        match statement {
            Statement::LockGate(_) => !self.read.is_free,
            Statement::ReadCampaigns | Statement::Propose | Statement::ProposeUnlocked => {
                self.is_open()
            }
            Statement::LockHolder => self.read.holder.is_some(),
            Statement::LockCampaignAsSeen
            | Statement::LookAtCounts
            | Statement::LookAtCountsOnly
            | Statement::LockJob
            | Statement::ReadCounts
            | Statement::ReadAttempt => !program.ends_session() || self.read.is_held,
            Statement::WriteSessions => !self.writes.sessions.is_empty(),
            Statement::WriteCampaigns => !self.writes.campaigns.is_empty(),
            Statement::WriteJobs => !self.writes.jobs.is_empty(),
            Statement::WriteGate => !gate_rows(&self.writes).is_empty(),
            Statement::AppendJournal => !self.writes.entries(&names.operator).is_empty(),
            _ => true,
        }
    }
}

fn is_own_pending(database: &Database, program: Program) -> bool {
    let job = program.job().and_then(|id| database.jobs.get(&id));
    job.is_some_and(is_pending)
}

fn is_pending(job: &andon::AnyJob) -> bool {
    job.stage() == andon::JobStage::Pending
}

/// The rows of the gate that are to be written.
fn gate_rows(writes: &Writes) -> Vec<Row> {
    let breakers = (0..writes.breakers.len()).map(Row::Breaker);
    let queue = writes.queue.iter().map(|_| Row::Queue);
    queue.chain(breakers).collect()
}

/// Who holds the program's job.
fn holder(database: &Database, program: Program) -> Option<andon::SessionId> {
    database.jobs.get(&program.job()?)?.holder()
}

impl Model for Transactions {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            database: self.start.clone(),
            transactions: self.programs.iter().map(|_| Transaction::new()).collect(),
            queue: Vec::new(),
            order: Vec::new(),
            broken: BTreeSet::new(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // Nothing is to be learnt from what follows a broken rule.
        if !state.broken.is_empty() {
            return;
        }
        for (index, transaction) in state.transactions.iter().enumerate() {
            match transaction.phase {
                Phase::Running => {
                    actions.push(Action::Step(index));
                    // Before its first statement it is as if it had never come.
                    if transaction.at > 0 {
                        actions.push(Action::BreakOff(index));
                    }
                }
                Phase::Waiting(_) => {
                    if self.blockers(state, index).is_empty() {
                        actions.push(Action::Step(index));
                    }
                    actions.push(Action::BreakOff(index));
                }
                // Only of what pauses does it matter when its caller hears of it (I16).
                Phase::Committed if transaction.outcome.pauses() => {
                    actions.push(Action::Return(index));
                }
                Phase::Committed | Phase::Returned | Phase::Refused | Phase::BrokenOff => {}
            }
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        match action {
            Action::Step(index) => self.step(state, index),
            Action::BreakOff(index) => {
                let mut after = state.clone();
                after.queue.retain(|waiting| *waiting != index);
                after.transactions.get_mut(index)?.end(Phase::BrokenOff);
                Some(after)
            }
            Action::Return(index) => {
                let mut after = state.clone();
                after.transactions.get_mut(index)?.phase = Phase::Returned;
                Some(after)
            }
        }
    }

    fn format_step(&self, state: &State, action: Action) -> Option<String> {
        Some(match action {
            Action::Step(index) => {
                let name = self.name(index);
                let (_, statement) = self.next(state, index)?;
                let blockers = self.blockers(state, index);
                let after = self.step(state, index)?;
                told::sentence(&name, statement, &self.names_of(&blockers), &after, index)
            }
            Action::BreakOff(index) => format!("{} breaks off and rolls back", self.name(index)),
            Action::Return(index) => format!("{} returns to its caller", self.name(index)),
        })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        type P = Property<Transactions>;
        let mut properties = vec![
            P::always("I1: queue ACTIVE only with every breaker CLOSED", |_, s| {
                s.keeps(Rule::I1)
            }),
            P::always(
                "I3: a job paused by itself has a PAUSED campaign",
                |_, s| s.keeps(Rule::I3),
            ),
            P::always("I5: only a resume resumes", |_, s| s.keeps(Rule::I5)),
            P::always(
                "I6: a resume takes effect only with every breaker CLOSED",
                |_, s| s.keeps(Rule::I6),
            ),
            P::always("I7: a reset changes nothing but its breaker", |_, s| {
                s.keeps(Rule::I7)
            }),
            P::always(
                "I8: claims and starts commit only where nothing is paused",
                |_, s| s.keeps(Rule::I8),
            ),
            P::always(
                "I9: tokens only grow, and end once, while current",
                |_, s| s.keeps(Rule::I9),
            ),
            P::always("I10: a final stage changes only by a retry", |_, s| {
                s.keeps(Rule::I10)
            }),
            P::always("I11: jobs are conserved, and counted exactly", |_, s| {
                s.keeps(Rule::I11)
            }),
            P::always(
                "I12: the epoch grows by 1 at each resume, and never else",
                |_, s| s.keeps(Rule::I12),
            ),
            P::always("I15: the journal, folded, gives what is stored", |_, s| {
                s.keeps(Rule::I15)
            }),
            P::always(
                "I16: nothing is claimed or started once a pause has returned",
                |_, s| s.keeps(Rule::I16),
            ),
            P::always("I19: a pause takes no lease", |_, s| s.keeps(Rule::I19)),
            P::always(
                "R21: a claim is allowed at the instant of its commit",
                |_, s| s.keeps(Rule::R21),
            ),
            P::always("R27: no campaign is left unsettled", |_, s| {
                s.keeps(Rule::R27)
            }),
            P::always("R28: nothing is added to what has settled", |_, s| {
                s.keeps(Rule::R28)
            }),
            P::always(
                "serial: a commit does what its command alone would do",
                |_, s| s.keeps(Rule::Serial),
            ),
            P::always("no deadlock", |model, s| !model.is_deadlocked(s)),
        ];
        let sometimes = self.sometimes.iter();
        properties.extend(sometimes.map(|(name, shows)| P::sometimes(name, *shows)));
        properties
    }
}

impl Transactions {
    fn names_of(&self, indices: &[usize]) -> String {
        let names: Vec<String> = indices.iter().map(|index| self.name(*index)).collect();
        names.join(" and ")
    }
}

#[cfg(test)]
mod tests;
