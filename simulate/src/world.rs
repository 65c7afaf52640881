//! The whole line in one process: servers, workers, operators, the network between them, and time.

mod calm;
mod orders;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use andon::{BreakerSettings, CampaignId, Command, ServiceName, Services, StepName};
use andon_adapter::line::{Line, Settings};
use andon_adapter::store::memory::MemoryStore;
use andon_adapter::wire;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::action::{Action, Ask, Client, Leg, TaskName, WorkerAct};
use crate::bug::Bug;
use crate::core_words;
use crate::fnv::Fnv;
use crate::judge::{Judge, Judged, Violation};
use crate::rng::Rng;
use crate::server::{self, Done, Noted, Reply, Request};
use crate::store::{Database, For, Link, ServerStore};
use crate::worker::{Sent, Steps, Worker};
use orders::OperatorMind;

/// For how long a confirmation is good (R30).
const TTL: Duration = Duration::from_secs(2);
/// 1 January 2026, 12:00:00: what the database's clock shows at first.
const NOON: i64 = 1_767_268_800_000_000;
/// The outside services.
const SERVICES: [&str; 2] = ["apollo", "openai"];
/// Two operators and, as the last, a program that may pause and open only (R36).
pub const OPERATORS: u8 = 3;
/// Enough awaits for any command.
const TO_THE_END: u16 = 400;

/// How a line begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Setup {
    /// How many servers.
    pub servers: u8,
    /// How many workers.
    pub workers: u8,
    /// How many campaigns, the last of which is open-ended and not started.
    pub campaigns: u8,
    /// How many jobs in each.
    pub jobs: u8,
    /// How many failures open a breaker.
    pub threshold: u32,
    /// After how long an OPEN breaker turns HALF_OPEN, in seconds.
    pub cool_down: Option<u32>,
    /// How slow or fast the workers' clocks are, in parts per million.
    pub skew: i64,
}

impl Setup {
    /// A line by chance.
    pub fn random(rng: &mut Rng) -> Self {
        Self {
            servers: rng.few(3).saturating_add(1),
            workers: rng.few(3).saturating_add(1),
            campaigns: rng.few(3).saturating_add(1),
            jobs: rng.few(3).saturating_add(1),
            threshold: if rng.in_hundred(60) { 1 } else { 2 },
            cool_down: rng.in_hundred(30).then_some(5),
            skew: i64::try_from(rng.below(1001))
                .unwrap_or(0)
                .saturating_sub(500),
        }
    }
}

struct Server {
    line: Line,
    link: Arc<Link>,
    is_up: bool,
    /// What it read once: for [`Bug::GateCached`].
    cached: Option<(u64, wire::Gate)>,
}

#[derive(Clone)]
enum Content {
    Request(Arc<Request>),
    Reply(Reply),
}

struct Task {
    server: u8,
    work: For,
    request: Option<Arc<Request>>,
    noted: Noted,
    future: BoxFuture<'static, Reply>,
}

/// Whether what happens is put into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// It is.
    Told,
    /// It is not.
    Silent,
}

/// Everything.
pub struct World {
    setup: Setup,
    bug: Option<Bug>,
    rows: MemoryStore,
    database: Arc<Database>,
    now: u64,
    offset: i64,
    /// The latest that the database's clock has shown.
    latest: i64,
    servers: Vec<Server>,
    workers: Vec<Worker>,
    operators: Vec<OperatorMind>,
    letters: BTreeMap<(Ask, Leg), Content>,
    copies: BTreeMap<(Client, u32), u8>,
    tasks: BTreeMap<TaskName, Task>,
    cut: BTreeSet<Client>,
    judge: Judge,
    hash: Fnv,
    telling: Telling,
    /// At the end nothing breaks any more, and nothing of it is told: it is the same each time.
    is_calm: bool,
    told: Vec<String>,
}

impl World {
    /// A line that has begun.
    ///
    /// # Errors
    /// What must not happen.
    pub fn new(setup: Setup, bug: Option<Bug>, telling: Telling) -> Result<Self, Violation> {
        let database = Database::new(NOON);
        let shown = Arc::clone(&database);
        let rows = MemoryStore::with_clock(Arc::new(move || shown.now()));
        let ttl = u64::try_from(TTL.as_micros()).unwrap_or(u64::MAX);
        let skews = [setup.skew, setup.skew.saturating_neg(), 0];
        let workers = (0..setup.workers).zip(skews.into_iter().cycle());
        let mut world = Self {
            setup,
            bug,
            database,
            now: 0,
            offset: NOON,
            latest: NOON,
            servers: Vec::new(),
            workers: workers
                .map(|(index, skew)| Worker::new(index, skew, steps(), bug))
                .collect(),
            operators: (0..OPERATORS).map(|_| OperatorMind::default()).collect(),
            letters: BTreeMap::new(),
            copies: BTreeMap::new(),
            tasks: BTreeMap::new(),
            cut: BTreeSet::new(),
            judge: Judge::new(rows.clone(), ttl),
            rows,
            hash: Fnv::default(),
            telling,
            is_calm: false,
            told: Vec::new(),
        };
        for server in 0..setup.servers {
            let link = Arc::new(Link::default());
            let begun = world.line(&link);
            world.servers.push(Server {
                line: begun,
                link,
                is_up: false,
                cached: None,
            });
            world.start(server);
            world.go_on(TaskName::StartUp(server), TO_THE_END)?;
        }
        world.begin()?;
        Ok(world)
    }

