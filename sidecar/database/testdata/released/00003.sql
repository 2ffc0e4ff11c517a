-- What a sidecar of version 3 wrote, after what those of the versions before it had: rows of
-- all its tables. {now} is the present in Unix milliseconds; blobs are written as for SQLite.

INSERT INTO developer (email, name, groups) VALUES ('dev-3@example.org', 'Déve "3"', '["beta", "Developers"]');

INSERT INTO subscription (id, name, developer, scope_kind, scope_name, state, expires, attributes, revision, removed, started)
VALUES (3, 'sub-3', 'dev-3@example.org', 'product', 'Starter', 2, 4000000000, '{"tier":"gold 3"}', 3, 0, 1700000000003);

INSERT INTO key (subscription, slot, digest) VALUES (3, 1, x'0303030303030303030303030303030303030303030303030303030303030303'), (3, 2, x'1313131313131313131313131313131313131313131313131313131313131313');

INSERT INTO intent (call, subscription, kind, scope, backend, api, operation, created)
VALUES ('call-3', 3, 'job', '9aef8eed5834729d9b08209c0f3f4af9369b95850f518506c7ff9d87d6a4c020', 'https://backend.example.com', 'Demo', 'Submit', {now});

INSERT INTO resource (backend, kind, scope, id, subscription, call, created)
VALUES ('https://backend.example.com', 'job', '9aef8eed5834729d9b08209c0f3f4af9369b95850f518506c7ff9d87d6a4c020', 'job-3', 3, 'call-3', {now});

INSERT INTO decision (id, call, time, status, reasons, subscription, api, operation, policy, rules, detail)
VALUES ('decision-3', 'denied-3', {now}, 403, '["not_yours"]', 3, 'Demo', 'Submit', 'policy-1',
        '[{"path":"data.tollgate.access.deny","file":"access.rego","line":12,"reason":"not_yours"}]', '');

INSERT INTO denial (call, time, status, reason, decision, subscription, api, operation)
VALUES ('denied-3', {now}, 403, 'not_yours', 'decision-3', 3, 'Demo', 'Submit');

INSERT INTO usage_report (vm, sequence, taken) VALUES ('worker-3', 3, {now}), ('worker-3', 4, {now});

UPDATE limit_meta SET t = {now}, beat = 5, ahead = 0, timeline = '1', resets = 3;

INSERT INTO limit_counter (id, name, counter_key, kind, unit, window_ms, start_ms, period, subscription, amount, success_only, report_only, t, used, raised, ends)
VALUES (30, 'life', 'subscription:3', 'quota', 'calls', 0, 0, 0, 3, 10, FALSE, FALSE, {now}, 3, 1, 9223372036854775807),
       (31, 'day', 'subscription:3', 'rate', 'calls', 86400000, 0, 0, 3, 10, FALSE, FALSE, {now}, 0, 0, 9223372036854775807);

INSERT INTO limit_charge (worker, take, counter, slot, units, granted, open, overdraft, until)
VALUES ('worker-3', 1, 31, {now}, 3, {now}, FALSE, FALSE, {now} + 90000000),
       ('worker-3', 2, 30, {now} + 2000, 1, {now}, TRUE, FALSE, {now} + 90000000);

INSERT INTO limit_tomb (worker, take, t) VALUES ('worker-3', 3, {now});

INSERT INTO limit_event (t, counter, subscription, name, counter_key, kind, unit, amount, window_ms, start_ms, success_only, report_only, percent, used)
VALUES ({now}, 31, 3, 'day', 'subscription:3', 'rate', 'calls', 10, 86400000, 0, FALSE, FALSE, 80, 8);

INSERT INTO limit_adjustment (t, actor, action, counter, subscription, units, before_state, after_state)
VALUES ({now}, 'alice (uid 1000)', 'limit.raise', 30, 3, 1, '{}', '{}');

INSERT INTO limit_step (before_ms, after_ms, high_ms, lost) VALUES (1000, 2000, 1000, FALSE);
