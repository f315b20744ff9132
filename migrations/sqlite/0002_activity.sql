-- Activity: what changes with every message and proves nothing. Kept apart from the events, and pruned.
-- The same schema as migrations/postgres/0002_activity.sql. Times are microseconds since 1970 UTC.

-- When a person last wrote to a sender, so that the customer service window is known; kept 31 days.
CREATE TABLE service_window (
    -- As in subject; there need be no row there.
    partition INTEGER NOT NULL,
    -- As in subject; there need be no row there.
    subject_key BLOB NOT NULL,
    -- The sender that was written to.
    sender_id TEXT NOT NULL,
    -- The business; compared after every read, as a second wall.
    business_id TEXT NOT NULL,
    -- When the last message or call came that opened the window.
    last_inbound INTEGER NOT NULL,
    PRIMARY KEY (partition, subject_key, sender_id)
) STRICT;
CREATE INDEX service_window_by_age ON service_window (last_inbound);

-- Messages sent to a person, so that they can be counted; kept 366 days, the longest that a frequency cap may reach back.
CREATE TABLE message_send (
    -- As in subject; there need be no row there.
    partition INTEGER NOT NULL,
    -- As in subject; there need be no row there.
    subject_key BLOB NOT NULL,
    -- Keyed hash of the message's id: a send reported twice counts once.
    message BLOB NOT NULL,
    -- The business; compared after every read, as a second wall.
    business_id TEXT NOT NULL,
    -- Key of the purpose that it was sent for.
    purpose TEXT NOT NULL,
    -- Class of the message: 1 MARKETING, 2 UTILITY, 3 AUTHENTICATION, 4 SERVICE, 5 CONSENT_REQUEST, 6 OPT_OUT_CONFIRMATION.
    class INTEGER NOT NULL,
    -- When it was sent.
    sent_at INTEGER NOT NULL,
    PRIMARY KEY (partition, subject_key, message)
) STRICT;
CREATE INDEX message_send_by_time ON message_send (partition, subject_key, sent_at);
CREATE INDEX message_send_by_age ON message_send (sent_at);

-- Who may send the one confirmation of an opt-out: the first request that asked; kept 31 days.
CREATE TABLE opt_out_permit (
    -- The opt-out.
    event_id BLOB NOT NULL PRIMARY KEY,
    -- Keyed hash of the request's id: the same request is told the same again.
    request BLOB NOT NULL,
    -- When it asked.
    taken_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX opt_out_permit_by_age ON opt_out_permit (taken_at);

-- SQLite keeps no comments in the schema, so what became of an older one is written as PostgreSQL has it:
-- COMMENT ON COLUMN idempotency.rpc IS 'Which call: 1 RecordConsent, 2 Withdraw, 3 ConfirmConsent, 4 AddSuppression, 5 LiftSuppression, 6 RecordRegistryCheck, 7 ReportInbound, 8 ReportSend, 9 ReportDelivery.';