    fn line(&self, link: &Arc<Link>) -> Line {
        let store = ServerStore::new(
            self.rows.clone(),
            Arc::clone(&self.database),
            Arc::clone(link),
        );
        let settings = Settings {
            services: services(&self.setup),
            gate_ttl: TTL,
        };
        Line::new(Arc::new(store), settings)
    }

    /// What identifies all that has happened so far.
    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }

    /// What has happened, in words.
    pub fn told(&self) -> &[String] {
        &self.told
    }

    /// What has been committed so far.
    pub fn commits(&self) -> u64 {
        self.judge.commits()
    }

    /// The rows as of the last commit.
    pub fn rows(&self) -> &andon::Line {
        &self.judge.line
    }

    /// Messages on their way that can arrive or be lost.
    pub fn letters(&self) -> Vec<(Ask, Leg)> {
        let can_arrive = |ask: &Ask| !self.cut.contains(&ask.client);
        let letters = self.letters.keys().filter(|(ask, _)| can_arrive(ask));
        letters.copied().collect()
    }

    /// What servers are doing.
    pub fn tasks(&self) -> Vec<TaskName> {
        self.tasks.keys().copied().collect()
    }

    /// The workers.
    pub fn workers(&self) -> &[Worker] {
        &self.workers
    }

    /// The requests of an operator that are not answered.
    pub fn waiting(&self, operator: u8) -> Vec<u32> {
        let operator = self.operators.get(usize::from(operator));
        operator.map_or(Vec::new(), |it| it.asked.keys().copied().collect())
    }

    /// How a line began.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Clients that are cut off.
    pub fn cut(&self) -> Vec<Client> {
        self.cut.iter().copied().collect()
    }

    /// Lets one thing happen. `false`: it was not possible.
    ///
    /// # Errors
    /// What must not happen.
    pub fn act(&mut self, action: &Action) -> Result<bool, Violation> {
        if self.telling == Telling::Told {
            self.told.push(action.to_string());
        }
        let has_happened = self.happen(action);
        if let Ok(false) = has_happened {
            if self.telling == Telling::Told {
                self.told.pop();
            }
        } else {
            action.hash(&mut self.hash);
        }
        has_happened
    }

    fn happen(&mut self, action: &Action) -> Result<bool, Violation> {
        Ok(match *action {
            Action::Wait { millis } => {
                self.now = self
                    .now
                    .saturating_add(u64::from(millis).saturating_mul(1000));
                self.set_clock();
                true
            }
            Action::DatabaseClock { millis } => {
                let micros = i64::from(millis).saturating_mul(1000);
                self.offset = self.offset.saturating_add(micros);
                self.set_clock();
                true
            }
            Action::Worker(worker, act) => return self.worker(worker, act),
            Action::Operator(operator, act) => self.operator(operator, act),
            Action::Deliver { ask, leg, server } => return self.deliver(ask, leg, server),
            Action::Duplicate { ask, leg } => self.duplicate(ask, leg),
            Action::Lose { ask, leg } => self.letters.remove(&(ask, leg)).is_some(),
            Action::GoOn { task, awaits } => return self.go_on(task, awaits),
            Action::BeginPass(server) => self.begin_pass(server),
            Action::CrashServer(server) => self.crash(server),
            Action::Cut(client) => self.cut.insert(client),
            Action::Heal(client) => self.cut.remove(&client),
            Action::CutDatabase(server) => self.set_link(server, |link| &link.is_cut, true),
            Action::HealDatabase(server) => self.set_link(server, |link| &link.is_cut, false),
            Action::LoseCommit(server) => self.set_link(server, |link| &link.is_commit_lost, true),
        })
    }

    fn set_clock(&mut self) {
        let now = i64::try_from(self.now).unwrap_or(i64::MAX);
        let shown = now.saturating_add(self.offset);
        self.latest = self.latest.max(shown);
        self.database.set_clock(shown);
    }

    fn set_link(
        &self,
        server: u8,
        which: fn(&Link) -> &std::sync::atomic::AtomicBool,
        to: bool,
    ) -> bool {
        let server = self.servers.get(usize::from(server));
        server.is_some_and(|server| which(&server.link).swap(to, Ordering::SeqCst) != to)
    }

    fn worker(&mut self, index: u8, act: WorkerAct) -> Result<bool, Violation> {
        let mut sent = Sent::default();
        let Some(worker) = self.workers.get_mut(usize::from(index)) else {
            return Ok(false);
        };
        let has_happened = worker.act(act, self.now, &mut self.judge, &mut sent)?;
        for (number, request) in sent.0 {
            let ask = Ask {
                client: Client::Worker(index),
                number,
                copy: 0,
            };
            let content = Content::Request(Arc::new(request));
            self.letters.insert((ask, Leg::Request), content);
        }
        Ok(has_happened)
    }

    fn deliver(&mut self, ask: Ask, leg: Leg, server: u8) -> Result<bool, Violation> {
        if self.cut.contains(&ask.client) {
            return Ok(false);
        }
        if leg == Leg::Answer {
            return self.deliver_answer(ask);
        }
        let is_up = self
            .servers
            .get(usize::from(server))
            .is_some_and(|server| server.is_up);
        if !is_up {
            return Ok(false);
        }
        let Some(Content::Request(request)) = self.letters.remove(&(ask, leg)) else {
            return Ok(false);
        };
        let Some(to) = self.servers.get(usize::from(server)) else {
            return Ok(false);
        };
        let noted = Noted::default();
        let task = Task {
            server,
            work: match *request {
                Request::Claim(_) => For::Claim,
                _ => For::Other,
            },
            future: server::answer(
                to.line.clone(),
                Arc::clone(&request),
                noted.clone(),
                self.bug,
            ),
            noted,
            request: Some(request),
        };
        self.tasks.insert(TaskName::Ask(ask), task);
        Ok(true)
    }

    fn deliver_answer(&mut self, ask: Ask) -> Result<bool, Violation> {
        let key = (ask, Leg::Answer);
        if let Client::Worker(index) = ask.client {
            let worker = self.workers.get(usize::from(index));
            if worker.is_none_or(|worker| worker.is_stopped) {
                return Ok(false);
            }
        }
        let Some(Content::Reply(reply)) = self.letters.remove(&key) else {
            return Ok(false);
        };
        match ask.client {
            Client::Worker(index) => {
                if let Some(worker) = self.workers.get_mut(usize::from(index)) {
                    worker.hear(ask.number, &reply, self.now, &self.judge)?;
                }
            }
            Client::Operator(index) => {
                if let Some(mind) = self.operators.get_mut(usize::from(index)) {
                    mind.hear(ask.number, &reply);
                }
            }
        }
        Ok(true)
    }

    fn duplicate(&mut self, ask: Ask, leg: Leg) -> bool {
        let Some(content) = self.letters.get(&(ask, leg)).cloned() else {
            return false;
        };
        let Some(copy) = self.next_copy(ask.client, ask.number) else {
            return false;
        };
        self.letters.insert((Ask { copy, ..ask }, leg), content);
        true
    }

    fn start(&mut self, server: u8) {
        let Some(started) = self.servers.get(usize::from(server)) else {
            return;
        };
        let line = started.line.clone();
        let task = Task {
            server,
            work: For::Other,
            request: None,
            noted: Noted::default(),
            future: Box::pin(async move { done_or_failed(line.start_up().await.is_ok()) }),
        };
        self.tasks.insert(TaskName::StartUp(server), task);
    }

    fn begin_pass(&mut self, server: u8) -> bool {
        let name = TaskName::Pass(server);
        let Some(at) = self.servers.get(usize::from(server)) else {
            return false;
        };
        if !at.is_up || self.tasks.contains_key(&name) {
            return false;
        }
        let line = at.line.clone();
        let task = Task {
            server,
            work: For::Pass,
            request: None,
            noted: Noted::default(),
            future: Box::pin(async move { done_or_failed(line.pass().await.is_ok()) }),
        };
        self.tasks.insert(name, task);
        true
    }

    fn crash(&mut self, server: u8) -> bool {
        let Some(link) = self
            .servers
            .get(usize::from(server))
            .map(|it| Arc::clone(&it.link))
        else {
            return false;
        };
        self.tasks.retain(|_, task| task.server != server);
        let begun = self.line(&link);
        if let Some(crashed) = self.servers.get_mut(usize::from(server)) {
            crashed.line = begun;
            crashed.is_up = false;
            crashed.cached = None;
        }
        self.start(server);
        true
    }

    fn go_on(&mut self, name: TaskName, awaits: u16) -> Result<bool, Violation> {
        let Some(mut task) = self.tasks.remove(&name) else {
            return Ok(false);
        };
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..awaits {
            self.database.begin_work(self.bug, task.work);
            let polled = task.future.as_mut().poll(&mut context);
            self.check_commit(name, &task)?;
            if let Poll::Ready(reply) = polled {
                self.finish(name, &task, reply)?;
                return Ok(true);
            }
        }
        self.tasks.insert(name, task);
        Ok(true)
    }

    fn check_commit(&mut self, name: TaskName, task: &Task) -> Judged {
        let Some(commit) = self.database.take_commit() else {
            return Ok(());
        };
        let command = match (&task.request, name) {
            (Some(request), _) => core_words::command(request),
            (None, TaskName::StartUp(_)) => Command::Configure {
                services: services(&self.setup),
            },
            (None, _) if commit.has_ended_a_session => Command::Sweep,
            (None, _) if commit.has_written_the_gate => Command::Tick,
            (None, _) if commit.has_locked_a_campaign => Command::SettleCampaign {
                campaign: CampaignId::from_u128(0),
            },
            (None, _) => Command::Sweep,
        };
        let answer = task.noted.answer();
        let request = task.request.as_deref();
        let judged = self
            .judge
            .committed(self.now, &commit, &command, &answer, request);
        self.judge.line.hash(&mut self.hash);
        if self.telling == Telling::Told && !self.is_calm {
            let gate = self.judge.line.gate();
            let (version, state) = (gate.version(), gate.queue().state());
            let text = format!("  committed: {command:?}: version {version}, queue {state}");
            self.told.push(text);
        }
        judged
    }

    fn finish(&mut self, name: TaskName, task: &Task, reply: Reply) -> Judged {
        let reply = self.cached(task, reply);
        self.judge.answered(&reply)?;
        let index = usize::from(task.server);
        match name {
            TaskName::Ask(ask) => {
                if self.telling == Telling::Told && !self.is_calm {
                    self.told.push(format!("  answered: {}", shown(&reply)));
                }
                let content = Content::Reply(reply);
                self.letters.insert((ask, Leg::Answer), content);
            }
            TaskName::StartUp(server) => match reply {
                // As a supervisor does: again.
                Reply::Failed => self.start(server),
                _ => {
                    if let Some(server) = self.servers.get_mut(index) {
                        server.is_up = true;
                    }
                }
            },
            TaskName::Pass(_) => {}
        }
        Ok(())
    }

    /// [`Bug::GateCached`]: confirmations from what was read up to half a minute ago.
    fn cached(&mut self, task: &Task, reply: Reply) -> Reply {
        if self.bug != Some(Bug::GateCached) {
            return reply;
        }
        let Some(server) = self.servers.get_mut(usize::from(task.server)) else {
            return reply;
        };
        let fresh = reply.gate().cloned().map(|gate| (self.now, gate));
        let is_old = |(at, _): &(u64, _)| self.now.saturating_sub(*at) >= 30_000_000;
        if server.cached.as_ref().is_none_or(is_old) {
            server.cached = fresh;
        }
        match (&reply, &server.cached) {
            (Reply::Gate(_), Some((_, cached))) => Reply::Gate(cached.clone()),
            _ => reply,
        }
    }
}

fn shown(reply: &Reply) -> String {
    match reply {
        Reply::Refused(refused) => format!("refused: {}", refused.why),
        other => format!("{other:?}"),
    }
}

fn done_or_failed(is_done: bool) -> Reply {
    if is_done {
        Reply::Done(Done::default())
    } else {
        Reply::Failed
    }
}

#[expect(clippy::expect_used, reason = "the names are literals of this file")]
fn service(name: &str) -> ServiceName {
    ServiceName::new(name).expect("a short name is valid")
}

fn service_at(place: u8) -> Option<ServiceName> {
    SERVICES.get(usize::from(place)).map(|name| service(name))
}

#[expect(clippy::expect_used, reason = "the names are literals of this file")]
fn steps() -> Steps {
    let step = |name| StepName::new(name).expect("a short name is valid");
    vec![
        (step("find"), service("apollo")),
        (step("write"), service("openai")),
    ]
}

fn services(setup: &Setup) -> Services {
    let cool_down = setup
        .cool_down
        .map(|seconds| Duration::from_secs(seconds.into()));
    let settings = BreakerSettings::new(setup.threshold, cool_down).unwrap_or_default();
    let names = SERVICES.into_iter().map(service);
    names.map(|name| (name, settings)).collect()
}
