//! The mutants: the core with one rule broken on purpose, each as a replacement of its source text.
//!
//! They are kept outside the core, so that what is shipped has no hook for them. A test shows that each
//! text to be replaced stands exactly once.

use super::Mutant;

/// At least one for each group of rules.
#[expect(
    clippy::needless_raw_string_hashes,
    reason = "all alike, so that a text with quotes can be put into any of them"
)]
pub(crate) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "threshold-off-by-one",
        rules: "R1",
        what: "a breaker opens one failure too late",
        file: "src/breaker.rs",
        find: r#"if failure_count >= self.settings.threshold {"#,
        replace: r#"if failure_count > self.settings.threshold {"#,
    },
    Mutant {
        name: "opening-leaves-the-queue",
        rules: "R2, I1",
        what: "a breaker that a report opens does not pause the queue",
        file: "src/gate.rs",
        find: r#"                        step.pause_queue_with_breaker(&self.queue, opened.opening().clone());
"#,
        replace: r#""#,
    },
    Mutant {
        name: "opening-by-hand-leaves-the-queue",
        rules: "R2, R5, I1",
        what: "a breaker that is opened by hand does not pause the queue",
        file: "src/gate.rs",
        find: r#"        step.push_gate(event);
        step.pause_queue_by_hand(&self.queue, pause);
"#,
        replace: r#"        step.push_gate(event);
"#,
    },
    Mutant {
        name: "mark-does-not-pause",
        rules: "R3, R4, D1",
        what: "a campaign's mark does not pause it",
        file: "src/campaign.rs",
        find: r#"(CampaignStage::Running, Marking::Unmarked, QueueState::Active) => Self::Running,"#,
        replace: r#"(CampaignStage::Running, _, QueueState::Active) => Self::Running,"#,
    },
    Mutant {
        name: "queue-does-not-pause-campaigns",
        rules: "R3, D1",
        what: "a paused queue does not pause its campaigns",
        file: "src/campaign.rs",
        find: r#"(CampaignStage::Running, Marking::Unmarked, QueueState::Active) => Self::Running,"#,
        replace: r#"(CampaignStage::Running, Marking::Unmarked, _) => Self::Running,"#,
    },
    Mutant {
        name: "campaign-does-not-pause-jobs",
        rules: "R3, D2, I4",
        what: "a paused campaign does not pause the jobs that are in flight",
        file: "src/job.rs",
        find: r#"(JobStage::Pending | JobStage::Processing, CampaignStatus::Paused) => Self::Paused,"#,
        replace: r#"(JobStage::Pending, CampaignStatus::Paused) => Self::Paused,"#,
    },
    Mutant {
        name: "job-pause-leaves-its-campaign",
        rules: "R4, I3",
        what: "a job is paused without its campaign",
        file: "src/job.rs",
        find: r#"        step.push(with_job);
"#,
        replace: r#""#,
    },
    Mutant {
        name: "second-pause-forgets-the-first",
        rules: "R5",
        what: "a second pause writes over the first cause",
        file: "src/queue.rs",
        find: r#"                q.state.again = Some(pause);
"#,
        replace: r#"                q.state.pause = pause;
"#,
    },
    Mutant {
        name: "second-pause-leaves-the-version",
        rules: "R5, R31",
        what: "a second pause of the queue does not move the version",
        file: "src/event.rs",
        find: r#"                | GateEvent::ReportTallied { .. } => Recording::NotJournalled,
                GateEvent::BreakerOpened { .. }
                | GateEvent::BreakerReopened { .. }
                | GateEvent::BreakerHeld { .. }
                | GateEvent::BreakerHalfOpened { .. }
                | GateEvent::BreakerClosed { .. }
                | GateEvent::BreakerReset { .. }
                | GateEvent::QueuePaused { .. }
                | GateEvent::QueuePausedAgain { .. }
"#,
        replace: r#"                | GateEvent::QueuePausedAgain { .. }
                | GateEvent::ReportTallied { .. } => Recording::NotJournalled,
                GateEvent::BreakerOpened { .. }
                | GateEvent::BreakerReopened { .. }
                | GateEvent::BreakerHeld { .. }
                | GateEvent::BreakerHalfOpened { .. }
                | GateEvent::BreakerClosed { .. }
                | GateEvent::BreakerReset { .. }
                | GateEvent::QueuePaused { .. }
"#,
    },
    Mutant {
        name: "created-campaigns-may-be-paused",
        rules: "R6",
        what: "a campaign that has not started may be paused through its job",
        file: "src/job.rs",
        find: r#"        if campaign.stage() != CampaignStage::Running {
            return Err(self.refused_by_campaign("pause", gate, campaign));
        }
