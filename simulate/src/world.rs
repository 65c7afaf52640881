//! The whole line in one process: servers, workers, operators, the network between them, and time.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use andon::campaign::Intake;
use andon::{
    Actor, BreakerSettings, By, CallOutcome, CampaignId, Command, ErrorText, JobId, ServiceName,
    Services, StepName, Version,
};
use andon_adapter::line::campaigns::NewCampaign;
use andon_adapter::line::jobs::NewJob;
use andon_adapter::line::queue::ResumeOrder;
use andon_adapter::line::{Line, Settings};
use andon_adapter::store::memory::MemoryStore;
use andon_adapter::wire;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::action::{
    Action, Ask, Client, Leg, OperatorAct, Seen, TaskName, VendorAnswer, WorkerAct,
};
use crate::bug::Bug;
use crate::fnv::Fnv;
use crate::judge::{Judge, Judged, Violation};
use crate::rng::Rng;
use crate::server::{self, Done, Noted, Order, Reply, Request};
use crate::store::{Database, For, Link, ServerStore};
use crate::worker::{Sent, Steps, Worker};

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
/// How long the calm at the end may take: each round is time for everybody.
const CALM_ROUNDS: u32 = 400;

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

#[derive(Default)]
struct OperatorMind {
    number: u32,
    seen: Option<Version>,
    asked: BTreeMap<u32, Arc<Request>>,
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

