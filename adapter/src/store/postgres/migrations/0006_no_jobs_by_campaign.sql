-- `andon_jobs_by_stage` has taken its place.
DROP INDEX IF EXISTS andon_jobs_by_campaign;
