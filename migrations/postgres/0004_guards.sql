-- What keeps events as they were recorded, whoever asks: also the owner of the tables and a superuser, until they take the
-- triggers away. Roles, which may be granted again at any time, are src/ledger/postgres/roles.sql.
-- The same guards as migrations/sqlite/0004_guards.sql. Nothing personal is in these tables: who is erased loses rows
-- elsewhere.

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'what was recorded is never changed: % of % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END
$$;

-- For each row, since a statement that names a parent of the table would not meet a trigger of the statement.
CREATE TRIGGER never_changed BEFORE UPDATE OR DELETE ON event FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON event FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_changed BEFORE UPDATE OR DELETE ON system_event FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON system_event FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Also where `session_replication_role` switches ordinary triggers off.
ALTER TABLE event ENABLE ALWAYS TRIGGER never_changed, ENABLE ALWAYS TRIGGER never_emptied;
ALTER TABLE system_event ENABLE ALWAYS TRIGGER never_changed, ENABLE ALWAYS TRIGGER never_emptied;
