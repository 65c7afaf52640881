-- Figures over time, for charts: a record of what readers were shown. Nothing reads it to decide
-- anything, and no status is derived from it.

-- No foreign key: taking one would lock the campaign's row. The id 0 is the whole line.
CREATE TABLE andon_samples (
    campaign_id uuid NOT NULL,
    grain text NOT NULL,
    at timestamptz NOT NULL,
    pending bigint NOT NULL,
    processing bigint NOT NULL,
    paused bigint NOT NULL,
    completed bigint NOT NULL,
    failed bigint NOT NULL,
    cancelled bigint NOT NULL,
    in_flight bigint NOT NULL,
    is_paused boolean NOT NULL,
    PRIMARY KEY (campaign_id, grain, at),
    CONSTRAINT andon_samples_grain CHECK (grain IN ('fine', 'coarse')),
    CONSTRAINT andon_samples_not_negative
        CHECK (pending >= 0 AND processing >= 0 AND paused >= 0 AND completed >= 0 AND failed >= 0
            AND cancelled >= 0 AND in_flight >= 0)
) WITH (fillfactor = 80);

CREATE INDEX andon_samples_at ON andon_samples (grain, at);

CREATE TABLE andon_call_counts (
    service text NOT NULL,
    minute timestamptz NOT NULL,
    succeeded bigint NOT NULL,
    failed bigint NOT NULL,
    PRIMARY KEY (service, minute),
    CONSTRAINT andon_call_counts_not_negative CHECK (succeeded >= 0 AND failed >= 0)
) WITH (fillfactor = 80);

CREATE INDEX andon_call_counts_minute ON andon_call_counts (minute);

-- The last sample of a campaign is taken once it is final.
CREATE INDEX andon_campaigns_finished ON andon_campaigns (finished_at) WHERE finished_at IS NOT NULL;
