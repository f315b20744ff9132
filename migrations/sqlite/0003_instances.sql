-- Who serves this ledger from memory, and how far each has followed it: what the instances tell each other.
-- The same schema as migrations/postgres/0003_instances.sql; a file has one instance, which writes nothing here.

-- Instances that answer from memory. A restriction is acknowledged when each has applied it, or may no longer answer.
CREATE TABLE cache_instance (
    -- Random, new at every start and whenever the row was lost.
    instance_id BLOB NOT NULL PRIMARY KEY,
    -- Raised by every renewal. A row where it stands still for longer than the lease is deleted by whoever saw that.
    renewals INTEGER NOT NULL DEFAULT 0,
    -- How long the instance answers from memory after a renewal, in microseconds; writers wait for the longest.
    lease INTEGER NOT NULL,
    -- Number of the key under which it makes subject keys.
    key_id INTEGER NOT NULL,
    -- By partition, from 0: the offset up to which every event is applied to its memory, 8 bytes each, the highest first.
    applied BLOB NOT NULL
) STRICT;

-- The history of the ledger: another id after an operator accepted that commits were lost.
INSERT INTO ledger_meta (name, value) VALUES ('history', lower(hex(randomblob(16))));
-- COMMENT ON COLUMN ledger_meta.name IS 'ledger_id, partitions, match_rules, key_check, history; history_lost while commits are known to be lost and nobody accepted it.';
