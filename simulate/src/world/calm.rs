//! When everything goes well: as a line begins, and as every run ends.

use super::{SERVICES, TO_THE_END, World};
use crate::action::WorkerAct;
use crate::action::{Action, Ask, Client, Leg, OperatorAct, Seen, TaskName};
use crate::judge::{Judged, Violation};

/// How long the calm at the end may take: each round is time for everybody.
const CALM_ROUNDS: u32 = 400;

impl World {
    /// The campaigns and jobs that are there from the start.
    pub(super) fn begin(&mut self) -> Judged {
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
