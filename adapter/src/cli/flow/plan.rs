//! What is sent through the line.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use crate::sim::pipeline;
use crate::wire::NewJob;

/// How much is sent, and how.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Plan {
    /// What the names of its campaigns begin with; no other run's do.
    pub(super) tag: String,
    /// How many campaigns.
    pub(super) campaigns: u32,
    /// How many leads each of them has.
    pub(super) leads: u32,
    /// How long after one campaign the next one is created.
    #[serde(skip)]
    pub(super) stagger: Duration,
    /// The job that stands for a lead; none for the lead-generation pipeline.
    pub(super) job: Option<NewJob>,
}

impl Plan {
    /// A name that no other run has.
    pub(super) fn new_tag() -> String {
        let id = uuid::Uuid::new_v4().simple().to_string();
        format!("flow {}", id.get(..8).unwrap_or(&id))
    }

    /// The campaigns to create, as `POST /campaigns` takes them.
    pub(super) fn bodies(&self) -> Vec<Value> {
        let mut bodies = match &self.job {
            None => pipeline::campaigns(pipeline::Plan {
                campaigns: self.campaigns,
                leads_per_campaign: self.leads,
            }),
            Some(job) => {
                let jobs: Vec<&NewJob> = (0..self.leads).map(|_| job).collect();
                (0..self.campaigns).map(|_| json!({"jobs": jobs})).collect()
            }
        };
        for (number, body) in (1..).zip(&mut bodies) {
            body["name"] = format!("{} {number:03}", self.tag).into();
            body["description"] = "made by andon flow".into();
            body["metadata"] = json!({"flow": self.tag, "leads": self.leads});
        }
        bodies
    }

    /// The kinds of jobs that workers are needed for.
    pub(super) fn kinds(&self) -> Vec<String> {
        match &self.job {
            None => pipeline::handlers().kinds(),
            Some(job) => vec![job.kind.clone()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(job: Option<NewJob>) -> Plan {
        Plan {
            tag: Plan::new_tag(),
            campaigns: 2,
            leads: 3,
            stagger: Duration::ZERO,
            job,
        }
    }

    #[test]
    fn campaigns_of_a_run_bear_its_tag_and_search_leads() {
        let plan = plan(None);
        let bodies = plan.bodies();
        assert_eq!(bodies.len(), 2);
        assert_eq!(bodies[1]["name"], format!("{} 002", plan.tag));
        assert_eq!(bodies[0]["jobs"][0]["kind"], "fetch_leads");
        assert_eq!(bodies[0]["jobs"][0]["payload"]["leads_max"], 3);
        assert!(plan.kinds().contains(&"enrich_lead".to_owned()));
        assert_ne!(plan.tag, Plan::new_tag());
    }

    #[test]
    fn a_job_given_stands_for_each_lead() {
        let plan = plan(Some(NewJob::new("http", json!({"path": "/leads"}))));
        let bodies = plan.bodies();
        assert_eq!(bodies[1]["jobs"].as_array().unwrap().len(), 3);
        assert_eq!(bodies[0]["jobs"][2]["payload"]["path"], "/leads");
        assert_eq!(plan.kinds(), ["http"]);
    }
}
