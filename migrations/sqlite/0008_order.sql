-- One index of the events less: see migrations/postgres/0008_order.sql.

DROP INDEX event_by_subject;

-- COMMENT ON COLUMN event.subject_id IS 'Id of the subject, a UUIDv7 (before this migration a random one); says nothing about the person but when its first event was recorded.';
-- COMMENT ON COLUMN subject.subject_id IS 'The id that events carry.';