    /// The campaigns and jobs that are there from the start.
    fn begin(&mut self) -> Judged {
        for campaign in 0..self.setup.campaigns {
            self.ask_at_once(OperatorAct::Create)?;
            for _ in 0..self.setup.jobs {
                self.ask_at_once(OperatorAct::Enqueue(campaign))?;
            }
            if campaign == 0 || campaign.saturating_add(1) < self.setup.campaigns {
                self.ask_at_once(OperatorAct::StartCampaign(campaign))?;
            }
        }
        Ok(())
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

    fn operator(&mut self, index: u8, act: OperatorAct) -> bool {
        if let OperatorAct::GiveUp { number } = act {
            return self.ask_again(index, number);
        }
        let Some(order) = self.order(index, act) else {
            return false;
        };
        let Some(mind) = self.operators.get_mut(usize::from(index)) else {
            return false;
        };
        mind.number = mind.number.saturating_add(1);
        let number = mind.number;
        let request = Arc::new(Request::Order {
            key: format!("{index}-{number}"),
            by: by(index),
            order,
        });
        mind.asked.insert(number, Arc::clone(&request));
        let ask = Ask {
            client: Client::Operator(index),
            number,
            copy: 0,
        };
        let content = Content::Request(request);
        self.letters.insert((ask, Leg::Request), content);
        true
    }

    /// The same request under the same key, as another copy.
    fn ask_again(&mut self, index: u8, number: u32) -> bool {
        let mind = self.operators.get(usize::from(index));
        let Some(request) = mind.and_then(|mind| mind.asked.get(&number)).cloned() else {
            return false;
        };
        let client = Client::Operator(index);
        let Some(copy) = self.next_copy(client, number) else {
            return false;
        };
        let ask = Ask {
            client,
            number,
            copy,
        };
        let content = Content::Request(request);
        self.letters.insert((ask, Leg::Request), content);
        true
    }

    fn next_copy(&mut self, client: Client, number: u32) -> Option<u8> {
        let copies = self.copies.entry((client, number)).or_insert(0);
        *copies = copies.saturating_add(1);
        (*copies < 4).then_some(*copies)
    }

    fn order(&self, operator: u8, act: OperatorAct) -> Option<Order> {
        let seen = self.operators.get(usize::from(operator))?.seen;
        Some(match act {
            OperatorAct::Pause => Order::Pause,
            OperatorAct::Open(service) => Order::Open(service_at(service)?),
            OperatorAct::Reset(service) => Order::Reset(service_at(service)?),
            OperatorAct::Resume { seen: sent, keep } => Order::Resume(ResumeOrder {
                seen: seen.filter(|_| sent == Seen::Sent),
                keep: match keep {
                    Some(campaign) => vec![self.campaign_at(campaign)?],
                    None => Vec::new(),
                },
                service: None,
            }),
            OperatorAct::PauseCampaign(at) => Order::PauseCampaign(self.campaign_at(at)?),
            OperatorAct::CancelCampaign(at) => Order::CancelCampaign(self.campaign_at(at)?),
            OperatorAct::CloseCampaign(at) => Order::Close(self.campaign_at(at)?),
            OperatorAct::StartCampaign(at) => Order::Start(self.campaign_at(at)?),
            OperatorAct::DeleteCampaign(at) => Order::Delete(self.campaign_at(at)?),
            OperatorAct::Create => Order::Create(self.new_campaign()?),
            OperatorAct::Enqueue(at) => {
                let job = NewJob {
                    max_attempts: 3,
                    ..NewJob::new("lead", Value::Null)
                };
                Order::Enqueue(self.campaign_at(at)?, job)
            }
            OperatorAct::PauseJob(at) => Order::PauseJob(self.job_at(at)?),
            OperatorAct::CancelJob(at) => Order::CancelJob(self.job_at(at)?),
            OperatorAct::RetryJob(at) => Order::RetryJob(self.job_at(at)?),
            OperatorAct::HealthCheck(service, answer) => {
                let outcome = match answer {
                    VendorAnswer::Fine => CallOutcome::Success,
                    VendorAnswer::Broken => CallOutcome::Failure(ErrorText::new("503")),
                };
                Order::HealthCheck(service_at(service)?, outcome)
            }
            OperatorAct::GiveUp { .. } => return None,
        })
    }

    /// Lines stay small: of campaigns there are four at most.
    fn new_campaign(&self) -> Option<NewCampaign> {
        let count = self.judge.line.campaigns().count();
        (count < 4).then(|| NewCampaign {
            name: format!("campaign {count}"),
            description: None,
            metadata: Value::Object(Map::new()),
            intake: if count % 2 == 1 {
                Intake::OpenEnded
            } else {
                Intake::Closed
            },
            jobs: Vec::new(),
        })
    }

    fn campaign_at(&self, place: u8) -> Option<CampaignId> {
        let mut campaigns = self.judge.line.campaigns();
        campaigns
            .nth(usize::from(place))
            .map(andon::AnyCampaign::id)
    }

    fn job_at(&self, place: u8) -> Option<JobId> {
        let mut jobs = self.judge.line.jobs();
        jobs.nth(usize::from(place)).map(andon::AnyJob::id)
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
            (Some(request), _) => server::core_command(request),
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

    /// An operator asks, and everything goes well.
    fn ask_at_once(&mut self, act: OperatorAct) -> Judged {
        if self.operator(0, act) {
            self.go_well(Client::Operator(0))?;
        }
        Ok(())
    }

    /// All messages of a client arrive, and all its requests are answered.
    fn go_well(&mut self, client: Client) -> Judged {
        for _ in 0..4 {
            let of_client =
                |(ask, leg): &(Ask, Leg)| (ask.client == client).then_some((*ask, *leg));
            let letters: Vec<_> = self.letters.keys().filter_map(of_client).collect();
            for (ask, leg) in letters {
                self.deliver(ask, leg, 0)?;
            }
            for name in self.tasks() {
                self.go_on(name, TO_THE_END)?;
            }
        }
        Ok(())
    }

    /// L1: once nothing breaks any more and the line is resumed, every job of a started campaign becomes
    /// final.
    ///
    /// # Errors
    /// What must not happen, or if it does not come to that.
    pub fn calm_down(&mut self) -> Judged {
        self.is_calm = true;
        self.heal()?;
        let services = u8::try_from(SERVICES.len()).unwrap_or(0);
        for round in 0..CALM_ROUNDS {
            for service in 0..services {
                self.ask_at_once(OperatorAct::Reset(service))?;
            }
            if self.judge.line.gate().admission().is_err() || round % 8 == 0 {
                let (seen, keep) = (Seen::Withheld, None);
                self.ask_at_once(OperatorAct::Resume { seen, keep })?;
            }
            if self.unfinished() == 0 {
                return self.judge.finish();
            }
            for worker in 0..self.setup.workers {
                for slot in [0, 1] {
                    let Some(acting) = self.workers.get(usize::from(worker)) else {
                        continue;
                    };
                    let act = acting.choose_calmly(slot);
                    self.worker(worker, act)?;
                    self.go_well(Client::Worker(worker))?;
                }
                self.worker(worker, WorkerAct::Beat)?;
                self.go_well(Client::Worker(worker))?;
            }
            self.begin_pass(0);
            self.go_well(Client::Operator(0))?;
            // Short first, so that permits are good; longer, so that back-off and dead sessions are over.
            let millis = if round % 8 == 7 { 30_000 } else { 100 };
            self.happen(&Action::Wait { millis })?;
        }
        let what = format!("{} jobs are not final", self.unfinished());
        Err(Violation::of("L1", what))
    }

    fn heal(&mut self) -> Judged {
        self.cut.clear();
        self.letters.clear();
        // The database's clock is put right: leases and back-offs from when it was ahead are over then.
        let now = i64::try_from(self.now).unwrap_or(i64::MAX);
        self.offset = self.latest.saturating_sub(now);
        self.set_clock();
        for server in 0..self.setup.servers {
            self.set_link(server, |link| &link.is_cut, false);
            self.set_link(server, |link| &link.is_commit_lost, false);
            self.crash(server);
            self.go_on(TaskName::StartUp(server), TO_THE_END)?;
        }
        for worker in 0..self.setup.workers {
            self.worker(worker, WorkerAct::Crash)?;
        }
        Ok(())
    }

    fn unfinished(&self) -> u64 {
        let line = &self.judge.line;
        let running = line
            .campaigns()
            .filter(|campaign| campaign.stage() == andon::CampaignStage::Running);
        running
            .map(|campaign| line.job_counts(campaign.id()).unfinished())
            .sum()
    }
}

impl OperatorMind {
    fn hear(&mut self, number: u32, reply: &Reply) {
        let version = match reply {
            Reply::Done(done) => Version::new(done.version).ok(),
            Reply::Refused(refused) => refused.version,
            _ => None,
        };
        self.seen = self.seen.max(version);
        // It asks again what the server could not do.
        if !matches!(reply, Reply::Failed) {
            self.asked.remove(&number);
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

fn by(operator: u8) -> By {
    let name = server::name(
        ["ada", "bob"]
            .get(usize::from(operator))
            .unwrap_or(&"nightly"),
    );
    By::actor(if operator.saturating_add(1) == OPERATORS {
        Actor::Automation(name)
    } else {
        Actor::Operator(name)
    })
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
