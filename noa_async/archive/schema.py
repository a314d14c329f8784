"""The ledger's schema: one migration script per version, oldest first.

``products`` has one row per product. ``sums`` counts them by state, mission, type and sensing day
(days since 1970); triggers maintain it, so that a status takes the same time for any number of
products. ``queries`` has the queries followed here, each at one service; ``runs`` has the runs and
their results; ``notes`` has single values about the whole folder, such as when its files were last
checked. Times of the catalogue are in milliseconds since 1970, those of the archive in seconds.
"""

TROUBLED = "state NOT IN ('verified', 'unverified')"
"""The products in the index ``products_troubled``; a query must contain this condition to use
it."""
_KEYS = "state, platform, product_type, day"


def _count(row: str, sign: str) -> str:
    """Return the SQL that adds a row of ``products`` to ``sums``, or subtracts it."""
    return f"""
        INSERT INTO sums ({_KEYS}, products, bytes) VALUES (
            {row}.state, {row}.platform, {row}.product_type,
            coalesce({row}.sensing_start / 86400000, -1),
            {sign}1, {sign}coalesce({row}.size, {row}.catalogue_size, 0))
        ON CONFLICT ({_KEYS}) DO UPDATE SET
            products = products + excluded.products, bytes = bytes + excluded.bytes;
    """  # noqa: S608 (made of constants)


_FIRST = """
    CREATE TABLE products (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        state TEXT NOT NULL,
        path TEXT,
        path_key TEXT UNIQUE,
        size INTEGER,
        mtime_ns INTEGER,
        checksum TEXT,
        attempts INTEGER NOT NULL,
        error TEXT,
        updated REAL NOT NULL
    ) WITHOUT ROWID;
"""

_FOLLOWING = f"""
    ALTER TABLE products RENAME TO products_1;
    CREATE TABLE products (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        catalogue_size INTEGER,
        checksums TEXT NOT NULL DEFAULT '',
        content_type TEXT,
        online INTEGER NOT NULL DEFAULT 1,
        published INTEGER,
        modified INTEGER,
        sensing_start INTEGER,
        sensing_end INTEGER,
        footprint TEXT,
        platform TEXT NOT NULL DEFAULT '',
        product_type TEXT NOT NULL DEFAULT '',
        level TEXT NOT NULL DEFAULT '',
        tile TEXT NOT NULL DEFAULT '',
        orbit TEXT NOT NULL DEFAULT '',
        state TEXT NOT NULL,
        path TEXT,
        path_key TEXT UNIQUE,
        size INTEGER,
        mtime_ns INTEGER,
        checksum TEXT,
        verified REAL,
        attempts INTEGER NOT NULL DEFAULT 0,
        failures INTEGER NOT NULL DEFAULT 0,
        failed_at REAL,
        error TEXT,
        reason TEXT,
        todo INTEGER,
        query INTEGER,
        seen INTEGER NOT NULL DEFAULT 0,
        gone REAL,
        updated REAL NOT NULL
    );
    CREATE INDEX products_todo ON products (query, todo) WHERE todo IS NOT NULL;
    CREATE INDEX products_troubled ON products (state, reason, todo)
        WHERE state NOT IN ('verified', 'unverified');
    CREATE INDEX products_gone ON products (state, gone) WHERE gone IS NOT NULL;
    CREATE TABLE sums (
        state TEXT NOT NULL,
        platform TEXT NOT NULL,
        product_type TEXT NOT NULL,
        day INTEGER NOT NULL,
        products INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        PRIMARY KEY ({_KEYS})
    ) WITHOUT ROWID;
    CREATE TRIGGER products_added AFTER INSERT ON products BEGIN {_count("NEW", "")} END;
    CREATE TRIGGER products_removed AFTER DELETE ON products BEGIN {_count("OLD", "-")} END;
    CREATE TRIGGER products_changed AFTER UPDATE ON products
        WHEN OLD.state IS NOT NEW.state OR OLD.platform IS NOT NEW.platform
            OR OLD.product_type IS NOT NEW.product_type
            OR OLD.sensing_start IS NOT NEW.sensing_start
            OR coalesce(OLD.size, OLD.catalogue_size) IS NOT coalesce(NEW.size, NEW.catalogue_size)
        BEGIN {_count("OLD", "-")} {_count("NEW", "")} END;
    INSERT INTO products
        (id, name, state, path, path_key, size, mtime_ns, checksum, attempts, error, updated)
        SELECT id, name, state, path, path_key, size, mtime_ns, checksum, attempts, error, updated
        FROM products_1;
    DROP TABLE products_1;
    CREATE TABLE queries (
        number INTEGER PRIMARY KEY,
        filter TEXT NOT NULL UNIQUE,
        watermark INTEGER,
        reconciled REAL
    );
    CREATE TABLE runs (
        number INTEGER PRIMARY KEY,
        verb TEXT NOT NULL,
        query INTEGER,
        started REAL NOT NULL,
        finished REAL,
        ending TEXT,
        listed INTEGER,
        brought INTEGER,
        bytes INTEGER,
        failed INTEGER,
        removed INTEGER
    );
"""  # noqa: S608 (made of constants)

_LOOKED = f"""
    ALTER TABLE products ADD COLUMN looked REAL;
    DROP INDEX products_troubled;
    CREATE INDEX products_troubled ON products (state, reason, todo, query) WHERE {TROUBLED};
"""

_TRIES = "ALTER TABLE queries ADD COLUMN tried REAL;"

_SENSED = "ALTER TABLE products ADD COLUMN attributes TEXT NOT NULL DEFAULT '';"

_YEARS = f"""
    ALTER TABLE products ADD COLUMN absences INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE products ADD COLUMN trash TEXT;
    ALTER TABLE products ADD COLUMN hook_due REAL;
    ALTER TABLE products ADD COLUMN hooked REAL;
    ALTER TABLE products ADD COLUMN accepted REAL;
    DROP INDEX products_troubled;
    CREATE INDEX products_troubled ON products (state, reason, todo, query, accepted)
        WHERE {TROUBLED};
    CREATE INDEX products_hooks ON products (query) WHERE hook_due IS NOT NULL;
    CREATE INDEX products_trash ON products (trash) WHERE trash IS NOT NULL;
    ALTER TABLE queries RENAME TO queries_4;
    CREATE TABLE queries (
        number INTEGER PRIMARY KEY,
        filter TEXT NOT NULL,
        service TEXT NOT NULL DEFAULT '',
        watermark INTEGER,
        reconciled REAL,
        tried REAL,
        listed INTEGER,
        full_run INTEGER,
        shrunk INTEGER NOT NULL DEFAULT 0,
        shrunk_at REAL,
        shrunk_to INTEGER,
        held INTEGER NOT NULL DEFAULT 0,
        UNIQUE (filter, service)
    );
    INSERT INTO queries (number, filter, watermark, reconciled, tried)
        SELECT number, filter, watermark, reconciled, tried FROM queries_4;
    DROP TABLE queries_4;
    CREATE TABLE notes (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
"""  # noqa: S608 (made of constants)

MIGRATIONS = (_FIRST, _FOLLOWING, _LOOKED, _TRIES, _YEARS, _SENSED)
