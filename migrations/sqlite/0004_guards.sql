-- What keeps events as they were recorded, also from a statement typed by hand. Whoever has the file can take the triggers
-- away; they are there against mistakes.
-- The same guards as migrations/postgres/0004_guards.sql. Nothing personal is in these tables: who is erased loses rows
-- elsewhere.

CREATE TRIGGER event_never_updated BEFORE UPDATE ON event BEGIN
    SELECT RAISE(ABORT, 'what was recorded is never changed: UPDATE of event is refused');
END;
CREATE TRIGGER event_never_deleted BEFORE DELETE ON event BEGIN
    SELECT RAISE(ABORT, 'what was recorded is never changed: DELETE of event is refused');
END;
-- INSERT OR REPLACE deletes what is in its way, and no trigger hears of that.
CREATE TRIGGER event_never_replaced BEFORE INSERT ON event
WHEN EXISTS (SELECT 1 FROM event WHERE partition = NEW.partition AND "offset" = NEW."offset")
  OR EXISTS (SELECT 1 FROM event WHERE subject_id = NEW.subject_id AND event_id = NEW.event_id)
  OR EXISTS (SELECT 1 FROM event WHERE rowid = NEW.rowid)
BEGIN
    SELECT RAISE(ABORT, 'what was recorded is never changed: an event is there already');
END;

CREATE TRIGGER system_event_never_updated BEFORE UPDATE ON system_event BEGIN
    SELECT RAISE(ABORT, 'what was recorded is never changed: UPDATE of system_event is refused');
END;
CREATE TRIGGER system_event_never_deleted BEFORE DELETE ON system_event BEGIN
    SELECT RAISE(ABORT, 'what was recorded is never changed: DELETE of system_event is refused');
END;
CREATE TRIGGER system_event_never_replaced BEFORE INSERT ON system_event
WHEN EXISTS (SELECT 1 FROM system_event WHERE "offset" = NEW."offset")
BEGIN
    SELECT RAISE(ABORT, 'what was recorded is never changed: an entry is there already');
END;
