-- What retention has removed: the jobs that campaigns still count.
-- No foreign keys: taking one would lock the campaign's row.
CREATE TABLE IF NOT EXISTS andon_removed_counts (
    campaign_id uuid PRIMARY KEY,
    pending bigint NOT NULL,
    processing bigint NOT NULL,
    completed bigint NOT NULL,
    failed bigint NOT NULL,
    cancelled bigint NOT NULL,
    -- R29: since when unique keys of the campaign are missing.
    keys_at timestamptz,
    CONSTRAINT andon_removed_counts_not_negative
        CHECK (pending >= 0 AND processing >= 0 AND completed >= 0 AND failed >= 0 AND cancelled >= 0)
);

-- For as long as somebody may ask for one of them.
CREATE TABLE IF NOT EXISTS andon_removed_jobs (
    job_id uuid PRIMARY KEY,
    removed_at timestamptz NOT NULL
);

CREATE INDEX IF NOT EXISTS andon_removed_jobs_at ON andon_removed_jobs (removed_at);
