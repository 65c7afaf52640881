//! Operators: what they order, and what they remember.

use std::collections::BTreeMap;
use std::sync::Arc;

use andon::campaign::Intake;
use andon::{Actor, By, CallOutcome, CampaignId, ErrorText, JobId, Version};
use andon_adapter::line::campaigns::NewCampaign;
use andon_adapter::line::jobs::NewJob;
use andon_adapter::line::queue::ResumeOrder;
use serde_json::{Map, Value};

use super::{Content, OPERATORS, World, service_at};
use crate::action::{Ask, Client, Leg, OperatorAct, Seen, VendorAnswer};
use crate::server::{self, Order, Reply, Request};

#[derive(Default)]
pub(super) struct OperatorMind {
    pub(super) number: u32,
    pub(super) seen: Option<Version>,
    pub(super) asked: BTreeMap<u32, Arc<Request>>,
}

impl World {
    pub(super) fn operator(&mut self, index: u8, act: OperatorAct) -> bool {
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

    pub(super) fn next_copy(&mut self, client: Client, number: u32) -> Option<u8> {
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
            OperatorAct::ExpireLease(at) => Order::ExpireLease(self.held_at(at)?),
            OperatorAct::Acknowledge => Order::Acknowledge(self.judge.line.gate().epoch()),
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

    /// One of the jobs that are held, or any if none is: most such orders are to have an effect.
    fn held_at(&self, place: u8) -> Option<JobId> {
        let held = self.judge.line.jobs().filter(|job| job.holder().is_some());
        let held: Vec<JobId> = held.map(andon::AnyJob::id).collect();
        let chosen = usize::from(place).checked_rem(held.len());
        chosen
            .and_then(|at| held.get(at).copied())
            .or_else(|| self.job_at(place))
    }

    fn job_at(&self, place: u8) -> Option<JobId> {
        let mut jobs = self.judge.line.jobs();
        jobs.nth(usize::from(place)).map(andon::AnyJob::id)
    }
}

impl OperatorMind {
    pub(super) fn hear(&mut self, number: u32, reply: &Reply) {
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
