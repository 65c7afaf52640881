//! The worker: claims jobs, runs their handlers under leases, and guards every outbound call.
//!
//! A worker is a client of the worker protocol ([`crate::wire`]) and nothing else: it runs in any
//! process, beside the server or far from it. A handler is an async function; each call to an outside
//! service goes through [`JobContext::call`], which
//!
//! * gives back the recorded result if the step has been made before (R34): no call;
//! * takes a permit right before the call (R16, R30), or answers [`CallError::Paused`], which `?`
//!   carries out of the handler: the job is given back with its attempt, and nothing that was paid for
//!   is paid for again;
//! * makes the call once, and tells what its outcome means ([`outcome`], R33);
//! * records the step, or reports the service error, *before* it returns.
//!
//! ```no_run
//! use andon_adapter::wire::NewJob;
//! use andon_adapter::worker::{
//!     CallRequest, Handlers, JobContext, JobError, JobOutcome, ServiceClient, Worker, WorkerConfig,
//! };
//! use serde::Deserialize;
//! use serde_json::json;
//! use tokio_util::sync::CancellationToken;
//!
//! #[derive(Deserialize)]
//! struct Lead {
//!     name: String,
//! }
//!
//! async fn write_copy(cx: JobContext, lead: Lead) -> Result<JobOutcome, JobError> {
//!     let request = CallRequest::post("/v1/chat/completions")
//!         .json(json!({"model": "small", "messages": [{"role": "user", "content": lead.name}]}));
//!     let copy = cx.call("openai", "write_copy", request).await?;
//!     Ok(JobOutcome::done(copy.body))
//! }
//!
//! # async fn run() -> Result<(), andon_adapter::worker::Error> {
//! let config = WorkerConfig {
//!     services: vec![ServiceClient::new("openai", "https://api.openai.com")],
//!     ..WorkerConfig::new("http://127.0.0.1:7700", "copywriter-1")
//! };
//! let worker = Worker::new(config, Handlers::new().on("write_copy", write_copy))?;
//! worker.run(CancellationToken::new()).await
//! # }
//! ```
//!
//! **Absent on purpose:** no retry of a call inside an attempt (the line decides about retries), no
//! redirects, no call without a permit, no state that survives the process (the line has it all).

pub use config::{ServiceClient, WorkerConfig};
pub use context::{CallError, JobContext, NotNow, ServiceFailure};
pub use gate::{Ask, Clock, GateWatch, NoPermit, Untold, UntoldGuard};
pub use handler::{Handlers, JobError, JobOutcome, JobResult};
pub use outcome::{Class, Remap, Remapped};
pub use runtime::{Error, Worker};
pub use service::{CallAnswer, CallFault, CallRequest};

mod client;
mod config;
mod context;
mod gate;
mod handler;
pub mod http_kind;
pub mod outcome;
mod runtime;
mod service;
mod session;
