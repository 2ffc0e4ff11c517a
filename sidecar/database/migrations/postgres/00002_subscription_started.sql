-- +goose Up

-- When the store first saw a subscription, in Unix milliseconds; what it had before it kept
-- this starts with the migration.
ALTER TABLE subscription ADD COLUMN started BIGINT NOT NULL DEFAULT 0;
UPDATE subscription SET started = (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT;
