-- A line on PostgreSQL 14 or newer.
-- Constraints repeat the invariants of the rules (I1 to I20) by name: nets, which decide nothing.

-- Room for HOT updates: these rows are written often, and no index covers what changes.
CREATE TABLE andon_queue (
    id bigint PRIMARY KEY,
    state text NOT NULL,
    epoch bigint NOT NULL,
    version bigint NOT NULL,
    last_seen timestamptz NOT NULL,
    pause jsonb,
    again jsonb,
    CONSTRAINT andon_queue_one_row CHECK (id = 1),
    CONSTRAINT andon_queue_state CHECK (state IN ('ACTIVE', 'PAUSED')),
    CONSTRAINT andon_queue_epoch CHECK (epoch >= 1),
    CONSTRAINT andon_queue_version CHECK (version >= 0),
    CONSTRAINT andon_queue_active_iff_no_pause CHECK ((state = 'ACTIVE') = (pause IS NULL)),
    CONSTRAINT andon_queue_again_only_paused CHECK (again IS NULL OR pause IS NOT NULL)
) WITH (fillfactor = 50);

CREATE TABLE andon_services (
    name text PRIMARY KEY,
    standing text NOT NULL,
    failure_threshold bigint NOT NULL,
    cool_down_ns bigint,
    CONSTRAINT andon_services_name CHECK (length(name) BETWEEN 1 AND 100),
    CONSTRAINT andon_services_standing CHECK (standing IN ('declared', 'retired')),
    CONSTRAINT andon_services_threshold CHECK (failure_threshold BETWEEN 1 AND 4294967295),
    CONSTRAINT andon_services_cool_down CHECK (cool_down_ns > 0)
);

CREATE TABLE andon_breakers (
    service text PRIMARY KEY,
    state text NOT NULL,
    since bigint NOT NULL,
    hold text NOT NULL,
    failure_count bigint NOT NULL,
    opening jsonb,
    opened_at timestamptz,
    CONSTRAINT andon_breakers_service FOREIGN KEY (service) REFERENCES andon_services (name),
    CONSTRAINT andon_breakers_state CHECK (state IN ('closed', 'open', 'half_open')),
    CONSTRAINT andon_breakers_since CHECK (since >= 0),
    CONSTRAINT andon_breakers_hold CHECK (hold IN ('held', 'free')),
    CONSTRAINT andon_breakers_held_only_open CHECK (hold = 'free' OR state = 'open'),
    CONSTRAINT andon_breakers_failure_count CHECK (failure_count BETWEEN 0 AND 4294967295),
    CONSTRAINT andon_breakers_opening_iff_not_closed CHECK ((state = 'closed') = (opening IS NULL)),
    CONSTRAINT andon_breakers_opened_at_with_opening CHECK ((opening IS NULL) = (opened_at IS NULL))
) WITH (fillfactor = 50);

-- I1: queue ACTIVE => every breaker CLOSED. Deferred, so that a step may write in any order. The lock
-- on the queue's row makes two transactions that change both sides at once see each other.
CREATE FUNCTION andon_check_active_needs_closed_breakers() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    queue_state text;
BEGIN
    SELECT state INTO queue_state FROM andon_queue WHERE id = 1 FOR SHARE;
    IF queue_state = 'ACTIVE' AND EXISTS (SELECT 1 FROM andon_breakers WHERE state <> 'closed') THEN
        RAISE EXCEPTION 'the queue is ACTIVE while a breaker is not closed'
            USING ERRCODE = 'integrity_constraint_violation',
                  CONSTRAINT = 'andon_active_needs_closed_breakers';
    END IF;
    RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER andon_active_needs_closed_breakers
    AFTER INSERT OR UPDATE ON andon_queue
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.state = 'ACTIVE')
    EXECUTE FUNCTION andon_check_active_needs_closed_breakers();

CREATE CONSTRAINT TRIGGER andon_active_needs_closed_breakers
    AFTER INSERT OR UPDATE ON andon_breakers
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.state <> 'closed')
    EXECUTE FUNCTION andon_check_active_needs_closed_breakers();

-- I12, R7, R9: epoch and version never go back, and only a step of the epoch makes a PAUSED queue ACTIVE.
CREATE FUNCTION andon_check_queue_goes_forward() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.epoch NOT IN (OLD.epoch, OLD.epoch + 1)
        OR NEW.version < OLD.version
        OR (OLD.state = 'PAUSED' AND NEW.state = 'ACTIVE' AND NEW.epoch = OLD.epoch)
    THEN
        RAISE EXCEPTION 'epoch and version never go back, and a resume adds 1 to the epoch'
            USING ERRCODE = 'integrity_constraint_violation',
                  CONSTRAINT = 'andon_queue_goes_forward';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER andon_queue_goes_forward
    BEFORE UPDATE ON andon_queue
    FOR EACH ROW EXECUTE FUNCTION andon_check_queue_goes_forward();

