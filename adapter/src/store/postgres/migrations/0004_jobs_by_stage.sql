-- no-transaction
-- The newest jobs of a stage, campaign by campaign: a list of what there is little of, such as FAILED jobs,
-- no longer passes over all the others. It takes the place of the index without the stage.
CREATE INDEX CONCURRENTLY IF NOT EXISTS andon_jobs_by_stage ON andon_jobs (campaign_id, stage, id);
