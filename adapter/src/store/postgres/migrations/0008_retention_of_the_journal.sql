-- R31, R32: the checkpoint behind the archived part of the journal: what it folds to, and the end of the
-- archive's chain.
CREATE TABLE IF NOT EXISTS andon_archive (
    id bigint PRIMARY KEY,
    seq bigint NOT NULL,
    entries bigint NOT NULL,
    hash bytea NOT NULL,
    gate jsonb NOT NULL,
    openings jsonb NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT andon_archive_one_row CHECK (id = 1),
    CONSTRAINT andon_archive_hash CHECK (length(hash) = 32)
);

-- The campaigns that it folds to.
CREATE TABLE IF NOT EXISTS andon_archived_campaigns (
    campaign_id uuid PRIMARY KEY,
    facts jsonb NOT NULL
);

-- R31: an entry is deleted only behind the checkpoint. The trigger is the one that there is; what it calls
-- lets a deletion through, which then is looked at row by row.
CREATE OR REPLACE FUNCTION andon_refuse_journal_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'an entry of the journal is never changed or deleted'
        USING ERRCODE = 'integrity_constraint_violation',
              CONSTRAINT = 'andon_journal_append_only';
END
$$;

CREATE OR REPLACE FUNCTION andon_refuse_unarchived_deletion() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM gone WHERE NOT EXISTS
               (SELECT 1 FROM andon_archive a WHERE a.seq >= gone.seq)) THEN
        RAISE EXCEPTION 'an entry of the journal is never deleted before it is archived'
            USING ERRCODE = 'integrity_constraint_violation',
                  CONSTRAINT = 'andon_journal_append_only';
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER andon_journal_delete_archived_only
    AFTER DELETE ON andon_journal REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION andon_refuse_unarchived_deletion();
