-- What the service may do in the database: least privilege. `consentgate migrate` grants it anew each time, as the owner of the
-- tables. A table that is not named here is closed to the service.
DO $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO consentgate_service', current_schema());
END
$$;

-- What was granted by an earlier version and is no longer needed.
REVOKE ALL ON event, system_event, ledger_meta, partition_head, subject, event_payload, subject_address, idempotency,
    service_window, message_send, opt_out_permit, cache_instance, erasure, _sqlx_migrations FROM consentgate_service;

-- Recorded once, never changed.
GRANT SELECT, INSERT ON event, system_event TO consentgate_service;
-- What is written once: the keys' check values, a loss. Taking a loss as it is (`ledger accept-history`) is the owner's.
GRANT SELECT, INSERT ON ledger_meta TO consentgate_service;
GRANT SELECT ON _sqlx_migrations TO consentgate_service;
-- Rotation says here which key is in use.
GRANT SELECT, UPDATE (head, key_id, leaving) ON partition_head TO consentgate_service;
-- Facts stay after an erasure, with what restricts. Rotation makes new keys.
GRANT SELECT, INSERT, UPDATE (subject_key, version, fold_version, key_id, facts) ON subject TO consentgate_service;
-- Personal data: erasure deletes them, rotation seals them anew.
GRANT SELECT, INSERT, UPDATE (sealed), DELETE ON event_payload, subject_address TO consentgate_service;
-- Carrying one out locks its row first, which takes the right to change it.
GRANT SELECT, INSERT, UPDATE (due_at), DELETE ON erasure TO consentgate_service;
-- Kept for a while.
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency, service_window, message_send, opt_out_permit, cache_instance
    TO consentgate_service;
