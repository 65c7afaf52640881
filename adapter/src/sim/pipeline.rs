//! The lead-generation pipeline on the simulated vendors, written as a user of andon would write it.
//!
//! | kind | calls | then |
//! | --- | --- | --- |
//! | `fetch_leads` | Apollo, page after page | spawns one `enrich_lead` per lead, unique by the lead's id, and one `cleanup_campaign` |
//! | `enrich_lead` | `MillionVerifier`, Perplexity, `OpenAI`, Instantly | the lead is in the mail campaign |
//! | `cleanup_campaign` | none | sums up |
//!
//! Each call is a recorded step (R34) and sends its idempotency key: a lead whose third call stopped
//! the line does not pay for the first two again.
//!
//! ```
//! use andon_adapter::sim::pipeline::{Plan, campaigns, handlers};
//!
//! let plan = Plan { campaigns: 3, leads_per_campaign: 200 };
//! assert_eq!(campaigns(plan).len(), 3);
//! assert_eq!(handlers().kinds(), ["cleanup_campaign", "enrich_lead", "fetch_leads"]);
//! ```

use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::vendors::{Service, VendorsHandle};
use crate::wire::NewJob;
use crate::worker::{
    CallRequest, Handlers, JobContext, JobError, JobOutcome, JobResult, ServiceClient,
};

/// How much there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// How many campaigns.
    pub campaigns: u32,
    /// How many leads each of them looks for. The search must have as many.
    pub leads_per_campaign: u32,
}

/// The payload of a `fetch_leads` job: a search of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// What the leads are to be about; each campaign has its own, and so its own leads.
    pub q_keywords: String,
    /// How many leads to take at most.
    pub leads_max: u32,
}

/// The payload of an `enrich_lead` job: a lead as the search found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lead {
    /// Identifies the lead.
    pub id: String,
    /// First name.
    pub first_name: String,
    /// Title at the company.
    pub title: String,
    /// Address.
    pub email: String,
    /// The company's name.
    pub company: String,
}

/// The handlers of the pipeline.
pub fn handlers() -> Handlers {
    Handlers::new()
        .on("fetch_leads", fetch_leads)
        .on("enrich_lead", enrich_lead)
        .on("cleanup_campaign", cleanup_campaign)
}

/// The five services as the simulated vendors play them, each with this deadline.
pub fn services(vendors: &VendorsHandle, deadline: Duration) -> Vec<ServiceClient> {
    let client = |service: Service| {
        let (mut headers, mut query) = (Vec::new(), Vec::new());
        let key = SecretString::from(format!("simulated-{service}-key"));
        match service {
            Service::Apollo => headers.push(("x-api-key".to_owned(), key)),
            Service::MillionVerifier => query.push(("api".to_owned(), key)),
            Service::Perplexity | Service::OpenAi | Service::Instantly => {
                let bearer = SecretString::from(format!("Bearer simulated-{service}-key"));
                headers.push(("authorization".to_owned(), bearer));
            }
        }
        ServiceClient {
            deadline,
            headers,
            query,
            ..ServiceClient::new(service.name(), vendors.base_url(service))
        }
    };
    Service::ALL.into_iter().map(client).collect()
}

/// The bodies that create the campaigns of a plan: each with one `fetch_leads` job.
pub fn campaigns(plan: Plan) -> Vec<Value> {
    let campaign = |number: u32| {
        let search = Search {
            q_keywords: format!("example buyers {number:03}"),
            leads_max: plan.leads_per_campaign,
        };
        json!({
            "name": format!("Example campaign {number:03}"),
            "description": format!("Mail to {} generated leads", plan.leads_per_campaign),
            "metadata": {"leads": plan.leads_per_campaign},
            "jobs": [{"kind": "fetch_leads", "payload": search, "unique_key": "fetch_leads"}],
        })
    };
    (1..=plan.campaigns).map(campaign).collect()
}

