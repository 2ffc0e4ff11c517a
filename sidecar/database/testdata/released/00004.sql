-- What a sidecar of version 4 wrote, after what those of the versions before it had: rows of
-- all its tables. {now} is the present in Unix milliseconds; blobs are written as for SQLite.

INSERT INTO developer (email, name, groups) VALUES ('dev-4@example.org', 'Déve "4"', '["beta", "Developers"]');

INSERT INTO subscription (id, name, developer, scope_kind, scope_name, state, expires, attributes, revision, removed, started)
VALUES (4, 'sub-4', 'dev-4@example.org', 'product', 'Starter', 2, 4000000000, '{"tier":"gold 4"}', 4, 0, 1700000000004);

INSERT INTO key (subscription, slot, digest) VALUES (4, 1, x'0404040404040404040404040404040404040404040404040404040404040404'), (4, 2, x'1414141414141414141414141414141414141414141414141414141414141414');

INSERT INTO intent (call, subscription, kind, scope, backend, api, operation, created)
VALUES ('call-4', 4, 'job', '9aef8eed5834729d9b08209c0f3f4af9369b95850f518506c7ff9d87d6a4c020', 'https://backend.example.com', 'Demo', 'Submit', {now});

INSERT INTO resource (backend, kind, scope, id, subscription, call, created)
VALUES ('https://backend.example.com', 'job', '9aef8eed5834729d9b08209c0f3f4af9369b95850f518506c7ff9d87d6a4c020', 'job-4', 4, 'call-4', {now});

INSERT INTO decision (id, call, time, status, reasons, subscription, api, operation, policy, rules, detail)
VALUES ('decision-4', 'denied-4', {now}, 403, '["not_yours"]', 4, 'Demo', 'Submit', 'policy-1',
        '[{"path":"data.tollgate.access.deny","file":"access.rego","line":12,"reason":"not_yours"}]', '');

INSERT INTO denial (call, time, status, reason, decision, subscription, api, operation, limit_name)
VALUES ('denied-4', {now}, 403, 'not_yours', 'decision-4', 4, 'Demo', 'Submit', 'week');

INSERT INTO usage_report (vm, sequence, taken) VALUES ('worker-4', 4, {now}), ('worker-4', 5, {now});

INSERT INTO limit_counter (id, name, counter_key, kind, unit, window_ms, start_ms, period, subscription, amount, success_only, report_only, t, used, raised, ends)
VALUES (40, 'life', 'subscription:4', 'quota', 'calls', 0, 0, 0, 4, 10, FALSE, FALSE, {now}, 4, 1, 9223372036854775807),
       (41, 'day', 'subscription:4', 'rate', 'calls', 86400000, 0, 0, 4, 10, FALSE, FALSE, {now}, 0, 0, 9223372036854775807);

INSERT INTO limit_charge (worker, take, counter, slot, units, granted, open, overdraft, until)
VALUES ('worker-4', 1, 41, {now}, 4, {now}, FALSE, FALSE, {now} + 90000000),
       ('worker-4', 2, 40, {now} + 2000, 1, {now}, TRUE, FALSE, {now} + 90000000);

INSERT INTO limit_tomb (worker, take, t) VALUES ('worker-4', 3, {now});

INSERT INTO limit_event (t, counter, subscription, name, counter_key, kind, unit, amount, window_ms, start_ms, success_only, report_only, percent, used)
VALUES ({now}, 41, 4, 'day', 'subscription:4', 'rate', 'calls', 10, 86400000, 0, FALSE, FALSE, 80, 8);

INSERT INTO limit_adjustment (t, actor, action, counter, subscription, units, before_state, after_state)
VALUES ({now}, 'alice (uid 1000)', 'limit.raise', 40, 4, 1, '{}', '{}');
