//! A worker of the HTTP API that does nothing but claim and complete, on a connection of its own.

use andon::{JobId, SessionId, Token};
use andon_adapter::wire::{
    ClaimAnswer, ClaimRequest, CompleteRequest, EndingAnswer, Envelope, RegisterAnswer,
    RegisterRequest, Report, ReportItem, ReportOutcome, ReportsAnswer, ReportsRequest, WORKER_BASE,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Outcome;
use crate::line::KIND;

/// One connection to the server, kept open.
#[derive(Debug)]
pub struct Connection {
    http: reqwest::Client,
    server: String,
}

impl Connection {
    /// To the server at this address.
    ///
    /// # Errors
    /// No client can be made.
    pub fn open(server: &str) -> Outcome<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(1)
            .build()?;
        Ok(Self {
            http,
            server: server.to_owned(),
        })
    }

    /// Goes on with another server.
    pub fn turn_to(&mut self, server: &str) {
        server.clone_into(&mut self.server);
    }

    /// Asks for a path.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Outcome<T> {
        let request = self.http.get(format!("{}{path}", self.server));
        Ok(request.send().await?.error_for_status()?.json().await?)
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Outcome<T> {
        let url = format!("{}{WORKER_BASE}/{path}", self.server);
        let request = self.http.post(url).json(body);
        let envelope: Envelope<T> = request.send().await?.error_for_status()?.json().await?;
        Ok(envelope.data)
    }

    /// A session.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn register(&self, number: usize) -> Outcome<SessionId> {
        let request = RegisterRequest {
            name: format!("load-{number}"),
            kinds: vec![KIND.into()],
            services: Vec::new(),
            lease_seconds: 600,
        };
        let answer: RegisterAnswer = self.post("register", &request).await?;
        Ok(answer.worker_id)
    }

    /// One claim; what it gave.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn claim(&self, session: SessionId, limit: u32) -> Outcome<Vec<(JobId, Token)>> {
        let request = ClaimRequest {
            worker_id: session,
            limit,
            kinds: None,
            wait_seconds: None,
        };
        let answer: ClaimAnswer = self.post("claim", &request).await?;
        let leases = answer.leases.iter();
        Ok(leases.map(|lease| (lease.job_id, lease.token)).collect())
    }

    /// Completes what was claimed: one job by its own path, several in one request.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn complete(&self, session: SessionId, leases: &[(JobId, Token)]) -> Outcome {
        if let [(job, token)] = leases {
            let path = format!("jobs/{job}/complete");
            let _ended: EndingAnswer = self.post(&path, &completion(*token)).await?;
            return Ok(());
        }
        let reports = leases.iter().map(|(job_id, token)| ReportItem {
            job_id: *job_id,
            report: Report::Complete(completion(*token)),
        });
        let request = ReportsRequest {
            worker_id: Some(session),
            reports: reports.collect(),
        };
        let answer: ReportsAnswer = self.post("reports", &request).await?;
        let is_accepted = |outcome: &ReportOutcome| matches!(outcome, ReportOutcome::Ended(_));
        if answer.answers.iter().all(|it| is_accepted(&it.outcome)) {
            Ok(())
        } else {
            Err("a completion was refused".into())
        }
    }
}

fn completion(token: Token) -> CompleteRequest {
    CompleteRequest {
        token,
        result: None,
        spawn: Vec::new(),
    }
}
