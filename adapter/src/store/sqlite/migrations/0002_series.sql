-- Figures over time, for charts: a record of what readers were shown. Nothing reads it to decide
-- anything, and no status is derived from it.

-- No foreign key: taking one would lock the campaign's row. The id 0 is the whole line.
CREATE TABLE andon_samples (
    campaign_id BLOB NOT NULL,
    grain TEXT NOT NULL,
    at INTEGER NOT NULL,
    pending INTEGER NOT NULL,
    processing INTEGER NOT NULL,
    paused INTEGER NOT NULL,
    completed INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    in_flight INTEGER NOT NULL,
    is_paused INTEGER NOT NULL,
    PRIMARY KEY (campaign_id, grain, at),
    CONSTRAINT andon_samples_campaign_id CHECK (length(campaign_id) = 16),
    CONSTRAINT andon_samples_grain CHECK (grain IN ('fine', 'coarse')),
    CONSTRAINT andon_samples_not_negative
        CHECK (pending >= 0 AND processing >= 0 AND paused >= 0 AND completed >= 0 AND failed >= 0
            AND cancelled >= 0 AND in_flight >= 0),
    CONSTRAINT andon_samples_is_paused CHECK (is_paused IN (0, 1))
) STRICT;

CREATE INDEX andon_samples_at ON andon_samples (grain, at);

CREATE TABLE andon_call_counts (
    service TEXT NOT NULL,
    minute INTEGER NOT NULL,
    succeeded INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    PRIMARY KEY (service, minute),
    CONSTRAINT andon_call_counts_not_negative CHECK (succeeded >= 0 AND failed >= 0)
) STRICT;

CREATE INDEX andon_call_counts_minute ON andon_call_counts (minute);

-- The last sample of a campaign is taken once it is final.
CREATE INDEX andon_campaigns_finished ON andon_campaigns (finished_at) WHERE finished_at IS NOT NULL;
