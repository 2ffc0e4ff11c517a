-- +goose Up

-- The ledger of package ledger. Times are Unix milliseconds of its own clock.

CREATE TABLE limit_meta (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    t        BIGINT NOT NULL, -- the highest time, at the last heartbeat
    beat     BIGINT NOT NULL, -- counts heartbeats
    ahead    BIGINT NOT NULL, -- by how much the wall clock is ahead of t
    timeline TEXT   NOT NULL, -- PostgreSQL's; empty before the first heartbeat
    resets   BIGINT NOT NULL
);
INSERT INTO limit_meta (one, t, beat, ahead, timeline, resets) VALUES (1, 0, 0, 0, '', 0);

-- A step of the clock, or with lost a time before which commits may have been lost.
CREATE TABLE limit_step (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    before_ms BIGINT  NOT NULL,
    after_ms  BIGINT  NOT NULL,
    high_ms   BIGINT  NOT NULL, -- the highest time before it
    lost      BOOLEAN NOT NULL
);

CREATE TABLE limit_counter (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    name         TEXT    NOT NULL,
    counter_key  TEXT    NOT NULL,
    kind         TEXT    NOT NULL, -- rate, quota or concurrency
    unit         TEXT    NOT NULL, -- calls, bytes or rows
    window_ms    BIGINT  NOT NULL,
    start_ms     BIGINT  NOT NULL, -- of a quota, else 0
    period       BIGINT  NOT NULL, -- number of a quota's period, else 0
    subscription BIGINT  NOT NULL, -- this and the next three as last asked for
    amount       BIGINT  NOT NULL,
    success_only BOOLEAN NOT NULL,
    report_only  BOOLEAN NOT NULL,
    t            BIGINT  NOT NULL, -- the last time that was used on it
    used         BIGINT  NOT NULL DEFAULT 0, -- of a quota: spent by closed charges
    raised       BIGINT  NOT NULL DEFAULT 0,
    warned80     BIGINT  NOT NULL DEFAULT 0, -- times of the last events; 0: none
    warned95     BIGINT  NOT NULL DEFAULT 0,
    warned100    BIGINT  NOT NULL DEFAULT 0,
    ends         BIGINT  NOT NULL, -- of a quota's period; 9223372036854775807: never
    UNIQUE (name, counter_key, kind, unit, window_ms, start_ms, period)
);
CREATE INDEX limit_counter_subscription ON limit_counter (subscription);

-- What one call of one worker was leased of one counter.
CREATE TABLE limit_charge (
    worker    TEXT    NOT NULL,
    take      BIGINT  NOT NULL,
    counter   BIGINT  NOT NULL,
    slot      BIGINT  NOT NULL, -- the latest time at which a unit may have been spent
    units     BIGINT  NOT NULL, -- leased; when closed spent, of a quota 0
    granted   BIGINT  NOT NULL,
    open      BOOLEAN NOT NULL,
    overdraft BOOLEAN NOT NULL, -- more than units may be spent
    until     BIGINT  NOT NULL, -- when nobody needs the row any more
    PRIMARY KEY (worker, take, counter)
) WITHOUT ROWID;
CREATE INDEX limit_charge_usage ON limit_charge (counter, slot, units, open) WHERE units > 0;
CREATE INDEX limit_charge_until ON limit_charge (until);

-- Abandoned calls.
CREATE TABLE limit_tomb (
    worker TEXT   NOT NULL,
    take   BIGINT NOT NULL,
    t      BIGINT NOT NULL,
    PRIMARY KEY (worker, take)
) WITHOUT ROWID;
CREATE INDEX limit_tomb_t ON limit_tomb (t);

CREATE TABLE limit_event (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    t            BIGINT  NOT NULL,
    counter      BIGINT  NOT NULL,
    subscription BIGINT  NOT NULL,
    name         TEXT    NOT NULL, -- this and the next eight: the limit
    counter_key  TEXT    NOT NULL,
    kind         TEXT    NOT NULL,
    unit         TEXT    NOT NULL,
    amount       BIGINT  NOT NULL,
    window_ms    BIGINT  NOT NULL,
    start_ms     BIGINT  NOT NULL,
    success_only BOOLEAN NOT NULL,
    report_only  BOOLEAN NOT NULL,
    percent      INTEGER NOT NULL,
    used         BIGINT  NOT NULL
);
CREATE INDEX limit_event_t ON limit_event (t);
CREATE INDEX limit_event_subscription ON limit_event (subscription);

-- What administrators changed.
CREATE TABLE limit_adjustment (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    t            BIGINT NOT NULL,
    actor        TEXT   NOT NULL,
    action       TEXT   NOT NULL, -- limit.reset or limit.raise
    counter      BIGINT NOT NULL,
    subscription BIGINT NOT NULL,
    units        BIGINT NOT NULL, -- of a raise
    before_state TEXT   NOT NULL, -- JSON
    after_state  TEXT   NOT NULL
);
CREATE INDEX limit_adjustment_subscription ON limit_adjustment (subscription);
