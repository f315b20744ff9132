-- Who serves this ledger from memory, and how far each has followed it: what the instances tell each other.
-- The same schema as migrations/sqlite/0003_instances.sql.

CREATE TABLE cache_instance (
    instance_id uuid     NOT NULL PRIMARY KEY,
    renewals    bigint   NOT NULL DEFAULT 0,
    lease       bigint   NOT NULL,
    key_id      integer  NOT NULL,
    applied     bytea    NOT NULL
);
COMMENT ON TABLE cache_instance IS 'Instances that answer from memory. A restriction is acknowledged when each has applied it, or may no longer answer.';
COMMENT ON COLUMN cache_instance.instance_id IS 'Random, new at every start and whenever the row was lost.';
COMMENT ON COLUMN cache_instance.renewals IS 'Raised by every renewal. A row where it stands still for longer than the lease is deleted by whoever saw that.';
COMMENT ON COLUMN cache_instance.lease IS 'How long the instance answers from memory after a renewal, in microseconds; writers wait for the longest.';
COMMENT ON COLUMN cache_instance.key_id IS 'Number of the key under which it makes subject keys.';
COMMENT ON COLUMN cache_instance.applied IS 'By partition, from 0: the offset up to which every event is applied to its memory, 8 bytes each, the highest first.';

-- The history of the ledger: another id after an operator accepted that commits were lost.
INSERT INTO ledger_meta (name, value) VALUES ('history', gen_random_uuid()::text);
COMMENT ON COLUMN ledger_meta.name IS 'ledger_id, partitions, match_rules, key_check, history; history_lost while commits are known to be lost and nobody accepted it.';

-- What guarded the ledger while one instance served it.
DELETE FROM ledger_meta WHERE name = 'serving';
