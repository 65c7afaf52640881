//! Mistakes that can be made on purpose, to show that the simulator would see them.
//!
//! None of them is in the code that is shipped: they sit at its seams, in the simulated workers, in the
//! wrapper around the store, and between a request and its command.

use std::fmt;

/// One mistake.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Bug {
    /// A worker relies on a confirmation for as long as it likes (R30).
    TtlIgnored,
    /// A worker counts the time-to-live from the answer, not from when it asked (R30).
    AskedAtAnswer,
    /// A worker does not heed which of its jobs are stopped (R30).
    StoppedIgnored,
    /// A worker makes calls again whose results came with the lease (R34, I17).
    StepsForgotten,
    /// A worker reports with the version that it knows now, not with that of the permit (R16).
    VersionForged,
    /// A server answers a claim before it is committed, and the commit is lost (R21).
    ClaimNotCommitted,
    /// A server confirms the gate from what it read a while ago, as a replica would (R35).
    GateCached,
    /// A server carries a resume out once more when its message comes again (I14, R11).
    ResumeReplayed,
    /// A server resumes the queue with the reset of the last breaker (R12, R36).
    ResetResumes,
    /// A server sweeps by a clock of its own, which is fast (R17, R24).
    SweepByServerClock,
    /// A server leaves pauses of campaigns out of the journal (R31, R32).
    JournalSkipped,
    /// A server ends a job under its current token, whatever token the report has (R22).
    TokenIgnored,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::TtlIgnored,
        Self::AskedAtAnswer,
        Self::StoppedIgnored,
        Self::StepsForgotten,
        Self::VersionForged,
        Self::ClaimNotCommitted,
        Self::GateCached,
        Self::ResumeReplayed,
        Self::ResetResumes,
        Self::SweepByServerClock,
        Self::JournalSkipped,
        Self::TokenIgnored,
    ];
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match clap::ValueEnum::to_possible_value(self) {
            Some(value) => f.write_str(value.get_name()),
            None => Ok(()),
        }
    }
}
