-- Room on the pages of the tables whose few rows change all the time. PostgreSQL clears dead rows off a page only
-- when it is fuller than its fill factor: with that of 100 each page of heads held a hundred of them, which every
-- statement that reads facts had to step over.

-- Whoever reads the heads queues behind the rewriting: it gives up rather than wait for a long transaction, and may be repeated.
SET LOCAL lock_timeout = '2s';

ALTER TABLE partition_head SET (fillfactor = 10);
ALTER TABLE cache_instance SET (fillfactor = 10);

-- Rewritten, so that the heads lie apart from now on.
CLUSTER partition_head USING partition_head_pkey;
