-- A foreign key is checked row by row, and each check locks the row that it refers to: all additions and
-- endings of a campaign's jobs would write to that one row. So these are checked once a statement, and
-- lock nothing: what adds jobs holds their campaign by another lock to the commit, and what deletes a
-- campaign holds it alone and deletes what belongs to it. An attempt is added from its job's row.
ALTER TABLE andon_jobs DROP CONSTRAINT andon_jobs_campaign;
ALTER TABLE andon_attempts DROP CONSTRAINT andon_attempts_job;
ALTER TABLE andon_count_deltas DROP CONSTRAINT andon_count_deltas_campaign;

-- Takes the trigger's name as that of the constraint.
CREATE FUNCTION andon_check_campaign_exists() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM (SELECT DISTINCT campaign_id FROM added) AS a
               WHERE NOT EXISTS (SELECT 1 FROM andon_campaigns c WHERE c.id = a.campaign_id)) THEN
        RAISE EXCEPTION 'there is no such campaign'
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER andon_jobs_campaign
    AFTER INSERT ON andon_jobs REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION andon_check_campaign_exists();

CREATE TRIGGER andon_count_deltas_campaign
    AFTER INSERT ON andon_count_deltas REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION andon_check_campaign_exists();
