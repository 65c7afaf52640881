//! What happens next, by chance. Each seed has its own weather: what breaks often on one never breaks on
//! another, so that long quiet stretches and storms are both seen.

use crate::action::{Action, Client, OperatorAct, Seen, TaskName, VendorAnswer, WorkerAct};
use crate::rng::Rng;
use crate::world::{OPERATORS, World};

/// How often things break, in a hundred.
#[derive(Debug, Clone, Copy)]
struct Weather {
    lost: usize,
    doubled: usize,
    /// How often a message arrives before something new begins.
    prompt: usize,
    /// How often a command is cut into pieces.
    interrupted: usize,
    vendor_failures: usize,
    crashes: usize,
    clocks: usize,
    partitions: usize,
    operators: usize,
}

/// Chooses.
pub struct Chooser {
    rng: Rng,
    weather: Weather,
}

impl Chooser {
    /// The choices of this seed.
    pub fn new(mut rng: Rng) -> Self {
        let mut often = |these: &[usize]| rng.one_of(these).unwrap_or(0);
        let weather = Weather {
            lost: often(&[0, 3, 15]),
            doubled: often(&[0, 4, 20]),
            prompt: often(&[70, 70, 45, 25]),
            interrupted: often(&[0, 10, 40]),
            vendor_failures: often(&[0, 10, 30, 60]),
            crashes: often(&[0, 0, 4, 12]),
            clocks: often(&[0, 0, 5]),
            partitions: often(&[0, 0, 6]),
            operators: often(&[4, 12, 30]),
        };
        Self { rng, weather }
    }

    /// The next thing to try.
    pub fn next(&mut self, world: &World) -> Action {
        let tasks = world.tasks();
        if self.rng.in_hundred(60)
            && let Some(task) = self.rng.one_of(&tasks)
        {
            return self.go_on(task);
        }
        let letters = world.letters();
        if self.rng.in_hundred(self.weather.prompt)
            && let Some((ask, leg)) = self.rng.one_of(&letters)
        {
            if self.rng.in_hundred(self.weather.lost) {
                return Action::Lose { ask, leg };
            }
            if self.rng.in_hundred(self.weather.doubled) {
                return Action::Duplicate { ask, leg };
            }
            let server = self.server(world);
            return Action::Deliver { ask, leg, server };
        }
        self.something_new(world)
    }

    fn go_on(&mut self, task: TaskName) -> Action {
        let awaits = if self.rng.in_hundred(self.weather.interrupted) {
            u16::from(self.rng.few(12)).saturating_add(1)
        } else {
            80
        };
        Action::GoOn { task, awaits }
    }

    fn server(&mut self, world: &World) -> u8 {
        self.rng.few(world.setup().servers)
    }

    fn worker(&mut self, world: &World) -> u8 {
        self.rng.few(world.setup().workers)
    }

    fn something_new(&mut self, world: &World) -> Action {
        if self.rng.in_hundred(self.weather.crashes) {
            return self.crash(world);
        }
        if self.rng.in_hundred(self.weather.clocks) {
            return self.clock(world);
        }
        if self.rng.in_hundred(self.weather.partitions) {
            return self.partition(world);
        }
        if self.rng.in_hundred(self.weather.operators) {
            return self.operator(world);
        }
        match self.rng.below(10) {
            0..=1 => {
                let times = [5, 100, 500, 1_500, 2_500, 4_500, 12_000];
                let millis = self.rng.one_of(&times).unwrap_or(5);
                Action::Wait { millis }
            }
            2 => Action::BeginPass(self.server(world)),
            _ => {
                let index = self.worker(world);
                let worker = world.workers().get(usize::from(index));
                let act = worker.map_or(WorkerAct::Register, |worker| {
                    worker.choose(&mut self.rng, self.weather.vendor_failures)
                });
                Action::Worker(index, act)
            }
        }
    }

    fn crash(&mut self, world: &World) -> Action {
        match self.rng.below(6) {
            0..=1 => Action::CrashServer(self.server(world)),
            2 => Action::Worker(self.worker(world), WorkerAct::Crash),
            3 => Action::LoseCommit(self.server(world)),
            _ => Action::Worker(self.worker(world), WorkerAct::Stop),
        }
    }

    fn clock(&mut self, world: &World) -> Action {
        let jumps = [-3_600_000, -5_000, -500, 500, 5_000, 15_000, 3_600_000];
        if self.rng.in_hundred(60) {
            let millis = self.rng.one_of(&jumps).unwrap_or(0);
            return Action::DatabaseClock { millis };
        }
        let millis = self.rng.one_of(&[300, 3_000, 60_000]).unwrap_or(0);
        Action::Worker(self.worker(world), WorkerAct::ClockJump { millis })
    }

    fn partition(&mut self, world: &World) -> Action {
        let cut = world.cut();
        if !cut.is_empty() && self.rng.in_hundred(60) {
            let client = self.rng.one_of(&cut).unwrap_or(Client::Worker(0));
            return Action::Heal(client);
        }
        match self.rng.below(4) {
            0..=1 => Action::Cut(Client::Worker(self.worker(world))),
            2 => Action::CutDatabase(self.server(world)),
            _ => Action::HealDatabase(self.server(world)),
        }
    }

    fn operator(&mut self, world: &World) -> Action {
        let index = self.rng.few(OPERATORS);
        let waiting = world.waiting(index);
        if self.rng.in_hundred(20)
            && let Some(number) = self.rng.one_of(&waiting)
        {
            return Action::Operator(index, OperatorAct::GiveUp { number });
        }
        let is_paused = world.rows().gate().admission().is_err();
        let act = if self.rng.in_hundred(if is_paused { 75 } else { 10 }) {
            self.back_to_work()
        } else {
            self.order()
        };
        Action::Operator(index, act)
    }

    fn back_to_work(&mut self) -> OperatorAct {
        if self.rng.in_hundred(50) {
            return OperatorAct::Reset(self.rng.few(2));
        }
        OperatorAct::Resume {
            seen: if self.rng.in_hundred(50) {
                Seen::Sent
            } else {
                Seen::Withheld
            },
            keep: self.rng.in_hundred(15).then(|| self.rng.few(3)),
        }
    }

    fn order(&mut self) -> OperatorAct {
        let (place, job) = (self.rng.few(4), self.rng.few(10));
        match self.rng.below(24) {
            0..=1 => OperatorAct::Pause,
            2..=3 => OperatorAct::Open(self.rng.few(2)),
            4..=5 => OperatorAct::PauseCampaign(place),
            6 => OperatorAct::CancelCampaign(place),
            7 => OperatorAct::CloseCampaign(place),
            8..=9 => OperatorAct::StartCampaign(place),
            10 => OperatorAct::DeleteCampaign(place),
            11 => OperatorAct::Create,
            12..=13 => OperatorAct::Enqueue(place),
            14 => OperatorAct::PauseJob(job),
            15 => OperatorAct::CancelJob(job),
            16..=17 => OperatorAct::RetryJob(job),
            18..=20 => OperatorAct::ExpireLease(job),
            21 => OperatorAct::Acknowledge,
            22 => OperatorAct::HealthCheck(self.rng.few(2), VendorAnswer::Broken),
            _ => OperatorAct::HealthCheck(self.rng.few(2), VendorAnswer::Fine),
        }
    }
}