/// Searches leads page by page; each page is a step.
async fn fetch_leads(cx: JobContext, search: Search) -> JobResult {
    let mut leads: Vec<Lead> = Vec::new();
    let wanted = usize::try_from(search.leads_max).unwrap_or(usize::MAX);
    for page in 1.. {
        let request = CallRequest::post("/v1/mixed_people/search").json(json!({
            "page": page, "per_page": PER_PAGE, "q_keywords": search.q_keywords,
        }));
        let found: People = cx
            .call_as("apollo", &format!("search_page_{page}"), request)
            .await?;
        let is_last = found.people.is_empty() || page >= found.pagination.total_pages;
        leads.extend(found.people.into_iter().map(Lead::from));
        if leads.len() >= wanted || is_last {
            break;
        }
    }
    leads.truncate(wanted);
    let count = leads.len();
    let mut jobs = Vec::with_capacity(count + 1);
    for lead in leads {
        jobs.push(NewJob {
            unique_key: Some(lead.id.clone()),
            ..NewJob::new("enrich_lead", serde_json::to_value(lead)?)
        });
    }
    jobs.push(NewJob {
        unique_key: Some("cleanup_campaign".to_owned()),
        ..NewJob::new("cleanup_campaign", json!({"leads": count}))
    });
    Ok(JobOutcome::spawning(json!({"leads": count}), jobs))
}

/// Checks the address, looks up the company, writes the text and adds the lead to the mail campaign.
async fn enrich_lead(cx: JobContext, lead: Lead) -> JobResult {
    let request = CallRequest::get("/api/v3").query("email", &lead.email);
    let check: Verification = cx
        .call_as("millionverifier", "verify_email", request)
        .await?;
    if check.result == "invalid" {
        return Ok(JobOutcome::done(
            json!({"added": false, "reason": "invalid address"}),
        ));
    }

    let question = format!("What does {} do, and what is new there?", lead.company);
    let research = ask(
        &cx,
        "perplexity",
        "research_company",
        "/chat/completions",
        &question,
    );
    let research = research.await?;

    let order = format!(
        "Write a short mail to {}, {} at {}. What is known: {research}",
        lead.first_name, lead.title, lead.company
    );
    let copy = ask(&cx, "openai", "write_copy", "/v1/chat/completions", &order).await?;

    let request = CallRequest::post("/api/v2/leads").json(json!({
        "campaign": cx.campaign().to_string(),
        "email": lead.email,
        "first_name": lead.first_name,
        "company_name": lead.company,
        "personalization": copy,
    }));
    let added: Added = cx.call_as("instantly", "add_lead", request).await?;
    Ok(JobOutcome::done(json!({"added": true, "lead": added.id})))
}

/// Sums up. It calls nobody, so that it shows a job without steps.
async fn cleanup_campaign(cx: JobContext, found: Value) -> JobResult {
    let leads = found.get("leads").cloned().unwrap_or_default();
    Ok(JobOutcome::done(
        json!({"campaign": cx.campaign().to_string(), "leads": leads}),
    ))
}

/// Asks a chat service one question, as a step.
async fn ask(
    cx: &JobContext,
    service: &str,
    step: &str,
    path: &str,
    question: &str,
) -> Result<String, JobError> {
    let request = CallRequest::post(path).json(json!({
        "model": "example-small",
        "messages": [{"role": "user", "content": question}],
    }));
    let chat: Chat = cx.call_as(service, step, request).await?;
    let choice = chat.choices.into_iter().next();
    choice
        .map(|choice| choice.message.content)
        .ok_or_else(|| JobError::permanent(format!("{service} answered without a choice")))
}

#[derive(Deserialize)]
struct People {
    people: Vec<Person>,
    pagination: Pagination,
}

#[derive(Deserialize)]
struct Pagination {
    total_pages: u64,
}

#[derive(Deserialize)]
struct Person {
    id: String,
    first_name: String,
    title: String,
    email: String,
    organization: Organization,
}

#[derive(Deserialize)]
struct Organization {
    name: String,
}

impl From<Person> for Lead {
    fn from(person: Person) -> Self {
        Self {
            id: person.id,
            first_name: person.first_name,
            title: person.title,
            email: person.email,
            company: person.organization.name,
        }
    }
}

#[derive(Deserialize)]
struct Verification {
    result: String,
}

#[derive(Deserialize)]
struct Chat {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    content: String,
}

#[derive(Deserialize)]
struct Added {
    id: String,
}

const PER_PAGE: u64 = 100;
