-- +goose Up

-- What was called, added up per minute, hour and day by package usage, which also says for
-- how long. The three tables are alike.

CREATE TABLE usage_minute (
    t              BIGINT NOT NULL, -- Unix seconds at which the minute begins
    subscription   BIGINT NOT NULL, -- 0: no known key came with the calls
    product        TEXT   NOT NULL, -- this and the next two as far as the calls matched
    api            TEXT   NOT NULL,
    operation      TEXT   NOT NULL,
    outcome        TEXT   NOT NULL, -- success, blocked, failed or other
    calls          BIGINT NOT NULL,
    request_bytes  BIGINT NOT NULL,
    response_bytes BIGINT NOT NULL,
    total_sum      BIGINT NOT NULL, -- microseconds, as the next two
    total_min      BIGINT NOT NULL,
    total_max      BIGINT NOT NULL,
    total_0        BIGINT NOT NULL, -- calls of at most 1 ms, 2.5 ms, 5 ms and so on
    total_1        BIGINT NOT NULL,
    total_2        BIGINT NOT NULL,
    total_3        BIGINT NOT NULL,
    total_4        BIGINT NOT NULL,
    total_5        BIGINT NOT NULL,
    total_6        BIGINT NOT NULL,
    total_7        BIGINT NOT NULL,
    total_8        BIGINT NOT NULL,
    total_9        BIGINT NOT NULL,
    total_10       BIGINT NOT NULL,
    total_11       BIGINT NOT NULL,
    total_12       BIGINT NOT NULL,
    total_13       BIGINT NOT NULL,
    total_14       BIGINT NOT NULL, -- and of more than 30 s
    backend_sum    BIGINT NOT NULL, -- of calls that reached the backend
    backend_min    BIGINT, -- NULL: none did
    backend_max    BIGINT,
    backend_0      BIGINT NOT NULL,
    backend_1      BIGINT NOT NULL,
    backend_2      BIGINT NOT NULL,
    backend_3      BIGINT NOT NULL,
    backend_4      BIGINT NOT NULL,
    backend_5      BIGINT NOT NULL,
    backend_6      BIGINT NOT NULL,
    backend_7      BIGINT NOT NULL,
    backend_8      BIGINT NOT NULL,
    backend_9      BIGINT NOT NULL,
    backend_10     BIGINT NOT NULL,
    backend_11     BIGINT NOT NULL,
    backend_12     BIGINT NOT NULL,
    backend_13     BIGINT NOT NULL,
    backend_14     BIGINT NOT NULL,
    PRIMARY KEY (t, subscription, product, api, operation, outcome)
);

CREATE TABLE usage_hour (
    t              BIGINT NOT NULL, -- Unix seconds at which the hour begins
    subscription   BIGINT NOT NULL, -- 0: no known key came with the calls
    product        TEXT   NOT NULL, -- this and the next two as far as the calls matched
    api            TEXT   NOT NULL,
    operation      TEXT   NOT NULL,
    outcome        TEXT   NOT NULL, -- success, blocked, failed or other
    calls          BIGINT NOT NULL,
    request_bytes  BIGINT NOT NULL,
    response_bytes BIGINT NOT NULL,
    total_sum      BIGINT NOT NULL, -- microseconds, as the next two
    total_min      BIGINT NOT NULL,
    total_max      BIGINT NOT NULL,
    total_0        BIGINT NOT NULL, -- calls of at most 1 ms, 2.5 ms, 5 ms and so on
    total_1        BIGINT NOT NULL,
    total_2        BIGINT NOT NULL,
    total_3        BIGINT NOT NULL,
    total_4        BIGINT NOT NULL,
    total_5        BIGINT NOT NULL,
    total_6        BIGINT NOT NULL,
    total_7        BIGINT NOT NULL,
    total_8        BIGINT NOT NULL,
    total_9        BIGINT NOT NULL,
    total_10       BIGINT NOT NULL,
    total_11       BIGINT NOT NULL,
    total_12       BIGINT NOT NULL,
    total_13       BIGINT NOT NULL,
    total_14       BIGINT NOT NULL, -- and of more than 30 s
    backend_sum    BIGINT NOT NULL, -- of calls that reached the backend
    backend_min    BIGINT, -- NULL: none did
    backend_max    BIGINT,
    backend_0      BIGINT NOT NULL,
    backend_1      BIGINT NOT NULL,
    backend_2      BIGINT NOT NULL,
    backend_3      BIGINT NOT NULL,
    backend_4      BIGINT NOT NULL,
    backend_5      BIGINT NOT NULL,
    backend_6      BIGINT NOT NULL,
    backend_7      BIGINT NOT NULL,
    backend_8      BIGINT NOT NULL,
    backend_9      BIGINT NOT NULL,
    backend_10     BIGINT NOT NULL,
    backend_11     BIGINT NOT NULL,
    backend_12     BIGINT NOT NULL,
    backend_13     BIGINT NOT NULL,
    backend_14     BIGINT NOT NULL,
    PRIMARY KEY (t, subscription, product, api, operation, outcome)
);
CREATE INDEX usage_hour_subscription ON usage_hour (subscription, t);