CREATE TABLE andon_tallies (
    service text NOT NULL,
    since bigint NOT NULL,
    tally text NOT NULL,
    count bigint NOT NULL,
    first_at timestamptz NOT NULL,
    first jsonb,
    last_at timestamptz NOT NULL,
    last jsonb,
    PRIMARY KEY (service, since, tally),
    CONSTRAINT andon_tallies_service FOREIGN KEY (service) REFERENCES andon_services (name),
    CONSTRAINT andon_tallies_tally CHECK (tally IN ('stale', 'while_open')),
    CONSTRAINT andon_tallies_count CHECK (count >= 0)
);

CREATE TABLE andon_campaigns (
    id uuid PRIMARY KEY,
    stage text NOT NULL,
    paused_in bigint,
    pause jsonb,
    again jsonb,
    open_ended boolean NOT NULL,
    name text NOT NULL,
    name_folded text NOT NULL,
    description text,
    metadata jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    started_at timestamptz,
    finished_at timestamptz,
    revision bigint NOT NULL,
    CONSTRAINT andon_campaigns_stage
        CHECK (stage IN ('CREATED', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED')),
    CONSTRAINT andon_campaigns_paused_in CHECK (paused_in >= 1),
    CONSTRAINT andon_campaigns_pause_iff_paused_in CHECK ((paused_in IS NULL) = (pause IS NULL)),
    CONSTRAINT andon_campaigns_again_only_paused CHECK (again IS NULL OR pause IS NOT NULL),
    CONSTRAINT andon_campaigns_name CHECK (length(name) BETWEEN 1 AND 255),
    CONSTRAINT andon_campaigns_revision CHECK (revision >= 0)
);

CREATE INDEX andon_campaigns_running ON andon_campaigns (id) WHERE stage = 'RUNNING';
CREATE INDEX andon_campaigns_marked ON andon_campaigns (paused_in) WHERE paused_in IS NOT NULL;

-- Counts of jobs by stage: these rows plus the deltas not folded into them yet.
CREATE TABLE andon_counts (
    campaign_id uuid PRIMARY KEY,
    pending bigint NOT NULL DEFAULT 0,
    processing bigint NOT NULL DEFAULT 0,
    completed bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    cancelled bigint NOT NULL DEFAULT 0,
    CONSTRAINT andon_counts_campaign
        FOREIGN KEY (campaign_id) REFERENCES andon_campaigns (id) ON DELETE CASCADE,
    CONSTRAINT andon_counts_not_negative
        CHECK (pending >= 0 AND processing >= 0 AND completed >= 0 AND failed >= 0 AND cancelled >= 0)
) WITH (fillfactor = 50);

-- Written and folded all the time: vacuum by rows, not by share.
CREATE TABLE andon_count_deltas (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id uuid NOT NULL,
    stage text NOT NULL,
    delta bigint NOT NULL,
    CONSTRAINT andon_count_deltas_campaign
        FOREIGN KEY (campaign_id) REFERENCES andon_campaigns (id) ON DELETE CASCADE,
    CONSTRAINT andon_count_deltas_stage
        CHECK (stage IN ('PENDING', 'PROCESSING', 'COMPLETED', 'FAILED', 'CANCELLED'))
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

CREATE INDEX andon_count_deltas_by_campaign ON andon_count_deltas (campaign_id);

-- Each move of a job leaves a dead row behind: vacuum early.
CREATE TABLE andon_jobs (
    id uuid PRIMARY KEY,
    campaign_id uuid NOT NULL,
    stage text NOT NULL,
    paused_in bigint,
    pause jsonb,
    again jsonb,
    attempt bigint NOT NULL,
    max_attempts bigint NOT NULL,
    run_at timestamptz NOT NULL,
    priority smallint NOT NULL,
    token bigint NOT NULL,
    session_id uuid,
    kind text NOT NULL,
    payload jsonb NOT NULL,
    unique_key text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    finished_at timestamptz,
    result jsonb,
    CONSTRAINT andon_jobs_campaign
        FOREIGN KEY (campaign_id) REFERENCES andon_campaigns (id) ON DELETE CASCADE,
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
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

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

-- An ending without an error is a HOT update: it touches no indexed column.
CREATE TABLE andon_attempts (
    job_id uuid NOT NULL,
    token bigint NOT NULL,
    campaign_id uuid NOT NULL,
    session_id uuid NOT NULL,
    worker text NOT NULL,
    claimed_at timestamptz NOT NULL,
    ended_at timestamptz,
    ending text,
    fingerprint bytea,
    answer jsonb,
    error text,
    kept_result jsonb,
    PRIMARY KEY (job_id, token),
    CONSTRAINT andon_attempts_job FOREIGN KEY (job_id) REFERENCES andon_jobs (id) ON DELETE CASCADE,
    CONSTRAINT andon_attempts_token CHECK (token >= 1),
    CONSTRAINT andon_attempts_ending CHECK (ending IN
        ('complete', 'service', 'retryable', 'permanent', 'release', 'snooze', 'swept', 'cancelled')),
    CONSTRAINT andon_attempts_fingerprint CHECK (length(fingerprint) = 32)
) WITH (fillfactor = 80);

CREATE INDEX andon_attempts_failed ON andon_attempts (campaign_id, claimed_at) WHERE error IS NOT NULL;

-- R16: at most one verdict a call.
CREATE TABLE andon_calls (
    job_id uuid NOT NULL,
    token bigint NOT NULL,
    number bigint NOT NULL,
    service text NOT NULL,
    verdict text NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (job_id, token, number),
    CONSTRAINT andon_calls_job FOREIGN KEY (job_id) REFERENCES andon_jobs (id) ON DELETE CASCADE,
    CONSTRAINT andon_calls_number CHECK (number >= 0),
    CONSTRAINT andon_calls_verdict CHECK (verdict IN ('opened', 'counted', 'while_open', 'stale'))
);

-- R34: of two results the first stands.
CREATE TABLE andon_steps (
    job_id uuid NOT NULL,
    name text NOT NULL,
    token bigint NOT NULL,
    result jsonb NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (job_id, name),
    CONSTRAINT andon_steps_job FOREIGN KEY (job_id) REFERENCES andon_jobs (id) ON DELETE CASCADE,
    CONSTRAINT andon_steps_token CHECK (token >= 1)
);

-- One heartbeat writes one row; nothing indexes `expires_at`, so it is a HOT update.
CREATE TABLE andon_sessions (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    kinds jsonb NOT NULL,
    services jsonb NOT NULL,
    lease_ns bigint NOT NULL,
    started_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    ended_at timestamptz,
    CONSTRAINT andon_sessions_name CHECK (length(name) BETWEEN 1 AND 255),
    CONSTRAINT andon_sessions_lease CHECK (lease_ns >= 0)
) WITH (fillfactor = 50);

CREATE INDEX andon_sessions_open ON andon_sessions (id) WHERE ended_at IS NULL;

-- R31: append-only.
CREATE TABLE andon_journal (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    version bigint NOT NULL,
    epoch bigint NOT NULL,
    actor jsonb NOT NULL,
    reason text,
    kind text NOT NULL,
    service text,
    campaign_id uuid,
    job_id uuid,
    event jsonb NOT NULL,
    CONSTRAINT andon_journal_version CHECK (version >= 0),
    CONSTRAINT andon_journal_epoch CHECK (epoch >= 1)
);

CREATE INDEX andon_journal_kind ON andon_journal (kind, seq);
CREATE INDEX andon_journal_service ON andon_journal (service, seq) WHERE service IS NOT NULL;
CREATE INDEX andon_journal_campaign ON andon_journal (campaign_id, seq) WHERE campaign_id IS NOT NULL;
CREATE INDEX andon_journal_at ON andon_journal (at);

CREATE FUNCTION andon_refuse_journal_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'an entry of the journal is never changed or deleted'
        USING ERRCODE = 'integrity_constraint_violation',
              CONSTRAINT = 'andon_journal_append_only';
END
$$;

CREATE TRIGGER andon_journal_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON andon_journal
    FOR EACH STATEMENT EXECUTE FUNCTION andon_refuse_journal_change();

-- I14: the first answer under a key.
CREATE TABLE andon_idempotency (
    key text PRIMARY KEY,
    request bytea NOT NULL,
    status smallint NOT NULL,
    body jsonb NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT andon_idempotency_request CHECK (length(request) = 32),
    CONSTRAINT andon_idempotency_status CHECK (status BETWEEN 100 AND 999)
);

CREATE INDEX andon_idempotency_at ON andon_idempotency (at);

-- Notes about the line as a whole: that it is initialised, and in which database it lives (R35).
CREATE TABLE andon_notes (
    name text PRIMARY KEY,
    value text NOT NULL
);
