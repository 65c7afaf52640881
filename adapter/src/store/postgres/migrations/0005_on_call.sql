-- Who has the present stop in hand: nobody, or one person. It holds nothing paused and resumes nothing (R7).
ALTER TABLE andon_queue
    ADD COLUMN acknowledged jsonb,
    ADD CONSTRAINT andon_queue_acknowledged_only_paused CHECK (acknowledged IS NULL OR pause IS NOT NULL);

-- Leases that an operator took from sessions that live on, so that their workers are told (R24, R30). They
-- go with their session. No foreign keys: taking one would lock a session's row against its heartbeat.
CREATE TABLE andon_lost_leases (
    session_id uuid NOT NULL,
    job_id uuid NOT NULL,
    PRIMARY KEY (session_id, job_id)
);