CREATE TABLE usage_day (
    t              BIGINT NOT NULL, -- Unix seconds at which the day begins
    subscription   BIGINT NOT NULL, -- 0: no known key came with the calls
    product        TEXT   NOT NULL, -- this and the next two as far as the calls matched
    api            TEXT   NOT NULL,
    operation      TEXT   NOT NULL,
    outcome        TEXT   NOT NULL, -- success, blocked, failed or other
    calls          BIGINT NOT NULL,
    request_bytes  BIGINT NOT NULL,
    response_bytes BIGINT NOT NULL,
    total_sum      BIGINT NOT NULL, -- microseconds, as the next two
    total_min      BIGINT NOT NULL,
    total_max      BIGINT NOT NULL,
    total_0        BIGINT NOT NULL, -- calls of at most 1 ms, 2.5 ms, 5 ms and so on
    total_1        BIGINT NOT NULL,
    total_2        BIGINT NOT NULL,
    total_3        BIGINT NOT NULL,
    total_4        BIGINT NOT NULL,
    total_5        BIGINT NOT NULL,
    total_6        BIGINT NOT NULL,
    total_7        BIGINT NOT NULL,
    total_8        BIGINT NOT NULL,
    total_9        BIGINT NOT NULL,
    total_10       BIGINT NOT NULL,
    total_11       BIGINT NOT NULL,
    total_12       BIGINT NOT NULL,
    total_13       BIGINT NOT NULL,
    total_14       BIGINT NOT NULL, -- and of more than 30 s
    backend_sum    BIGINT NOT NULL, -- of calls that reached the backend
    backend_min    BIGINT, -- NULL: none did
    backend_max    BIGINT,
    backend_0      BIGINT NOT NULL,
    backend_1      BIGINT NOT NULL,
    backend_2      BIGINT NOT NULL,
    backend_3      BIGINT NOT NULL,
    backend_4      BIGINT NOT NULL,
    backend_5      BIGINT NOT NULL,
    backend_6      BIGINT NOT NULL,
    backend_7      BIGINT NOT NULL,
    backend_8      BIGINT NOT NULL,
    backend_9      BIGINT NOT NULL,
    backend_10     BIGINT NOT NULL,
    backend_11     BIGINT NOT NULL,
    backend_12     BIGINT NOT NULL,
    backend_13     BIGINT NOT NULL,
    backend_14     BIGINT NOT NULL,
    PRIMARY KEY (t, subscription, product, api, operation, outcome)
);
CREATE INDEX usage_day_subscription ON usage_day (subscription, t);

-- A worker sends its reports one after the other, each until it is answered: the last one
-- that was taken says which were.
CREATE TABLE usage_vm (
    vm       TEXT   PRIMARY KEY,
    sequence BIGINT NOT NULL,
    taken    BIGINT NOT NULL -- Unix milliseconds
);
INSERT INTO usage_vm SELECT vm, MAX(sequence), MAX(taken) FROM usage_report GROUP BY vm;
DROP TABLE usage_report;
