PRAGMA application_id = 1652127585;
PRAGMA user_version = 7;
BEGIN TRANSACTION;
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
INSERT INTO "attempt" VALUES(1,0,'direct','first_byte','reset','',0.0,0.1,'','{}');
INSERT INTO "attempt" VALUES(1,1,'tor','done','','',0.0,0.1,'192.0.2.1:443','{}');
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
    began          REAL    NOT NULL DEFAULT 0, protocol TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (scope, network)
) WITHOUT ROWID;
INSERT INTO "belief" VALUES('blog.example.org','home-network-0001','blocked','sni_reset',4.0,1700000000.0,1700864000.0,'tor',1700000000.0,1700000000.0,1700000000.0,2.0,2,1700000000.0,1700000900.0,1,0,0.0,'[1699999500.0]','direct failed after 0.1 s: reset; tor delivered (tls_reset, weight 2)',4,'["direct|tlsrec"]',1700000000.0,1699999000.0,'');
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
INSERT INTO "change" VALUES(1,1699990000.0,'blog.example.org','home-network-0001','unknown','suspect','sni_reset','direct failed after 0.1 s: reset; tor delivered (tls_reset, weight 2)');
INSERT INTO "change" VALUES(2,1699995000.0,'blog.example.org','home-network-0001','suspect','works','','direct answered');
INSERT INTO "change" VALUES(3,1699999000.0,'blog.example.org','home-network-0001','works','suspect','sni_reset','direct failed after 0.1 s: reset; tor delivered (tls_reset, weight 2)');
INSERT INTO "change" VALUES(4,1700000000.0,'blog.example.org','home-network-0001','suspect','blocked','sni_reset','direct failed after 0.1 s: reset; tor delivered (tls_reset, weight 2)');
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
    plan        TEXT            -- JSON: the routes, and the plan before addons changed it; NULL: kept by an early Byway
);
INSERT INTO "outcome" VALUES(1,1700000000.0,'blog.example.org',443,'connect','AUTO','AUTO: nothing is known','tor','','tls',0,0,0.0,'byway','home-network-0001','{"routes": ["direct", "tor"], "intercept": false}');
CREATE TABLE override (         -- what `byway site set` said
    host    TEXT NOT NULL PRIMARY KEY,
    action  TEXT NOT NULL,
    relay   TEXT NOT NULL,
    until   REAL NOT NULL DEFAULT 0  -- when it ends; 0: never
) WITHOUT ROWID;
INSERT INTO "override" VALUES('bank.example','RELAY','tor',0.0);
CREATE TABLE relay_hour (       -- how each relay did, by hour
    hour        INTEGER NOT NULL,
    network     TEXT    NOT NULL,
    relay       TEXT    NOT NULL,
    delivered   INTEGER NOT NULL,
    failed      INTEGER NOT NULL,   -- for what may be the relay's own fault
    elapsed_s   REAL    NOT NULL,   -- of the delivered ones, together
    PRIMARY KEY (hour, network, relay)
) WITHOUT ROWID;
INSERT INTO "relay_hour" VALUES(1699999200,'home-network-0001','tor',1,0,0.1);
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
INSERT INTO "result" VALUES('home-network-0001','blog.example.org',443,'blocked',1700000000.0,'measurement','sni_reset','direct: reset after the ClientHello','["tor"]','not_tested',1699999000.0,'tor');
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
INSERT INTO "route_hour" VALUES(1699999200,'home-network-0001','direct',0,1,0,0);
INSERT INTO "route_hour" VALUES(1699999200,'home-network-0001','tor',1,0,0,0);
CREATE INDEX outcome_at ON outcome (at);
CREATE INDEX outcome_host ON outcome (host, at);
CREATE INDEX change_at ON change (at);
CREATE INDEX change_scope ON change (scope, at);
COMMIT;
