-- The ledger: events of consent, the facts folded from them, and what is kept beside them.
-- The same schema as migrations/sqlite/0001_ledger.sql. Times are microseconds since 1970 UTC.

CREATE TABLE ledger_meta (
    name  text NOT NULL PRIMARY KEY,
    value text NOT NULL
);
COMMENT ON TABLE ledger_meta IS 'What must never change while this ledger lives, compared at every start.';
COMMENT ON COLUMN ledger_meta.name IS 'ledger_id, partitions, match_rules, key_check, serving.';
COMMENT ON COLUMN ledger_meta.value IS 'The value, as text.';

CREATE TABLE partition_head (
    partition smallint NOT NULL PRIMARY KEY,
    head      bigint   NOT NULL
);
COMMENT ON TABLE partition_head IS 'The last offset of each partition. Its row lock gives the order in which events commit.';
COMMENT ON COLUMN partition_head.partition IS '0 is the system partition (catalogue, policy), 1 to 64 hold subjects.';
COMMENT ON COLUMN partition_head.head IS 'The last committed offset; 0 when the partition is empty.';

CREATE TABLE event (
    partition   smallint NOT NULL,
    "offset"    bigint   NOT NULL,
    event_id    uuid     NOT NULL,
    subject_id  uuid     NOT NULL,
    business_id text     NOT NULL,
    recorded_at bigint   NOT NULL,
    body        text     NOT NULL,
    PRIMARY KEY (partition, "offset"),
    UNIQUE (subject_id, event_id)
);
CREATE INDEX event_by_subject ON event (subject_id, "offset");
COMMENT ON TABLE event IS 'Consent events: appended, never changed, and without personal data.';
COMMENT ON COLUMN event.partition IS 'The partition of the subject.';
COMMENT ON COLUMN event."offset" IS 'Position in the partition: dense, from 1, in the order of commits.';
COMMENT ON COLUMN event.event_id IS 'UUIDv7, made when the event was recorded.';
COMMENT ON COLUMN event.subject_id IS 'Random id of the subject; says nothing about the person.';
COMMENT ON COLUMN event.business_id IS 'Slug of the business, for reports; the body says it too.';
COMMENT ON COLUMN event.recorded_at IS 'When the ledger took it.';
COMMENT ON COLUMN event.body IS 'The canonical bytes of the event (JSON), stored verbatim: a hash over them stays true.';

CREATE TABLE event_payload (
    event_id   uuid  NOT NULL,
    subject_id uuid  NOT NULL,
    sealed     bytea NOT NULL,
    PRIMARY KEY (subject_id, event_id)
);
COMMENT ON TABLE event_payload IS 'Evidence and other personal data of an event, encrypted; can be deleted without touching the event.';
COMMENT ON COLUMN event_payload.event_id IS 'The event it belongs to.';
COMMENT ON COLUMN event_payload.subject_id IS 'The subject it belongs to: whoever is erased loses these rows.';
COMMENT ON COLUMN event_payload.sealed IS 'Key number, nonce, AES-256-GCM-SIV ciphertext and tag.';

CREATE TABLE subject (
    partition    smallint NOT NULL,
    subject_key  bytea    NOT NULL,
    business_id  text     NOT NULL,
    subject_id   uuid     NOT NULL UNIQUE,
    version      bigint   NOT NULL,
    fold_version integer  NOT NULL,
    key_id       integer  NOT NULL,
    facts        bytea    NOT NULL,
    PRIMARY KEY (partition, subject_key)
);
COMMENT ON TABLE subject IS 'The facts of one (business, address): a projection of its events, updated in the same transaction.';
COMMENT ON COLUMN subject.partition IS 'Keyed hash of business and address, modulo 64, plus 1; never changes.';
COMMENT ON COLUMN subject.subject_key IS 'Rotatable keyed hash of the address under a key of the business.';
COMMENT ON COLUMN subject.business_id IS 'The business; compared after every read, as a second wall.';
COMMENT ON COLUMN subject.subject_id IS 'The random id that events carry.';
COMMENT ON COLUMN subject.version IS 'How many events it has; an append names the version it was decided on.';
COMMENT ON COLUMN subject.fold_version IS 'Version of the fold that made the facts; another one is folded again from the events.';
COMMENT ON COLUMN subject.key_id IS 'Number of the key under which subject_key was made.';
COMMENT ON COLUMN subject.facts IS 'The facts in their compact form. No personal data.';

CREATE TABLE subject_address (
    subject_id uuid  NOT NULL PRIMARY KEY,
    sealed     bytea NOT NULL
);
COMMENT ON TABLE subject_address IS 'The address of a subject as it first came, encrypted; deleted on erasure. No input of the fold.';
COMMENT ON COLUMN subject_address.subject_id IS 'The subject.';
COMMENT ON COLUMN subject_address.sealed IS 'Key number, nonce, AES-256-GCM-SIV ciphertext and tag.';

CREATE TABLE idempotency (
    business_id  text     NOT NULL,
    rpc          smallint NOT NULL,
    key_hash     bytea    NOT NULL,
    content_hash bytea    NOT NULL,
    answer       text     NOT NULL,
    partition    smallint NOT NULL,
    "offset"     bigint   NOT NULL,
    created_at   bigint   NOT NULL,
    repeats      bigint   NOT NULL DEFAULT 0,
    PRIMARY KEY (business_id, rpc, key_hash)
);
CREATE INDEX idempotency_by_age ON idempotency (created_at);
COMMENT ON TABLE idempotency IS 'Answers of calls that were carried out, by their idempotency key; kept 90 days.';
COMMENT ON COLUMN idempotency.business_id IS 'The business that called.';
COMMENT ON COLUMN idempotency.rpc IS 'Which call: 1 RecordConsent, 2 Withdraw, 3 ConfirmConsent, 4 AddSuppression, 5 LiftSuppression.';
COMMENT ON COLUMN idempotency.key_hash IS 'Keyed hash of the caller''s key, which may hold personal data.';
COMMENT ON COLUMN idempotency.content_hash IS 'Keyed hash of our canonical encoding of the request.';
COMMENT ON COLUMN idempotency.answer IS 'The answer without its token: JSON without personal data.';
COMMENT ON COLUMN idempotency.partition IS 'Where the event of the call lies, for the token of the answer.';
COMMENT ON COLUMN idempotency."offset" IS 'Where the event of the call lies, for the token of the answer.';
COMMENT ON COLUMN idempotency.created_at IS 'When the call was carried out.';
COMMENT ON COLUMN idempotency.repeats IS 'How often a restricting call was repeated; the repeat writes this.';

CREATE TABLE system_event (
    "offset"    bigint NOT NULL PRIMARY KEY,
    recorded_at bigint NOT NULL,
    body        text   NOT NULL
);
COMMENT ON TABLE system_event IS 'The system partition: every change of the catalogue and the policy, in order. The catalogue is the fold of it.';
COMMENT ON COLUMN system_event."offset" IS 'Position in partition 0: dense, from 1, in the order of commits.';
COMMENT ON COLUMN system_event.recorded_at IS 'When the ledger took it.';
COMMENT ON COLUMN system_event.body IS 'The change, as JSON.';

INSERT INTO partition_head (partition, head) SELECT n, 0 FROM generate_series(0, 64) AS n;
INSERT INTO ledger_meta (name, value) VALUES
    ('ledger_id', gen_random_uuid()::text),
    ('partitions', '64'),
    ('match_rules', '1');
