-- Nothing here: migrations/postgres/0007_fill.sql is about pages of PostgreSQL's.

SELECT 1;
