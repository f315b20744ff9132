-- The ledger: events of consent, the facts folded from them, and what is kept beside them.
-- The same schema as migrations/postgres/0001_ledger.sql. Times are microseconds since 1970 UTC.

-- What must never change while this ledger lives, compared at every start.
CREATE TABLE ledger_meta (
    -- ledger_id, partitions, match_rules, key_check, serving.
    name TEXT NOT NULL PRIMARY KEY,
    -- The value, as text.
    value TEXT NOT NULL
) STRICT;

-- The last offset of each partition. Its row lock gives the order in which events commit.
CREATE TABLE partition_head (
    -- 0 is the system partition (catalogue, policy), 1 to 64 hold subjects.
    partition INTEGER NOT NULL PRIMARY KEY,
    -- The last committed offset; 0 when the partition is empty.
    head INTEGER NOT NULL
) STRICT;

-- Consent events: appended, never changed, and without personal data.
CREATE TABLE event (
    -- The partition of the subject.
    partition INTEGER NOT NULL,
    -- Position in the partition: dense, from 1, in the order of commits.
    "offset" INTEGER NOT NULL,
    -- UUIDv7, made when the event was recorded.
    event_id BLOB NOT NULL,
    -- Random id of the subject; says nothing about the person.
    subject_id BLOB NOT NULL,
    -- Slug of the business, for reports; the body says it too.
    business_id TEXT NOT NULL,
    -- When the ledger took it.
    recorded_at INTEGER NOT NULL,
    -- The canonical bytes of the event (JSON), stored verbatim: a hash over them stays true.
    body TEXT NOT NULL,
    PRIMARY KEY (partition, "offset"),
    UNIQUE (subject_id, event_id)
) STRICT;
CREATE INDEX event_by_subject ON event (subject_id, "offset");

-- Evidence and other personal data of an event, encrypted; can be deleted without touching the event.
CREATE TABLE event_payload (
    -- The event it belongs to.
    event_id BLOB NOT NULL,
    -- The subject it belongs to: whoever is erased loses these rows.
    subject_id BLOB NOT NULL,
    -- Key number, nonce, AES-256-GCM-SIV ciphertext and tag.
    sealed BLOB NOT NULL,
    PRIMARY KEY (subject_id, event_id)
) STRICT;

-- The facts of one (business, address): a projection of its events, updated in the same transaction.
CREATE TABLE subject (
    -- Keyed hash of business and address, modulo 64, plus 1; never changes.
    partition INTEGER NOT NULL,
    -- Rotatable keyed hash of the address under a key of the business.
    subject_key BLOB NOT NULL,
    -- The business; compared after every read, as a second wall.
    business_id TEXT NOT NULL,
    -- The random id that events carry.
    subject_id BLOB NOT NULL UNIQUE,
    -- How many events it has; an append names the version it was decided on.
    version INTEGER NOT NULL,
    -- Version of the fold that made the facts; another one is folded again from the events.
    fold_version INTEGER NOT NULL,
    -- Number of the key under which subject_key was made.
    key_id INTEGER NOT NULL,
    -- The facts in their compact form. No personal data.
    facts BLOB NOT NULL,
    PRIMARY KEY (partition, subject_key)
) STRICT, WITHOUT ROWID;

-- The address of a subject as it first came, encrypted; deleted on erasure. No input of the fold.
CREATE TABLE subject_address (
    -- The subject.
    subject_id BLOB NOT NULL PRIMARY KEY,
    -- Key number, nonce, AES-256-GCM-SIV ciphertext and tag.
    sealed BLOB NOT NULL
) STRICT;

-- Answers of calls that were carried out, by their idempotency key; kept 90 days.
CREATE TABLE idempotency (
    -- The business that called.
    business_id TEXT NOT NULL,
    -- Which call: 1 RecordConsent, 2 Withdraw, 3 ConfirmConsent, 4 AddSuppression, 5 LiftSuppression.
    rpc INTEGER NOT NULL,
    -- Keyed hash of the caller's key, which may hold personal data.
    key_hash BLOB NOT NULL,
    -- Keyed hash of our canonical encoding of the request.
    content_hash BLOB NOT NULL,
    -- The answer without its token: JSON without personal data.
    answer TEXT NOT NULL,
    -- Where the event of the call lies, for the token of the answer.
    partition INTEGER NOT NULL,
    -- Where the event of the call lies, for the token of the answer.
    "offset" INTEGER NOT NULL,
    -- When the call was carried out.
    created_at INTEGER NOT NULL,
    -- How often a restricting call was repeated; the repeat writes this.
    repeats INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (business_id, rpc, key_hash)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_age ON idempotency (created_at);

-- The system partition: every change of the catalogue and the policy, in order. The catalogue is the fold of it.
CREATE TABLE system_event (
    -- Position in partition 0: dense, from 1, in the order of commits.
    "offset" INTEGER NOT NULL PRIMARY KEY,
    -- When the ledger took it.
    recorded_at INTEGER NOT NULL,
    -- The change, as JSON.
    body TEXT NOT NULL
) STRICT;

WITH RECURSIVE n (partition) AS (VALUES (0) UNION ALL SELECT partition + 1 FROM n WHERE partition < 64)
INSERT INTO partition_head (partition, head) SELECT partition, 0 FROM n;
INSERT INTO ledger_meta (name, value) VALUES
    ('ledger_id', lower(hex(randomblob(16)))),
    ('partitions', '64'),
    ('match_rules', '1');
