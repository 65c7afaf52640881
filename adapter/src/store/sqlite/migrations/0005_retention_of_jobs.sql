-- What retention has removed: the jobs that campaigns still count.
CREATE TABLE IF NOT EXISTS andon_removed_counts (
    campaign_id BLOB PRIMARY KEY NOT NULL,
    pending INTEGER NOT NULL,
    processing INTEGER NOT NULL,
    completed INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    -- R29: since when unique keys of the campaign are missing.
    keys_at INTEGER,
    CONSTRAINT andon_removed_counts_not_negative
        CHECK (pending >= 0 AND processing >= 0 AND completed >= 0 AND failed >= 0 AND cancelled >= 0)
) STRICT;

-- For as long as somebody may ask for one of them.
CREATE TABLE IF NOT EXISTS andon_removed_jobs (
    job_id BLOB PRIMARY KEY NOT NULL,
    removed_at INTEGER NOT NULL
) STRICT;

CREATE INDEX IF NOT EXISTS andon_removed_jobs_at ON andon_removed_jobs (removed_at);
