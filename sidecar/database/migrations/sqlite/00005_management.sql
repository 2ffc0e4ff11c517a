-- +goose Up

-- change counts the transactions that changed an object, a subscription or a key; each of
-- them holds the row of meta until it commits, so that the numbers come in their order.
ALTER TABLE meta ADD COLUMN change BIGINT NOT NULL DEFAULT 0;
-- The last change of the organization, an API, a product or a group.
ALTER TABLE meta ADD COLUMN configured BIGINT NOT NULL DEFAULT 0;

-- What is managed, but for subscriptions and keys.
CREATE TABLE object (
    kind     TEXT   NOT NULL, -- organization, api, product, group or developer
    name     TEXT   NOT NULL, -- a developer's e-mail address; empty of the organization
    look     TEXT   NOT NULL, -- the form by which names of one kind must differ
    spec     TEXT   NOT NULL, -- JSON, as in a catalog file; holds no secret
    source   TEXT   NOT NULL, -- what manages it: empty: the API; "file:NAME": a catalog file
    revision BIGINT NOT NULL, -- from 1, moves with each change
    change   BIGINT NOT NULL, -- meta.change when it last changed
    created  BIGINT NOT NULL, -- Unix milliseconds
    updated  BIGINT NOT NULL,
    PRIMARY KEY (kind, name)
);
CREATE INDEX object_look ON object (kind, look);
CREATE INDEX object_change ON object (change);
INSERT INTO object (kind, name, look, spec, source, revision, change, created, updated)
    SELECT 'developer', email, lower(email), json_object('email', email, 'name', name, 'groups', json(groups)), 'file:', 1, 0,
           CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER), CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER)
      FROM developer;
DROP TABLE developer;

-- Before files had names, what they declared was of "file:", which any file takes over.
ALTER TABLE subscription ADD COLUMN look TEXT NOT NULL DEFAULT '';
ALTER TABLE subscription ADD COLUMN source TEXT NOT NULL DEFAULT 'file:';
ALTER TABLE subscription ADD COLUMN change BIGINT NOT NULL DEFAULT 0;
ALTER TABLE subscription ADD COLUMN updated BIGINT NOT NULL DEFAULT 0;
ALTER TABLE subscription ADD COLUMN note TEXT NOT NULL DEFAULT ''; -- why it was rejected, suspended or cancelled
ALTER TABLE subscription ADD COLUMN shown BOOLEAN NOT NULL DEFAULT FALSE; -- its keys were made and shown
UPDATE subscription SET look = name, updated = started;
CREATE INDEX subscription_look ON subscription (look) WHERE removed = 0;
CREATE INDEX subscription_change ON subscription (change);
CREATE INDEX subscription_developer ON subscription (developer) WHERE removed = 0;
CREATE INDEX subscription_scope ON subscription (scope_kind, scope_name) WHERE removed = 0;

-- A slot has one key that lives as long as its subscription, and others that are on their
-- way out.
CREATE TABLE key_next (
    digest       BLOB    PRIMARY KEY, -- SHA-256 of the key
    subscription BIGINT  NOT NULL REFERENCES subscription (id),
    slot         INTEGER NOT NULL, -- wire.Slot
    expires      BIGINT  NOT NULL, -- Unix seconds; 0: with its subscription
    source       TEXT    NOT NULL, -- as of an object
    created      BIGINT  NOT NULL, -- Unix milliseconds
    used         BIGINT  NOT NULL  -- when a call last came with it, about; 0: never
);
INSERT INTO key_next SELECT k.digest, k.subscription, k.slot, 0, 'file:', s.started, 0 FROM key k JOIN subscription s ON s.id = k.subscription;
DROP TABLE key;
ALTER TABLE key_next RENAME TO key;
CREATE UNIQUE INDEX key_slot ON key (subscription, slot) WHERE expires = 0;
CREATE INDEX key_subscription ON key (subscription);
CREATE INDEX key_expires ON key (expires) WHERE expires > 0;

-- Tokens of the admin API.
CREATE TABLE token (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    name    TEXT   NOT NULL,
    role    TEXT   NOT NULL, -- administrator, publisher, auditor or reader
    digest  BLOB   NOT NULL UNIQUE, -- SHA-256 of the token
    created BIGINT NOT NULL, -- Unix milliseconds
    expires BIGINT NOT NULL, -- Unix seconds; 0: never
    revoked BIGINT NOT NULL, -- Unix milliseconds; 0: not
    used    BIGINT NOT NULL  -- last, about, in Unix milliseconds; 0: never
);
CREATE UNIQUE INDEX token_name ON token (name) WHERE revoked = 0;

-- What was answered to a creation that may be sent again.
CREATE TABLE idempotency (
    actor   TEXT    NOT NULL,
    key     TEXT    NOT NULL,
    request BLOB    NOT NULL, -- a digest of what was asked for
    status  INTEGER NOT NULL, -- of the answer; 0: not answered yet
    answer  TEXT    NOT NULL, -- holds no secret
    created BIGINT  NOT NULL, -- Unix milliseconds
    PRIMARY KEY (actor, key)
);
CREATE INDEX idempotency_created ON idempotency (created);

-- Who changed what. Rows are chained by their hashes and never changed.
CREATE TABLE audit (
    id           BIGINT PRIMARY KEY, -- 1, 2, 3, without a gap
    t            BIGINT NOT NULL, -- Unix milliseconds
    actor        TEXT   NOT NULL,
    origin       TEXT   NOT NULL, -- where the call came from
    action       TEXT   NOT NULL, -- subscription.approve
    kind         TEXT   NOT NULL,
    name         TEXT   NOT NULL,
    before_state TEXT   NOT NULL, -- JSON; empty: there was nothing
    after_state  TEXT   NOT NULL, -- JSON; empty: there is nothing any more
    hash         BLOB   NOT NULL
);
CREATE INDEX audit_name ON audit (kind, name);
CREATE INDEX audit_t ON audit (t);

-- +goose StatementBegin
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit rows are never changed'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'audit rows are never deleted'); END;
-- +goose StatementEnd

-- The end of the chain; who appends holds this row until it commits.
CREATE TABLE audit_head (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    id   BIGINT NOT NULL,
    hash BLOB   NOT NULL
);
INSERT INTO audit_head (one, id, hash) VALUES (1, 0, x'');
