-- A line on SQLite. Times are microseconds since 1970, ids are the 16 bytes of a UUID, JSON is text.
-- STRICT: a column holds what its type says, as on PostgreSQL.
-- Constraints repeat the invariants of the rules (I1 to I20) by name: nets, which decide nothing.

CREATE TABLE andon_queue (
    id INTEGER PRIMARY KEY,
    state TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    version INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    pause TEXT,
    again TEXT,
    CONSTRAINT andon_queue_one_row CHECK (id = 1),
    CONSTRAINT andon_queue_state CHECK (state IN ('ACTIVE', 'PAUSED')),
    CONSTRAINT andon_queue_epoch CHECK (epoch >= 1),
    CONSTRAINT andon_queue_version CHECK (version >= 0),
    CONSTRAINT andon_queue_active_iff_no_pause CHECK ((state = 'ACTIVE') = (pause IS NULL)),
    CONSTRAINT andon_queue_again_only_paused CHECK (again IS NULL OR pause IS NOT NULL)
) STRICT;

CREATE TABLE andon_services (
    name TEXT PRIMARY KEY NOT NULL,
    standing TEXT NOT NULL,
    failure_threshold INTEGER NOT NULL,
    cool_down_ns INTEGER,
    CONSTRAINT andon_services_name CHECK (length(name) BETWEEN 1 AND 100),
    CONSTRAINT andon_services_standing CHECK (standing IN ('declared', 'retired')),
    CONSTRAINT andon_services_threshold CHECK (failure_threshold BETWEEN 1 AND 4294967295),
    CONSTRAINT andon_services_cool_down CHECK (cool_down_ns > 0)
) STRICT;

CREATE TABLE andon_breakers (
    service TEXT PRIMARY KEY NOT NULL,
    state TEXT NOT NULL,
    since INTEGER NOT NULL,
    hold TEXT NOT NULL,
    failure_count INTEGER NOT NULL,
    opening TEXT,
    opened_at INTEGER,
    CONSTRAINT andon_breakers_service FOREIGN KEY (service) REFERENCES andon_services (name),
    CONSTRAINT andon_breakers_state CHECK (state IN ('closed', 'open', 'half_open')),
    CONSTRAINT andon_breakers_since CHECK (since >= 0),
    CONSTRAINT andon_breakers_hold CHECK (hold IN ('held', 'free')),
    CONSTRAINT andon_breakers_held_only_open CHECK (hold = 'free' OR state = 'open'),
    CONSTRAINT andon_breakers_failure_count CHECK (failure_count BETWEEN 0 AND 4294967295),
    CONSTRAINT andon_breakers_opening_iff_not_closed CHECK ((state = 'closed') = (opening IS NULL)),
    CONSTRAINT andon_breakers_opened_at_with_opening CHECK ((opening IS NULL) = (opened_at IS NULL))
) STRICT;

-- I1: queue ACTIVE => every breaker CLOSED. SQLite has no deferred triggers: a pause writes the queue
-- first, a resume writes it last.
CREATE TRIGGER andon_queue_insert_active BEFORE INSERT ON andon_queue
WHEN NEW.state = 'ACTIVE' AND EXISTS (SELECT 1 FROM andon_breakers WHERE state <> 'closed')
BEGIN
    SELECT RAISE(ABORT, 'andon_active_needs_closed_breakers: a breaker is not closed');
END;

CREATE TRIGGER andon_queue_update_active BEFORE UPDATE ON andon_queue
WHEN NEW.state = 'ACTIVE' AND EXISTS (SELECT 1 FROM andon_breakers WHERE state <> 'closed')
BEGIN
    SELECT RAISE(ABORT, 'andon_active_needs_closed_breakers: a breaker is not closed');
END;

CREATE TRIGGER andon_breakers_insert_open BEFORE INSERT ON andon_breakers
WHEN NEW.state <> 'closed' AND EXISTS (SELECT 1 FROM andon_queue WHERE state = 'ACTIVE')
BEGIN
    SELECT RAISE(ABORT, 'andon_active_needs_closed_breakers: the queue is ACTIVE');
