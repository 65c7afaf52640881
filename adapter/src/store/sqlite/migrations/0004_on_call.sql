-- Who has the present stop in hand: nobody, or one person. It holds nothing paused and resumes nothing (R7).
CREATE TABLE IF NOT EXISTS andon_acknowledgements (
    epoch INTEGER NOT NULL PRIMARY KEY,
    acknowledged TEXT NOT NULL,
    CONSTRAINT andon_acknowledgements_json CHECK (json_valid(acknowledged))
) STRICT;

-- Leases that an operator took from sessions that live on, so that their workers are told (R24, R30). They
-- go with their session.
CREATE TABLE IF NOT EXISTS andon_lost_leases (
    session_id BLOB NOT NULL,
    job_id BLOB NOT NULL,
    PRIMARY KEY (session_id, job_id),
    CONSTRAINT andon_lost_leases_session_id CHECK (length(session_id) = 16),
    CONSTRAINT andon_lost_leases_job_id CHECK (length(job_id) = 16)
) STRICT;
