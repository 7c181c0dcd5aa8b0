-- The log of which routes worked, and what was learned from it. Times are seconds since the epoch, lengths are seconds.
-- Columns are not STRICT: a text that UTF-8 cannot hold (a lone surrogate) is kept as a blob and read back as it was.

CREATE TABLE outcome (          -- one connection; by name only as far as [log] hosts allows
    id          INTEGER PRIMARY KEY,
    at          REAL    NOT NULL,
    host        TEXT    NOT NULL,
    port        INTEGER NOT NULL,
    inbound     TEXT    NOT NULL,
    action      TEXT    NOT NULL,
    why         TEXT    NOT NULL,
    winner      TEXT,           -- the route that delivered; NULL: none did
    error       TEXT    NOT NULL,
    protocol    TEXT    NOT NULL,
    bytes_up    INTEGER NOT NULL,
    bytes_down  INTEGER NOT NULL,
    duration_s  REAL    NOT NULL,
    closed_by   TEXT    NOT NULL,
    network     TEXT    NOT NULL,
    plan        TEXT,           -- JSON: the routes, and the plan before addons changed it; NULL: kept by an early Byway
    tried       TEXT    NOT NULL DEFAULT ''  -- its attempts, each between line feeds: `+tor` delivered, `-direct` did not
);
CREATE INDEX outcome_listed ON outcome (at, host, winner, network, tried);   -- all that a filter of the log asks for
CREATE INDEX outcome_host ON outcome (host, at);

CREATE TABLE attempt (          -- one try of one route, in order
    outcome_id  INTEGER NOT NULL,
    place       INTEGER NOT NULL,
    route       TEXT    NOT NULL,
    stage       TEXT    NOT NULL,
    symptom     TEXT    NOT NULL,
    error       TEXT    NOT NULL,
    started_s   REAL    NOT NULL,
    elapsed_s   REAL    NOT NULL,
    address     TEXT    NOT NULL,
    evidence    TEXT    NOT NULL,   -- JSON object
    PRIMARY KEY (outcome_id, place)
) WITHOUT ROWID;

CREATE TABLE belief (           -- the fields of model.Belief
    scope          TEXT    NOT NULL,
    network        TEXT    NOT NULL,
    state          TEXT    NOT NULL,
    cause          TEXT    NOT NULL,
    score          REAL    NOT NULL,
    since          REAL    NOT NULL,
    until          REAL    NOT NULL,
    last_good      TEXT    NOT NULL,
    last_good_at   REAL    NOT NULL,
    scored_at      REAL    NOT NULL,
    signal_at      REAL    NOT NULL,
    signal_weight  REAL    NOT NULL,
    episodes       INTEGER NOT NULL,
    episode_at     REAL    NOT NULL,
    retest_at      REAL    NOT NULL,
    retest_step    INTEGER NOT NULL,
    successes      INTEGER NOT NULL,
    success_at     REAL    NOT NULL,
    exits          TEXT    NOT NULL,   -- JSON list of times
    why            TEXT    NOT NULL,
    family         INTEGER NOT NULL DEFAULT 0,
    rungs_failed   TEXT    NOT NULL DEFAULT '[]',   -- JSON list of routes
    rungs_failed_at REAL   NOT NULL DEFAULT 0,
    began          REAL    NOT NULL DEFAULT 0,
    protocol       TEXT    NOT NULL DEFAULT '',
    PRIMARY KEY (scope, network)
) WITHOUT ROWID;

CREATE TABLE change (           -- the ledger: every transition with its evidence
    id       INTEGER PRIMARY KEY,
    at       REAL    NOT NULL,
    scope    TEXT    NOT NULL,
    network  TEXT    NOT NULL,
    before   TEXT    NOT NULL,
    after    TEXT    NOT NULL,
    cause    TEXT    NOT NULL,
    why      TEXT    NOT NULL
);
CREATE INDEX change_at ON change (at);
CREATE INDEX change_scope ON change (scope, at);

CREATE TABLE result (           -- the fields of model.StoredResult: what the last visit or measurement came to
    network     TEXT    NOT NULL,
    host        TEXT    NOT NULL,
    port        INTEGER NOT NULL,
    status      TEXT    NOT NULL,
    at          REAL    NOT NULL,
    source      TEXT    NOT NULL,
    cause       TEXT    NOT NULL,
    text        TEXT    NOT NULL,
    relays      TEXT    NOT NULL,   -- JSON list of names
    otherwise   TEXT    NOT NULL,
    since       REAL    NOT NULL,
    works_by    TEXT    NOT NULL,
    PRIMARY KEY (network, host, port)
) WITHOUT ROWID;

CREATE TABLE override (         -- what `byway site set` said
    host    TEXT NOT NULL PRIMARY KEY,
    action  TEXT NOT NULL,
    relay   TEXT NOT NULL,
    until   REAL NOT NULL DEFAULT 0  -- when it ends; 0: never
) WITHOUT ROWID;

CREATE TABLE route_hour (       -- how each route did, by hour: counts, no names
    hour        INTEGER NOT NULL,   -- its first second
    network     TEXT    NOT NULL,
    route       TEXT    NOT NULL,
    delivered   INTEGER NOT NULL,
    failed      INTEGER NOT NULL,
    bytes_up    INTEGER NOT NULL,
    bytes_down  INTEGER NOT NULL,
    PRIMARY KEY (hour, network, route)
) WITHOUT ROWID;

CREATE TABLE relay_hour (       -- how each relay did, by half-hour; an early Byway kept whole hours
    hour        INTEGER NOT NULL,   -- its first second
    network     TEXT    NOT NULL,
    relay       TEXT    NOT NULL,
    delivered   INTEGER NOT NULL,
    failed      INTEGER NOT NULL,   -- for what may be the relay's own fault
    elapsed_s   REAL    NOT NULL,   -- of the delivered ones, together
    PRIMARY KEY (hour, network, relay)
) WITHOUT ROWID;