END;

CREATE TRIGGER andon_breakers_update_open BEFORE UPDATE ON andon_breakers
WHEN NEW.state <> 'closed' AND EXISTS (SELECT 1 FROM andon_queue WHERE state = 'ACTIVE')
BEGIN
    SELECT RAISE(ABORT, 'andon_active_needs_closed_breakers: the queue is ACTIVE');
END;

-- I12, R7, R9: epoch and version never go back, and only a step of the epoch makes a PAUSED queue ACTIVE.
CREATE TRIGGER andon_queue_update_forward BEFORE UPDATE ON andon_queue
WHEN NEW.epoch NOT IN (OLD.epoch, OLD.epoch + 1)
    OR NEW.version < OLD.version
    OR (OLD.state = 'PAUSED' AND NEW.state = 'ACTIVE' AND NEW.epoch = OLD.epoch)
BEGIN
    SELECT RAISE(ABORT, 'andon_queue_goes_forward: epoch and version never go back, a resume adds 1 to the epoch');
END;

CREATE TABLE andon_tallies (
    service TEXT NOT NULL,
    since INTEGER NOT NULL,
    tally TEXT NOT NULL,
    count INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    first TEXT,
    last_at INTEGER NOT NULL,
    last TEXT,
    PRIMARY KEY (service, since, tally),
    CONSTRAINT andon_tallies_service FOREIGN KEY (service) REFERENCES andon_services (name),
    CONSTRAINT andon_tallies_tally CHECK (tally IN ('stale', 'while_open')),
    CONSTRAINT andon_tallies_count CHECK (count >= 0)
) STRICT;

