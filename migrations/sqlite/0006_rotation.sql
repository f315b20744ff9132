-- Rotation of keys: under which number of the keyring a ledger keeps what it keeps, also while rows are brought from one to
-- the next. The same schema as migrations/postgres/0006_rotation.sql.

-- Beside the head, which every append locks and every reading of facts reads: whoever does not know of a rotation finds out there.
ALTER TABLE partition_head ADD COLUMN key_id INTEGER NOT NULL DEFAULT 1;
ALTER TABLE partition_head ADD COLUMN leaving INTEGER NOT NULL DEFAULT 0;
-- COMMENT ON COLUMN partition_head.key_id IS 'Number of the key under which what is new is kept; the same in all partitions.';
-- COMMENT ON COLUMN partition_head.leaving IS 'While keys are rotated: the number before, under which some rows still lie. 0: no rotation is under way.';

ALTER TABLE service_window ADD COLUMN key_id INTEGER NOT NULL DEFAULT 1;
ALTER TABLE message_send ADD COLUMN key_id INTEGER NOT NULL DEFAULT 1;
-- COMMENT ON COLUMN service_window.key_id IS 'Number of the key under which subject_key is stored.';
-- COMMENT ON COLUMN message_send.key_id IS 'Number of the key under which subject_key is stored.';
-- COMMENT ON COLUMN subject.key_id IS 'Number of the key under which subject_key is stored.';
-- COMMENT ON COLUMN subject.subject_key IS 'Keyed hash of the address under a key of the business, enciphered once for each later number up to key_id.';

-- Empty: an instance from before this, beside which no rotation begins.
ALTER TABLE cache_instance ADD COLUMN key_check TEXT NOT NULL DEFAULT '';
-- COMMENT ON COLUMN cache_instance.key_id IS 'The newest number in its keyring.';
-- COMMENT ON COLUMN cache_instance.key_check IS 'What its keyring is known by, up to that number; whoever begins a rotation compares it.';
-- COMMENT ON COLUMN ledger_meta.name IS 'ledger_id, partitions, match_rules, key_check, history; key_check_N for each number that a rotation brought into use; history_lost while commits are known to be lost and nobody accepted it.';
