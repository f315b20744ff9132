-- Erasures that the policy's retention puts off: what proves a consent is kept until then, and removed by whoever serves.
-- The same schema as migrations/postgres/0005_erasure.sql. Times are microseconds since 1970 UTC.

-- Erasures that are yet to remove the payloads of a subject. What can be removed at once goes with the event itself.
CREATE TABLE erasure (
    -- The subject.
    subject_id BLOB NOT NULL,
    -- Where the event of the erasure lies in the partition of the subject: payloads up to it are removed, later ones stay.
    "offset" INTEGER NOT NULL,
    -- When they are removed.
    due_at INTEGER NOT NULL,
    PRIMARY KEY (subject_id, "offset")
) STRICT;
CREATE INDEX erasure_by_due ON erasure (due_at);

-- SQLite keeps no comments in the schema, so what became of an older one is written as PostgreSQL has it:
-- COMMENT ON COLUMN idempotency.rpc IS 'Which call: 1 RecordConsent, 2 Withdraw, 3 ConfirmConsent, 4 AddSuppression, 5 LiftSuppression, 6 RecordRegistryCheck, 7 ReportInbound, 8 ReportSend, 9 ReportDelivery, 10 EraseSubject.';
