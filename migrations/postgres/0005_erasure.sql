-- Erasures that the policy's retention puts off: what proves a consent is kept until then, and removed by whoever serves.
-- The same schema as migrations/sqlite/0005_erasure.sql. Times are microseconds since 1970 UTC.

CREATE TABLE erasure (
    subject_id uuid   NOT NULL,
    "offset"   bigint NOT NULL,
    due_at     bigint NOT NULL,
    PRIMARY KEY (subject_id, "offset")
);
CREATE INDEX erasure_by_due ON erasure (due_at);
COMMENT ON TABLE erasure IS 'Erasures that are yet to remove the payloads of a subject. What can be removed at once goes with the event itself.';
COMMENT ON COLUMN erasure.subject_id IS 'The subject.';
COMMENT ON COLUMN erasure."offset" IS 'Where the event of the erasure lies in the partition of the subject: payloads up to it are removed, later ones stay.';
COMMENT ON COLUMN erasure.due_at IS 'When they are removed.';

COMMENT ON COLUMN idempotency.rpc IS 'Which call: 1 RecordConsent, 2 Withdraw, 3 ConfirmConsent, 4 AddSuppression, 5 LiftSuppression, 6 RecordRegistryCheck, 7 ReportInbound, 8 ReportSend, 9 ReportDelivery, 10 EraseSubject.';
