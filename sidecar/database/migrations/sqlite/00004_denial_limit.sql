-- +goose Up

-- The name of the limit for which a filter refused; empty where it was none.
ALTER TABLE denial ADD COLUMN limit_name TEXT NOT NULL DEFAULT '';
