-- The newest jobs of a stage, campaign by campaign: a list of what there is little of, such as FAILED jobs,
-- no longer passes over all the others. It takes the place of the index without the stage, which goes last:
-- until then only writes wait.
CREATE INDEX andon_jobs_by_stage ON andon_jobs (campaign_id, stage, id);
DROP INDEX andon_jobs_by_campaign;