"#,
        replace: r#""#,
    },
    Mutant {
        name: "tick-resumes",
        rules: "R7, R15, I5",
        what: "a tick that cools a breaker down also resumes the queue",
        file: "src/gate.rs",
        find: r#"        for service in cooled.clone() {
            step.push_gate(GateEvent::BreakerHalfOpened { service });
        }
"#,
        replace: r#"        for service in cooled.clone() {
            step.push_gate(GateEvent::BreakerHalfOpened { service });
            step.push_gate(GateEvent::QueueResumed);
        }
"#,
    },
    Mutant {
        name: "success-resumes",
        rules: "R7, R13, I5",
        what: "a success that closes the last breaker also resumes the queue",
        file: "src/gate.rs",
        find: r#"                step.push_gate(GateEvent::BreakerClosed { service });
"#,
        replace: r#"                step.push_gate(GateEvent::BreakerClosed { service });
                step.push_gate(GateEvent::QueueResumed);
"#,
    },
    Mutant {
        name: "resume-ignores-half-open",
        rules: "R8, I6",
        what: "a resume takes HALF_OPEN for CLOSED",
        file: "src/breaker.rs",
        find: r#"        self.opening().map(|opening| Blocker {"#,
        replace: r#"        let blocking = self.opening().filter(|_| self.state() == CircuitState::Open);
        blocking.map(|opening| Blocker {"#,
    },
    Mutant {
        name: "epoch-stays",
        rules: "R9, I12",
        what: "a resume does not add 1 to the epoch",
        file: "src/gate.rs",
        find: r#"(AnyQueue::Paused(queue), _) => queue.clone().resume(&proof)?.epoch(),"#,
        replace: r#"(AnyQueue::Paused(queue), _) => queue.epoch(),"#,
    },
    Mutant {
        name: "keep-is-ignored",
        rules: "R9",
        what: "a resume keeps no campaign back",
        file: "src/gate.rs",
        find: r#"for campaign in request.keep.iter().filter(|c| kept.insert(c.id())) {"#,
        replace: r#"for campaign in request.keep.iter().filter(|c| !kept.insert(c.id())) {"#,
    },
    Mutant {
        name: "anything-may-be-kept",
        rules: "R9",
        what: "a resume keeps back what is not PAUSED",
        file: "src/gate.rs",
        find: r#"            if status != CampaignStatus::Paused {
                return Err(Refusal::KeepNotPaused {"#,
        replace: r#"            if status == CampaignStatus::Created {
                return Err(Refusal::KeepNotPaused {"#,
    },
    Mutant {
        name: "marks-are-not-resumed",
        rules: "R10",
        what: "a resume while ACTIVE leaves paused campaigns paused",
        file: "src/gate.rs",
        find: r#"(AnyQueue::Active(queue), Marks::Some) => queue.epoch().next()?,
            (AnyQueue::Active(_), Marks::None) =>"#,
        replace: r#"(AnyQueue::Active(_), Marks::Some | Marks::None) =>"#,
    },
    Mutant {
        name: "stale-resume-is-accepted",
        rules: "R11",
        what: "a resume with an older version is accepted",
        file: "src/gate.rs",
        find: r#"request.seen.filter(|seen| *seen != self.version())"#,
        replace: r#"request.seen.filter(|seen| *seen > self.version())"#,
    },
    Mutant {
        name: "reset-also-resumes",
        rules: "R12, R7, I5",
        what: "the reset of the last breaker also resumes the queue",
        file: "src/gate.rs",
        find: r#"        let after = step.after(self);
"#,
        replace: r#"        if step.after(self).blockers().is_empty() {
            step.stamp.epoch = self.epoch().next()?;
            step.push_gate(GateEvent::QueueResumed);
        }
        let after = step.after(self);
"#,
    },
    Mutant {
        name: "reset-leaves-the-count",
        rules: "R12",
        what: "the reset of a CLOSED breaker does not clear its count",
        file: "src/breaker.rs",
        find: r#"    pub(crate) fn evolve_reset(self, since: Version) -> Self {
        match self {
            Self::Closed(b) => Self::Closed(b.succeed()),"#,
        replace: r#"    pub(crate) fn evolve_reset(self, since: Version) -> Self {
        match self {
            Self::Closed(b) => Self::Closed(b),"#,
    },
    Mutant {
        name: "reset-of-closed-moves-since",
        rules: "R12",
        what: "the reset of a CLOSED breaker makes calls under way stale",
        file: "src/breaker.rs",
        find: r#"    pub(crate) fn evolve_reset(self, since: Version) -> Self {
        match self {
            Self::Closed(b) => Self::Closed(b.succeed()),"#,
        replace: r#"    pub(crate) fn evolve_reset(self, since: Version) -> Self {
        match self {
            Self::Closed(b) => Self::Closed(b.with(since, Closed { failure_count: 0 })),"#,
    },
    Mutant {
        name: "success-closes-open",
        rules: "R13, I18",
        what: "a success closes an OPEN breaker",
        file: "src/gate.rs",
        find: r#"            (AnyBreaker::Open(_), origin) => {
                step.push_gate(tallied(service, Tally::WhileOpen, origin));"#,
        replace: r#"            (AnyBreaker::Open(_), None) => {
                step.gate_change(self)?;
                step.push_gate(GateEvent::BreakerReset {
                    service,
                    was: CircuitState::Open,
                });
                Ok(Verdict::Counted)
            }
            (AnyBreaker::Open(_), origin) => {
                step.push_gate(tallied(service, Tally::WhileOpen, origin));"#,
    },
    Mutant {
        name: "success-leaves-the-count",
        rules: "R13, R1",
        what: "a success does not clear the count of a CLOSED breaker",
        file: "src/gate.rs",
        find: r#"                if breaker.failure_count() > 0 {
"#,
        replace: r#"                if breaker.failure_count() > 1 {
"#,
    },
    Mutant {
        name: "half-open-failure-is-let-pass",
        rules: "R14, I18",
        what: "a failure of a HALF_OPEN breaker does not open it again",
        file: "src/gate.rs",
        find: r#"            (AnyBreaker::HalfOpen(_), Some(origin)) => {
                let version = step.gate_change(self)?;"#,
        replace: r#"            (AnyBreaker::HalfOpen(_), Some(_)) if breaker.failure_count() < 9 => Ok(Verdict::Counted),
            (AnyBreaker::HalfOpen(_), Some(origin)) => {
                let version = step.gate_change(self)?;"#,
    },
    Mutant {
        name: "since-stays-at-an-opening",
        rules: "R14, R16",
        what: "an opening does not move `since`: reports of older calls count again",
        file: "src/breaker.rs",
        find: r#"        let (since, opened_at) = (opening.version, opening.at);"#,
        replace: r#"        let (since, opened_at) = (self.since, opening.at);"#,
    },
    Mutant {
        name: "tick-ignores-the-hold",
        rules: "R15",
        what: "a tick turns a held breaker HALF_OPEN",
        file: "src/breaker.rs",
        find: r#"            Hold::Held => None,
            Hold::Free => self
                .settings
                .cool_down
                .map(|d| self.state.opened_at.plus(d)),"#,
        replace: r#"            Hold::Held | Hold::Free => self
                .settings
                .cool_down
                .map(|d| self.state.opened_at.plus(d)),"#,
    },
    Mutant {
        name: "tick-comes-early",
        rules: "R15",
        what: "a tick does not wait for the cool-down",
        file: "src/breaker.rs",
        find: r#"Self::Open(b) => b.cool_down_until().is_some_and(|until| now >= until),"#,
        replace: r#"Self::Open(b) => b.cool_down_until().is_some_and(|until| now <= until),"#,
    },
    Mutant {
        name: "stale-failure-counts",
        rules: "R16, I18",
        what: "a failure counts though its call began before the breaker's last change",
        file: "src/gate.rs",
        find: r#"            (Some(version), _) => version < breaker.since(),"#,
        replace: r#"            (Some(version), CallOutcome::Success) => version < breaker.since(),
            (Some(_), CallOutcome::Failure(_)) => false,"#,
    },
    Mutant {
        name: "fresh-failure-is-stale",
        rules: "R16, I18",
        what: "a failure of a call begun right after the last change is dropped",
        file: "src/gate.rs",
        find: r#"            (Some(version), _) => version < breaker.since(),"#,
        replace: r#"            (Some(version), _) => version <= breaker.since(),"#,
    },
    Mutant {
        name: "future-version-counts",
        rules: "R16",
        what: "a success with a version that the line has not reached counts",
        file: "src/gate.rs",
        find: r#"report.version.filter(|version| *version <= self.version())"#,
        replace: r#"report.version"#,
    },
    Mutant {
        name: "blind-success-counts",
        rules: "R16",
        what: "a success without a version counts",
        file: "src/gate.rs",
        find: r#"(None, CallOutcome::Success) => true,"#,
        replace: r#"(None, CallOutcome::Success) => false,"#,
    },
    Mutant {
        name: "verdict-is-given-twice",
        rules: "R16, I14",
        what: "a call counts again at its second report",
        file: "src/work.rs",
        find: r#"            .and_then(|attempt| attempt.verdicts.get(&call))
            .copied();"#,
        replace: r#"            .and_then(|attempt| attempt.verdicts.get(&call))
            .filter(|_| false)
            .copied();"#,
    },
    Mutant {
        name: "permit-while-paused",
        rules: "R16, R30",
        what: "a permit is given under a confirmation that the queue is PAUSED",
        file: "src/permit.rs",
        find: r#"    if confirmation.queue == QueueState::Paused {
        return Err(Withheld::QueuePaused);
    }
"#,
        replace: r#""#,
    },
    Mutant {
        name: "permit-for-a-stopped-job",
        rules: "R16, R30",
        what: "a permit is given to a job that is stopped",
        file: "src/permit.rs",
        find: r#"    if request.standing == Standing::Stopped {
        return Err(Withheld::JobStopped);
    }
"#,
        replace: r#""#,
    },
    Mutant {
        name: "clock-goes-back",
        rules: "R17",
        what: "a command's time may be before the last one recorded",
        file: "src/gate.rs",
        find: r#"        clock.max(self.queue.last_seen())"#,
        replace: r#"        clock"#,
    },
    Mutant {
        name: "counts-wrap",
        rules: "R18",
        what: "a count at its end starts again",
        file: "src/breaker.rs",
        find: r#"let failure_count = self.state.failure_count.saturating_add(1);"#,
        replace: r#"let failure_count = self.state.failure_count.wrapping_add(1);"#,
    },
    Mutant {
        name: "retired-is-forgotten",
        rules: "R19",
        what: "a retired service's OPEN breaker is closed",
        file: "src/breaker.rs",
        find: r#"        *own_settings = settings;
        *own_standing = standing;
        self"#,
        replace: r#"        *own_settings = settings;
        *own_standing = standing;
        match self {
            Self::Open(b) if b.standing == Standing::Retired => {
                let since = b.since;
                Self::Closed(b.reset(since))
            }
            other => other,
        }"#,
    },
    Mutant {
        name: "start-without-work",
        rules: "R20",
        what: "a campaign with nothing to do starts",
        file: "src/campaign.rs",
        find: r#"        if jobs.unfinished() == 0 && self.intake == Intake::Closed {"#,
        replace: r#"        if jobs.total() == 0 && self.intake == Intake::Closed {"#,
    },
    Mutant {
        name: "start-ignores-breakers",
        rules: "R20, R21, I8",
        what: "what a paused queue holds back starts all the same",
        file: "src/gate.rs",
        find: r#"            (AnyQueue::Active(_), Ok(_)) => Ok(Admission { gate: self }),"#,
        replace: r#"            (_, Ok(_)) => Ok(Admission { gate: self }),"#,
    },
    Mutant {
        name: "claim-ignores-the-mark",
        rules: "R21, I8",
        what: "jobs of a paused campaign are claimed",
        file: "src/campaign.rs",
        find: r#"            Some(mark) if mark.is_current(admission.epoch()) => None,"#,
        replace: r#"            Some(mark) if !mark.is_current(admission.epoch()) => None,"#,
    },
    Mutant {
        name: "claim-before-due",
        rules: "R21",
        what: "a job is claimed before it is due",
        file: "src/job.rs",
        find: r#"        if now < self.run_at {
            return Err(not_claimable(Unclaimable::NotDueBefore(self.run_at)));
        }
"#,
        replace: r#""#,
    },
    Mutant {
        name: "dead-sessions-claim",
        rules: "R21, R24, I17",
        what: "a session that has expired claims and heartbeats",
        file: "src/session.rs",
        find: r#"            None if now >= self.expires_at => Err(Refusal::SessionEnded {
                ended_at: self.expires_at,
            }),
"#,
        replace: r#""#,
    },
    Mutant {
        name: "token-stays",
        rules: "R21, I9",
        what: "a claim gives the token of the claim before",
        file: "src/job.rs",
        find: r#"        let token = self.token.next()?;
        Ok(self.claimed(session.id(), token))"#,
        replace: r#"        let token = if self.token == Token::NONE { self.token.next()? } else { self.token };
        Ok(self.claimed(session.id(), token))"#,
    },
    Mutant {
        name: "late-ending-is-accepted",
        rules: "R22, R24, I9",
        what: "an ending under an older token is accepted",
        file: "src/work.rs",
        find: r#"        if token != current || token == Token::NONE {"#,
        replace: r#"        if token == Token::NONE {"#,
    },
    Mutant {
        name: "lost-failure-is-dropped",
        rules: "R22, I18",
        what: "a service error of a lost lease does not count",
        file: "src/work.rs",
        find: r#"        if let Ending::FailService { report, call, .. } = ending {"#,
        replace: r#"        if let Ending::FailService { report, call, .. } = ending
            && self.check_token(token).is_ok()
        {"#,
    },
    Mutant {
        name: "lost-success-counts",
        rules: "R22, I18",
        what: "a success of a lost lease counts",
        file: "src/work.rs",
        find: r#"            (Err(_), CallOutcome::Success) => CallAnswer {"#,
        replace: r#"            (Err(_), CallOutcome::Success) if call.get() > 9 => CallAnswer {"#,
    },
    Mutant {
        name: "ending-is-accepted-twice",
        rules: "R22, I9",
        what: "a second, different ending of a token is accepted",
        file: "src/work.rs",
        find: r#"        if self.attempt.is_some_and(|attempt| attempt.ending.is_some()) {
            return Err(Refusal::AlreadyEnded { job, token });
        }
        if !self.job.is_token_good() {"#,
        replace: r#"        if !self.job.is_token_good() && self.job.stage().is_final() {"#,
    },
    Mutant {
        name: "pause-takes-leases",
        rules: "R23, I19",
        what: "the pause of a job takes its lease",
        file: "src/job.rs",
        find: r#"                Self::Processing(j) => Self::Processing(j.paused(stamp.epoch, pause.clone())),"#,
        replace: r#"                Self::Processing(j) => {
                    let paused = j.paused(stamp.epoch, pause.clone());
                    let run_at = paused.run_at;
                    Self::Pending(paused.release(run_at, AttemptCharge::GivenBack))
                }"#,
    },
    Mutant {
        name: "paused-work-may-not-end",
        rules: "R23, I19",
        what: "the result of a job that is PAUSED is refused",
        file: "src/work.rs",
        find: r#"        if !self.job.is_token_good() {"#,
        replace: r#"        if self.job.status(self.gate, self.campaign) == JobStatus::Paused {
            return Err(Refusal::StaleLease { token, current });
        }
        if !self.job.is_token_good() {"#,
    },
    Mutant {
        name: "sweep-spoils-the-token",
        rules: "R24",
        what: "after a sweep the token is no longer good",
        file: "src/job.rs",
        find: r#"        let swept = Some(self.state.session);
        self.to(Pending { swept })"#,
        replace: r#"        self.to(Pending { swept: None })"#,
    },
    Mutant {
        name: "sweep-gives-an-attempt-back",
        rules: "R24, R25",
        what: "a sweep gives the attempt back",
        file: "src/job.rs",
        find: r#"        let swept = Some(self.state.session);
        self.to(Pending { swept })"#,
        replace: r#"        let swept = Some(self.state.session);
        let attempt = self.attempt.saturating_sub(1);
        Job { attempt, ..self.to(Pending { swept }) }"#,
    },
    Mutant {
        name: "sweep-ignores-the-last-attempt",
        rules: "R24",
        what: "a sweep returns a job without attempts left",
        file: "src/job.rs",
        find: r#"        } else if self.attempt() < self.max_attempts() {"#,
        replace: r#"        } else if self.attempt() <= self.max_attempts() {"#,
    },
    Mutant {
        name: "sweep-misses-settling",
        rules: "R24, R27",
        what: "a sweep that fails the last job does not settle the campaign",
        file: "src/job.rs",
        find: r#"        if sweeping == Sweeping::Failed {
            campaign.settle_in(&mut step, others.with(JobStage::Failed));
        }
"#,
        replace: r#"        let _ = others;
"#,
    },
    Mutant {
        name: "service-error-while-open-costs",
        rules: "R25",
        what: "a service error while the breaker is open uses an attempt up",
        file: "src/work.rs",
        find: r#"                Some(Verdict::WhileOpen | Verdict::Stale) => {
                    returned(due(retry_after), AttemptCharge::GivenBack)
                }
"#,
        replace: r#"                Some(Verdict::WhileOpen | Verdict::Stale) => {
                    returned(due(retry_after), AttemptCharge::Used)
                }
"#,
    },
    Mutant {
        name: "release-costs",
        rules: "R25",
        what: "a release uses an attempt up",
        file: "src/work.rs",
        find: r#"            Ending::Release => returned(self.job.run_at(), AttemptCharge::GivenBack),"#,
        replace: r#"            Ending::Release => returned(self.job.run_at(), AttemptCharge::Used),"#,
    },
    Mutant {
        name: "no-last-attempt",
        rules: "R25, L1",
        what: "a job that fails at its last attempt goes back",
        file: "src/work.rs",
        find: r#"            Ending::FailRetryable { .. } if is_last_attempt => finished(JobStage::Failed),
"#,
        replace: r#""#,
    },
    Mutant {
        name: "retry-in-a-cancelled-campaign",
        rules: "R26, I10",
        what: "a job of a CANCELLED campaign is sent back",
        file: "src/job.rs",
        find: r#"        if campaign.stage() == CampaignStage::Cancelled {
            return Err(self.refused_by_campaign("retry", gate, campaign));
        }
"#,
        replace: r#""#,
    },
    Mutant {
        name: "retry-does-not-reopen",
        rules: "R26",
        what: "a retry leaves its settled campaign settled",
        file: "src/job.rs",
        find: r#"                step.push(Event::Campaign {
                    campaign: campaign.id(),
                    event,
                });
                Retrying::RetriedAndReopened"#,
        replace: r#"                let _ = event;
                Retrying::RetriedAndReopened"#,
    },
    Mutant {
        name: "retry-over-a-live-lease",
        rules: "R26, I17",
        what: "a cancelled job is sent back while its holder lives",
        file: "src/job.rs",
        find: r#"            && holder.alive(step.stamp.at).is_ok()
"#,
        replace: r#"            && holder.alive(step.stamp.at).is_err()
"#,
    },
    Mutant {
        name: "cancelled-job-completes",
        rules: "R22, R26, I10",
        what: "a cancelled job under a lease completes",
        file: "src/work.rs",
        find: r#"        if self.job.status(self.gate, self.campaign) == JobStatus::Cancelled {"#,
        replace: r#"        if self.job.status(self.gate, self.campaign) == JobStatus::Cancelled
            && self.job.stage() != JobStage::Processing
        {"#,
    },
    Mutant {
        name: "cancel-misses-settling",
        rules: "R26, R27",
        what: "the cancel of the last job does not settle its campaign",
        file: "src/job.rs",
        find: r#"        let settled = campaign.settle_in(&mut step, others.with(JobStage::Cancelled));
        Ok(step.decide(settled))"#,
        replace: r#"        let _ = others;
        Ok(step.decide(None))"#,
    },
    Mutant {
        name: "settles-too-early",
        rules: "R27",
        what: "a campaign settles while a job is in flight",
        file: "src/campaign.rs",
        find: r#"self.intake == Intake::Closed && jobs.total() > 0 && jobs.unfinished() == 0;"#,
        replace: r#"self.intake == Intake::Closed && jobs.total() > 0 && jobs.pending == 0;"#,
    },
    Mutant {
        name: "settles-while-open-ended",
        rules: "R27, R28",
        what: "an open-ended campaign settles with its last job",
        file: "src/campaign.rs",
        find: r#"            self.intake == Intake::Closed && jobs.total() > 0 && jobs.unfinished() == 0;"#,
        replace: r#"            jobs.total() > 0 && jobs.unfinished() == 0;"#,
    },
    Mutant {
        name: "settles-as-failed",
        rules: "R27",
        what: "a campaign with a completed and a failed job settles as FAILED",
        file: "src/campaign.rs",
        find: r#"        is_settled.then_some(if jobs.completed > 0 {"#,
        replace: r#"        is_settled.then_some(if jobs.completed > 0 && jobs.failed == 0 {"#,
    },
    Mutant {
        name: "last-ending-misses-settling",
        rules: "R27",
        what: "the ending of the last job does not settle its campaign",
        file: "src/work.rs",
        find: r#"        let settled = self.settle_after(&mut step, stage);
"#,
        replace: r#"        let settled = None;
"#,
    },
    Mutant {
        name: "cancel-does-not-reach-jobs",
        rules: "R27, D2",
        what: "a cancelled campaign's jobs are not CANCELLED",
        file: "src/job.rs",
        find: r#"(JobStage::Cancelled, _) | (_, CampaignStatus::Cancelled) => Self::Cancelled,"#,
        replace: r#"(JobStage::Cancelled, _) => Self::Cancelled,"#,
    },
    Mutant {
        name: "closed-campaigns-take-jobs",
        rules: "R28",
        what: "jobs are added to a running campaign that is closed",
        file: "src/campaign.rs",
        find: r#"            (Self::Created(_), _) | (Self::Running(_), Intake::OpenEnded) => Ok(()),"#,
        replace: r#"            (Self::Created(_) | Self::Running(_), _) => Ok(()),"#,
    },
    Mutant {
        name: "keys-are-not-unique",
        rules: "R29, I11",
        what: "a unique key is added twice",
        file: "src/line.rs",
        find: r#"        for new in jobs {
            let run_at"#,
        replace: r#"        for mut new in jobs {
            new.unique_key = None;
            let run_at"#,
    },
    Mutant {
        name: "ttl-is-ignored",
        rules: "R30",
        what: "a permit is given however old the confirmation is",
        file: "src/permit.rs",
        find: r#"    if now < confirmation.asked_at || now >= confirmation.asked_at.plus(confirmation.ttl) {"#,
        replace: r#"    if now < confirmation.asked_at {"#,
    },
    Mutant {
        name: "unconfirmed-is-open",
        rules: "R30",
        what: "an overtaken answer wins over the newer one",
        file: "src/permit.rs",
        find: r#"        if rank(&other) > rank(&self) {"#,
        replace: r#"        if rank(&other) < rank(&self) {"#,
    },
    Mutant {
        name: "session-may-be-too-short",
        rules: "R30",
        what: "a permit is given though the session may expire before the call's deadline",
        file: "src/permit.rs",
        find: r#"    if now.plus(request.deadline) >= request.session_expires_at {
        return Err(Withheld::SessionTooShort);
    }
"#,
        replace: r#""#,
    },
    Mutant {
        name: "tallies-move-the-version",
        rules: "R31, R18",
        what: "a report without effect moves the version",
        file: "src/event.rs",
        find: r#"                | GateEvent::CountCleared { .. }
                | GateEvent::ReportTallied { .. } => Recording::NotJournalled,"#,
        replace: r#"                | GateEvent::CountCleared { .. } => Recording::NotJournalled,
                GateEvent::ReportTallied { .. } => Recording::GateChange,"#,
    },
    Mutant {
        name: "job-pauses-are-not-journalled",
        rules: "R31, R5",
        what: "the pause of a job does not move the version",
        file: "src/event.rs",
        find: r#"                JobEvent::JobPaused { .. } | JobEvent::JobPausedAgain { .. } => {
                    Recording::GateChange
                }"#,
        replace: r#"                JobEvent::JobPaused { .. } | JobEvent::JobPausedAgain { .. } => {
                    Recording::NotJournalled
                }"#,
    },
    Mutant {
        name: "second-result-wins",
        rules: "R34, I17",
        what: "of two results of a step the second stands",
        file: "src/work.rs",
        find: r#"            (Ok(()), Recorded::Already) => StepRecording::FirstStands,"#,
        replace: r#"            (Ok(()), Recorded::Already) => StepRecording::Record,"#,
    },
    Mutant {
        name: "late-step-is-recorded",
        rules: "R34",
        what: "a step is recorded under a lost token",
        file: "src/work.rs",
        find: r#"            (Err(_), _) => StepRecording::RecordOnly,
            (Ok(()), Recorded::Already)"#,
        replace: r#"            (Err(_), Recorded::NotYet) => StepRecording::Record,
            (Err(_), Recorded::Already) => StepRecording::RecordOnly,
            (Ok(()), Recorded::Already)"#,
    },
    Mutant {
        name: "automation-resets",
        rules: "R36, R12",
        what: "automation resets a breaker",
        file: "src/gate.rs",
        find: r#"        by.actor.operator("reset a breaker")?;
"#,
        replace: r#""#,
    },
    Mutant {
        name: "automation-resumes",
        rules: "R36, R7",
        what: "automation resumes the queue",
        file: "src/gate.rs",
        find: r#"        by.actor.operator("resume the queue")?;
"#,
        replace: r#""#,
    },
    Mutant {
        name: "cause-chain-forgets-the-mark",
        rules: "D3, I13",
        what: "a campaign that is paused by itself has no cause",
        file: "src/cause.rs",
        find: r#"        Self::of_mark(gate, campaign.mark(), &holder).with(Self::of_queue(gate))"#,
        replace: r#"        let _ = holder;
        Self::of_queue(gate)"#,
    },
    Mutant {
        name: "heartbeat-revives",
        rules: "R24, I17",
        what: "a heartbeat revives a session that has expired",
        file: "src/session.rs",
        find: r#"        self.alive(now)?;
        Ok(Self {"#,
        replace: r#"        Ok(Self {"#,
    },
    Mutant {
        name: "heartbeat-shortens",
        rules: "R17, R24",
        what: "a clock that steps back shortens a session",
        file: "src/session.rs",
        find: r#"            expires_at: self.expires_at.max(now.plus(self.lease)),"#,
        replace: r#"            expires_at: now.plus(self.lease),"#,
    },
    Mutant {
        name: "keys-are-forgotten",
        rules: "I14",
        what: "a command under a known idempotency key is carried out again",
        file: "src/line.rs",
        find: r#"        self.answers.insert(key.into(), (command, answer.clone()));
"#,
        replace: r#"        let _ = (key, command);
"#,
    },
];
