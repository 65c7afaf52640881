-- Who has the present stop in hand: nobody, or one person. It holds nothing paused and resumes nothing (R7).
-- A table of its own: a server of the version before goes on beside it, and the row says of which stop it is.
CREATE TABLE IF NOT EXISTS andon_acknowledgements (
    epoch bigint PRIMARY KEY,
    acknowledged jsonb NOT NULL
);

-- Leases that an operator took from sessions that live on, so that their workers are told (R24, R30). They
-- go with their session. No foreign keys: taking one would lock a session's row against its heartbeat.
CREATE TABLE IF NOT EXISTS andon_lost_leases (
    session_id uuid NOT NULL,
    job_id uuid NOT NULL,
    PRIMARY KEY (session_id, job_id)
);
