-- Activity: what changes with every message and proves nothing. Kept apart from the events, and pruned.
-- The same schema as migrations/sqlite/0002_activity.sql. Times are microseconds since 1970 UTC.

CREATE TABLE service_window (
    partition    smallint NOT NULL,
    subject_key  bytea    NOT NULL,
    sender_id    text     NOT NULL,
    business_id  text     NOT NULL,
    last_inbound bigint   NOT NULL,
    PRIMARY KEY (partition, subject_key, sender_id)
);
CREATE INDEX service_window_by_age ON service_window (last_inbound);
COMMENT ON TABLE service_window IS 'When a person last wrote to a sender, so that the customer service window is known; kept 31 days.';
COMMENT ON COLUMN service_window.partition IS 'As in subject; there need be no row there.';
COMMENT ON COLUMN service_window.subject_key IS 'As in subject; there need be no row there.';
COMMENT ON COLUMN service_window.sender_id IS 'The sender that was written to.';
COMMENT ON COLUMN service_window.business_id IS 'The business; compared after every read, as a second wall.';
COMMENT ON COLUMN service_window.last_inbound IS 'When the last message or call came that opened the window.';

CREATE TABLE message_send (
    partition   smallint NOT NULL,
    subject_key bytea    NOT NULL,
    message     bytea    NOT NULL,
    business_id text     NOT NULL,
    purpose     text     NOT NULL,
    class       smallint NOT NULL,
    sent_at     bigint   NOT NULL,
    PRIMARY KEY (partition, subject_key, message)
);
CREATE INDEX message_send_by_time ON message_send (partition, subject_key, sent_at);
CREATE INDEX message_send_by_age ON message_send (sent_at);
COMMENT ON TABLE message_send IS 'Messages sent to a person, so that they can be counted; kept 366 days, the longest that a frequency cap may reach back.';
COMMENT ON COLUMN message_send.partition IS 'As in subject; there need be no row there.';
COMMENT ON COLUMN message_send.subject_key IS 'As in subject; there need be no row there.';
COMMENT ON COLUMN message_send.message IS 'Keyed hash of the message''s id: a send reported twice counts once.';
COMMENT ON COLUMN message_send.business_id IS 'The business; compared after every read, as a second wall.';
COMMENT ON COLUMN message_send.purpose IS 'Key of the purpose that it was sent for.';
COMMENT ON COLUMN message_send.class IS 'Class of the message: 1 MARKETING, 2 UTILITY, 3 AUTHENTICATION, 4 SERVICE, 5 CONSENT_REQUEST, 6 OPT_OUT_CONFIRMATION.';
COMMENT ON COLUMN message_send.sent_at IS 'When it was sent.';

CREATE TABLE opt_out_permit (
    event_id uuid   NOT NULL PRIMARY KEY,
    request  bytea  NOT NULL,
    taken_at bigint NOT NULL
);
CREATE INDEX opt_out_permit_by_age ON opt_out_permit (taken_at);
COMMENT ON TABLE opt_out_permit IS 'Who may send the one confirmation of an opt-out: the first request that asked; kept 31 days.';
COMMENT ON COLUMN opt_out_permit.event_id IS 'The opt-out.';
COMMENT ON COLUMN opt_out_permit.request IS 'Keyed hash of the request''s id: the same request is told the same again.';
COMMENT ON COLUMN opt_out_permit.taken_at IS 'When it asked.';

COMMENT ON COLUMN idempotency.rpc IS 'Which call: 1 RecordConsent, 2 Withdraw, 3 ConfirmConsent, 4 AddSuppression, 5 LiftSuppression, 6 RecordRegistryCheck, 7 ReportInbound, 8 ReportSend, 9 ReportDelivery.';
