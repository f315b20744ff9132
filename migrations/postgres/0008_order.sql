-- One index of the events less. Those of a subject are found by (subject_id, event_id), which stays, since no event may be
-- there twice, and are put into the order of their offsets when they are read: that is for one person, and rare, where the
-- index that gave the order cost every append a descent.

-- Whoever appends queues behind the dropping: it gives up rather than wait for a long transaction, and may be repeated.
SET LOCAL lock_timeout = '2s';

DROP INDEX event_by_subject;

COMMENT ON COLUMN event.subject_id IS 'Id of the subject, a UUIDv7 (before this migration a random one); says nothing about the person but when its first event was recorded.';
COMMENT ON COLUMN subject.subject_id IS 'The id that events carry.';
