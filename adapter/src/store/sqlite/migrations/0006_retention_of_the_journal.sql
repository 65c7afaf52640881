-- R31, R32: the checkpoint behind the archived part of the journal: what it folds to, and the end of the
-- archive's chain.
CREATE TABLE IF NOT EXISTS andon_archive (
    id INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    hash BLOB NOT NULL,
    gate TEXT NOT NULL,
    openings TEXT NOT NULL,
    at INTEGER NOT NULL,
    CONSTRAINT andon_archive_one_row CHECK (id = 1),
    CONSTRAINT andon_archive_hash CHECK (length(hash) = 32)
) STRICT;

-- The campaigns that it folds to.
CREATE TABLE IF NOT EXISTS andon_archived_campaigns (
    campaign_id BLOB PRIMARY KEY NOT NULL,
    facts TEXT NOT NULL
) STRICT;

-- R31: an entry is deleted only behind the checkpoint.
DROP TRIGGER IF EXISTS andon_journal_no_delete;

CREATE TRIGGER IF NOT EXISTS andon_journal_no_delete BEFORE DELETE ON andon_journal
WHEN NOT EXISTS (SELECT 1 FROM andon_archive a WHERE a.seq >= OLD.seq)
BEGIN
    SELECT RAISE(ABORT, 'andon_journal_append_only: an entry is never deleted before it is archived');
END;
