-- Who may not make schemas can be given one that is there.
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = '{name}') THEN
        CREATE SCHEMA {schema};
    END IF;
END $$;

CREATE TABLE {schema}.migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    applied timestamptz NOT NULL DEFAULT now()
);

-- Sealed rows. Times are milliseconds since 1970, by the clock of the database.
CREATE TABLE {schema}.rows (
    -- 16 bytes of the user's hash, 32 of the grant's.
    key bytea PRIMARY KEY CHECK (octet_length(key) = 48),
    -- Drawn anew for each write.
    version bigint NOT NULL,
    due bigint,
    -- Until when a sweeper has it.
    claimed bigint,
    -- The transaction that others had to hear of last.
    announced xid8,
    bytes bytea NOT NULL
) WITH (fillfactor = 80);

-- Sealed bytes do not become shorter.
ALTER TABLE {schema}.rows ALTER COLUMN bytes SET STORAGE EXTERNAL;

-- A row that is claimed moves out of the way of those who look for work.
CREATE INDEX rows_due ON {schema}.rows (GREATEST(due, claimed)) WHERE due IS NOT NULL;

CREATE INDEX rows_announced ON {schema}.rows (announced) WHERE announced IS NOT NULL;

-- A lease only avoids work. Lost in a crash it loses nothing, and so it waits for no disk.
CREATE UNLOGGED TABLE {schema}.leases (
    key bytea PRIMARY KEY,
    owner bytea NOT NULL,
    until bigint NOT NULL,
    -- Whether somebody was refused it, and is to be woken.
    awaited boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50);

CREATE INDEX leases_until ON {schema}.leases (until);

-- Empty after a crash, as what is unlogged is: numbers of transactions may then be used again.
CREATE UNLOGGED TABLE {schema}.era (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    number bigint NOT NULL
);
