-- +goose Up

-- Keys that were revoked or replaced, or end soon: none of them is given to anybody again,
-- and a catalog file that still declares one does not bring it back.
CREATE TABLE revoked_key (
    digest       BYTEA   PRIMARY KEY, -- SHA-256 of the key
    subscription BIGINT  NOT NULL REFERENCES subscription (id),
    slot         INTEGER NOT NULL, -- wire.Slot
    t            BIGINT  NOT NULL  -- Unix milliseconds
);
INSERT INTO revoked_key (digest, subscription, slot, t) SELECT digest, subscription, slot, created FROM key WHERE expires > 0;

-- What a catalog file declares, and what was removed and may come back, is found without
-- reading the rest.
CREATE INDEX subscription_source ON subscription (source, id) WHERE removed = 0;
CREATE INDEX subscription_removed ON subscription (name) WHERE removed = 1;