CREATE TABLE andon_campaigns (
    id BLOB PRIMARY KEY NOT NULL,
    stage TEXT NOT NULL,
    paused_in INTEGER,
    pause TEXT,
    again TEXT,
    open_ended INTEGER NOT NULL,
    name TEXT NOT NULL,
    name_folded TEXT NOT NULL,
    description TEXT,
    metadata TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    revision INTEGER NOT NULL,
    CONSTRAINT andon_campaigns_id CHECK (length(id) = 16),
    CONSTRAINT andon_campaigns_stage
        CHECK (stage IN ('CREATED', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED')),
    CONSTRAINT andon_campaigns_paused_in CHECK (paused_in >= 1),
    CONSTRAINT andon_campaigns_pause_iff_paused_in CHECK ((paused_in IS NULL) = (pause IS NULL)),
    CONSTRAINT andon_campaigns_again_only_paused CHECK (again IS NULL OR pause IS NOT NULL),
    CONSTRAINT andon_campaigns_open_ended CHECK (open_ended IN (0, 1)),
    CONSTRAINT andon_campaigns_name CHECK (length(name) BETWEEN 1 AND 255),
    CONSTRAINT andon_campaigns_revision CHECK (revision >= 0)
) STRICT;

CREATE INDEX andon_campaigns_running ON andon_campaigns (id) WHERE stage = 'RUNNING';
CREATE INDEX andon_campaigns_marked ON andon_campaigns (paused_in) WHERE paused_in IS NOT NULL;

-- Counts of jobs by stage: these rows plus the deltas not folded into them yet.
CREATE TABLE andon_counts (
    campaign_id BLOB PRIMARY KEY NOT NULL,
    pending INTEGER NOT NULL DEFAULT 0,
    processing INTEGER NOT NULL DEFAULT 0,
    completed INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0,
    CONSTRAINT andon_counts_campaign
        FOREIGN KEY (campaign_id) REFERENCES andon_campaigns (id) ON DELETE CASCADE,
    CONSTRAINT andon_counts_not_negative
        CHECK (pending >= 0 AND processing >= 0 AND completed >= 0 AND failed >= 0 AND cancelled >= 0)
) STRICT;

CREATE TABLE andon_count_deltas (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    campaign_id BLOB NOT NULL,
    stage TEXT NOT NULL,
    delta INTEGER NOT NULL,
    CONSTRAINT andon_count_deltas_campaign
        FOREIGN KEY (campaign_id) REFERENCES andon_campaigns (id) ON DELETE CASCADE,
    CONSTRAINT andon_count_deltas_stage
        CHECK (stage IN ('PENDING', 'PROCESSING', 'COMPLETED', 'FAILED', 'CANCELLED'))
) STRICT;

CREATE INDEX andon_count_deltas_by_campaign ON andon_count_deltas (campaign_id);

CREATE TABLE andon_jobs (
    id BLOB PRIMARY KEY NOT NULL,
    campaign_id BLOB NOT NULL,
    stage TEXT NOT NULL,
    paused_in INTEGER,
    pause TEXT,
    again TEXT,
    attempt INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    run_at INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    token INTEGER NOT NULL,
    session_id BLOB,
    kind TEXT NOT NULL,
    payload TEXT NOT NULL,
    unique_key TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    finished_at INTEGER,
    result TEXT,
    CONSTRAINT andon_jobs_campaign
        FOREIGN KEY (campaign_id) REFERENCES andon_campaigns (id) ON DELETE CASCADE,
    CONSTRAINT andon_jobs_id CHECK (length(id) = 16),
    CONSTRAINT andon_jobs_stage
        CHECK (stage IN ('PENDING', 'PROCESSING', 'COMPLETED', 'FAILED', 'CANCELLED')),
    CONSTRAINT andon_jobs_paused_in CHECK (paused_in >= 1),
    CONSTRAINT andon_jobs_pause_iff_paused_in CHECK ((paused_in IS NULL) = (pause IS NULL)),
    CONSTRAINT andon_jobs_again_only_paused CHECK (again IS NULL OR pause IS NOT NULL),
    CONSTRAINT andon_jobs_attempt CHECK (attempt BETWEEN 0 AND 4294967295),
    CONSTRAINT andon_jobs_max_attempts CHECK (max_attempts BETWEEN 1 AND 4294967295),
    CONSTRAINT andon_jobs_priority CHECK (priority BETWEEN 0 AND 3),
    CONSTRAINT andon_jobs_token CHECK (token >= 0),
    CONSTRAINT andon_jobs_processing_has_session CHECK (stage <> 'PROCESSING' OR session_id IS NOT NULL),
    CONSTRAINT andon_jobs_final_has_no_session
        CHECK (stage NOT IN ('COMPLETED', 'FAILED') OR session_id IS NULL),
    CONSTRAINT andon_jobs_kind CHECK (length(kind) BETWEEN 1 AND 100),
    CONSTRAINT andon_jobs_unique_key_length CHECK (length(unique_key) BETWEEN 1 AND 255)
) STRICT;

-- R29: whatever the stage.
CREATE UNIQUE INDEX andon_jobs_unique_key ON andon_jobs (campaign_id, unique_key)
    WHERE unique_key IS NOT NULL;
-- R21: each (campaign, kind, priority) is one range, read from its due end.
CREATE INDEX andon_jobs_claim ON andon_jobs (campaign_id, kind, priority, run_at, id)
    WHERE stage = 'PENDING';
-- R24: what a session holds.
CREATE INDEX andon_jobs_held ON andon_jobs (session_id)
    WHERE session_id IS NOT NULL AND stage <> 'PENDING';
CREATE INDEX andon_jobs_by_campaign ON andon_jobs (campaign_id, id);

CREATE TABLE andon_attempts (
    job_id BLOB NOT NULL,
    token INTEGER NOT NULL,
    campaign_id BLOB NOT NULL,
    session_id BLOB NOT NULL,
    worker TEXT NOT NULL,
    claimed_at INTEGER NOT NULL,
    ended_at INTEGER,
    ending TEXT,
    fingerprint BLOB,
    answer TEXT,
    error TEXT,
    kept_result TEXT,
    PRIMARY KEY (job_id, token),
    CONSTRAINT andon_attempts_job FOREIGN KEY (job_id) REFERENCES andon_jobs (id) ON DELETE CASCADE,
    CONSTRAINT andon_attempts_token CHECK (token >= 1),
    CONSTRAINT andon_attempts_ending CHECK (ending IN
        ('complete', 'service', 'retryable', 'permanent', 'release', 'snooze', 'swept', 'cancelled')),
    CONSTRAINT andon_attempts_fingerprint CHECK (length(fingerprint) = 32)
) STRICT;

CREATE INDEX andon_attempts_failed ON andon_attempts (campaign_id, claimed_at) WHERE error IS NOT NULL;

-- R16: at most one verdict a call.
CREATE TABLE andon_calls (
    job_id BLOB NOT NULL,
    token INTEGER NOT NULL,
    number INTEGER NOT NULL,
    service TEXT NOT NULL,
    verdict TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (job_id, token, number),
    CONSTRAINT andon_calls_job FOREIGN KEY (job_id) REFERENCES andon_jobs (id) ON DELETE CASCADE,
    CONSTRAINT andon_calls_number CHECK (number >= 0),
    CONSTRAINT andon_calls_verdict CHECK (verdict IN ('opened', 'counted', 'while_open', 'stale'))
) STRICT;

-- R34: of two results the first stands.
CREATE TABLE andon_steps (
    job_id BLOB NOT NULL,
    name TEXT NOT NULL,
    token INTEGER NOT NULL,
    result TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (job_id, name),
    CONSTRAINT andon_steps_job FOREIGN KEY (job_id) REFERENCES andon_jobs (id) ON DELETE CASCADE,
    CONSTRAINT andon_steps_token CHECK (token >= 1)
) STRICT;

CREATE TABLE andon_sessions (
    id BLOB PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    kinds TEXT NOT NULL,
    services TEXT NOT NULL,
    lease_ns INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    ended_at INTEGER,
    CONSTRAINT andon_sessions_id CHECK (length(id) = 16),
    CONSTRAINT andon_sessions_name CHECK (length(name) BETWEEN 1 AND 255),
    CONSTRAINT andon_sessions_lease CHECK (lease_ns >= 0)
) STRICT;

CREATE INDEX andon_sessions_open ON andon_sessions (id) WHERE ended_at IS NULL;

-- R31: append-only.
CREATE TABLE andon_journal (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    version INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT,
    kind TEXT NOT NULL,
    service TEXT,
    campaign_id BLOB,
    job_id BLOB,
    event TEXT NOT NULL,
    CONSTRAINT andon_journal_version CHECK (version >= 0),
    CONSTRAINT andon_journal_epoch CHECK (epoch >= 1)
) STRICT;

CREATE INDEX andon_journal_kind ON andon_journal (kind, seq);
CREATE INDEX andon_journal_service ON andon_journal (service, seq) WHERE service IS NOT NULL;
CREATE INDEX andon_journal_campaign ON andon_journal (campaign_id, seq) WHERE campaign_id IS NOT NULL;
CREATE INDEX andon_journal_at ON andon_journal (at);

CREATE TRIGGER andon_journal_no_update BEFORE UPDATE ON andon_journal
BEGIN
    SELECT RAISE(ABORT, 'andon_journal_append_only: an entry is never changed');
END;

CREATE TRIGGER andon_journal_no_delete BEFORE DELETE ON andon_journal
BEGIN
    SELECT RAISE(ABORT, 'andon_journal_append_only: an entry is never deleted');
END;

-- I14: the first answer under a key.
CREATE TABLE andon_idempotency (
    key TEXT PRIMARY KEY NOT NULL,
    request BLOB NOT NULL,
    status INTEGER NOT NULL,
    body TEXT NOT NULL,
    at INTEGER NOT NULL,
    CONSTRAINT andon_idempotency_request CHECK (length(request) = 32),
    CONSTRAINT andon_idempotency_status CHECK (status BETWEEN 100 AND 999)
) STRICT;

CREATE INDEX andon_idempotency_at ON andon_idempotency (at);

-- Notes about the line as a whole: that it is initialised, and in which database it lives (R35).
CREATE TABLE andon_notes (
    name TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT;
