-- +goose Up

-- meta has one row: the store's identity, the number of the latest revision, a digest of
-- what that revision held, and the pepper of the gateway's key table.
CREATE TABLE meta (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    store       TEXT    NOT NULL,
    number      BIGINT  NOT NULL,
    fingerprint BLOB    NOT NULL,
    pepper      BLOB    NOT NULL
);

CREATE TABLE developer (
    email  TEXT PRIMARY KEY,
    name   TEXT NOT NULL,
    groups TEXT NOT NULL -- JSON list
);

-- A subscription's row stays when the subscription is removed: its id owns jobs and names
-- old denials, so it is never given to another one.
CREATE TABLE subscription (
    id         BIGINT  PRIMARY KEY,
    name       TEXT    NOT NULL,
    developer  TEXT    NOT NULL, -- an e-mail address
    scope_kind TEXT    NOT NULL, -- product, api or all_apis
    scope_name TEXT    NOT NULL,
    state      INTEGER NOT NULL, -- wire.State; expiry is derived from expires
    expires    BIGINT  NOT NULL, -- Unix seconds; 0: never
    attributes TEXT    NOT NULL, -- JSON object
    revision   BIGINT  NOT NULL,
    removed    INTEGER NOT NULL
);
CREATE UNIQUE INDEX subscription_name ON subscription (name) WHERE removed = 0;

CREATE TABLE key (
    subscription BIGINT  NOT NULL REFERENCES subscription (id),
    slot         INTEGER NOT NULL, -- wire.Slot
    digest       BLOB    NOT NULL UNIQUE, -- SHA-256 of the key
    PRIMARY KEY (subscription, slot)
);

-- An intent is a submit that was forwarded and whose resource is not known yet.
CREATE TABLE intent (
    call         TEXT   NOT NULL,
    subscription BIGINT NOT NULL,
    kind         TEXT   NOT NULL,
    scope        TEXT   NOT NULL, -- HMAC of the canonical JSON, in hex
    backend      TEXT   NOT NULL,
    api          TEXT   NOT NULL,
    operation    TEXT   NOT NULL,
    created      BIGINT NOT NULL, -- Unix milliseconds
    PRIMARY KEY (call, subscription, kind, scope)
);
CREATE INDEX intent_created ON intent (created);

-- A resource belongs to one subscription for ever: rows are inserted, never changed.
CREATE TABLE resource (
    backend      TEXT   NOT NULL,
    kind         TEXT   NOT NULL,
    scope        TEXT   NOT NULL, -- HMAC of the canonical JSON, in hex
    id           TEXT   NOT NULL,
    subscription BIGINT NOT NULL, -- 0: nobody's
    call         TEXT   NOT NULL,
    created      BIGINT NOT NULL, -- Unix milliseconds
    PRIMARY KEY (backend, kind, scope, id)
);

-- decision holds what policies denied and why; denial what filters answered themselves.
CREATE TABLE decision (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT    NOT NULL,
    call         TEXT    NOT NULL,
    time         BIGINT  NOT NULL, -- Unix milliseconds
    status       INTEGER NOT NULL,
    reasons      TEXT    NOT NULL, -- JSON list
    subscription BIGINT  NOT NULL,
    api          TEXT    NOT NULL,
    operation    TEXT    NOT NULL,
    policy       TEXT    NOT NULL,
    rules        TEXT    NOT NULL, -- JSON list
    detail       TEXT    NOT NULL
);
CREATE UNIQUE INDEX decision_id ON decision (id);
CREATE INDEX decision_call ON decision (call);
CREATE INDEX decision_time ON decision (time);

CREATE TABLE denial (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    call         TEXT    NOT NULL,
    time         BIGINT  NOT NULL, -- Unix milliseconds
    status       INTEGER NOT NULL,
    reason       TEXT    NOT NULL,
    decision     TEXT    NOT NULL, -- empty where no policy was asked
    subscription BIGINT  NOT NULL,
    api          TEXT    NOT NULL,
    operation    TEXT    NOT NULL
);
CREATE INDEX denial_call ON denial (call);
CREATE INDEX denial_decision ON denial (decision);
CREATE INDEX denial_time ON denial (time);

-- usage_report remembers which reports were taken, for as long as a filter may repeat one.
CREATE TABLE usage_report (
    vm       TEXT   NOT NULL,
    sequence BIGINT NOT NULL,
    taken    BIGINT NOT NULL, -- Unix milliseconds
    PRIMARY KEY (vm, sequence)
);
CREATE INDEX usage_report_taken ON usage_report (taken);
