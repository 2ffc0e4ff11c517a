-- What a sidecar of version 6 wrote, after what those of the versions before it had: rows of
-- all its tables. {now} is the present in Unix milliseconds; blobs are written as for SQLite.

INSERT INTO object (kind, name, look, spec, source, revision, change, created, updated)
VALUES ('developer', 'dev-6@example.org', 'dev-6@example.org', '{"email":"dev-6@example.org","name":"Déve \"6\"","groups":["beta","Developers"]}',
        'file:demo.yaml', 6, 6, 1700000000000, 1700000000000);

INSERT INTO subscription (id, name, developer, scope_kind, scope_name, state, expires, attributes, revision, removed, started,
                          look, source, change, updated, note, shown)
VALUES (6, 'sub-6', 'dev-6@example.org', 'product', 'Starter', 2, 4000000000, '{"tier":"gold 6"}', 6, 0, 1700000000006,
        'sub-6', 'file:demo.yaml', 6, 1700000000006, '', TRUE);

INSERT INTO key (digest, subscription, slot, expires, source, created, used)
VALUES (x'0606060606060606060606060606060606060606060606060606060606060606', 6, 1, 0, 'file:demo.yaml', 1700000000000, 1700000001000),
       (x'1616161616161616161616161616161616161616161616161616161616161616', 6, 2, 0, 'file:demo.yaml', 1700000000000, 0);

INSERT INTO intent (call, subscription, kind, scope, backend, api, operation, created)
VALUES ('call-6', 6, 'job', '9aef8eed5834729d9b08209c0f3f4af9369b95850f518506c7ff9d87d6a4c020', 'https://backend.example.com', 'Demo', 'Submit', {now});

INSERT INTO resource (backend, kind, scope, id, subscription, call, created)
VALUES ('https://backend.example.com', 'job', '9aef8eed5834729d9b08209c0f3f4af9369b95850f518506c7ff9d87d6a4c020', 'job-6', 6, 'call-6', {now});

INSERT INTO decision (id, call, time, status, reasons, subscription, api, operation, policy, rules, detail)
VALUES ('decision-6', 'denied-6', {now}, 403, '["not_yours"]', 6, 'Demo', 'Submit', 'policy-1',
        '[{"path":"data.tollgate.access.deny","file":"access.rego","line":12,"reason":"not_yours"}]', '');

INSERT INTO denial (call, time, status, reason, decision, subscription, api, operation, limit_name)
VALUES ('denied-6', {now}, 403, 'not_yours', 'decision-6', 6, 'Demo', 'Submit', 'week');

INSERT INTO limit_counter (id, name, counter_key, kind, unit, window_ms, start_ms, period, subscription, amount, success_only, report_only, t, used, raised, ends)
VALUES (60, 'life', 'subscription:6', 'quota', 'calls', 0, 0, 0, 6, 10, FALSE, FALSE, {now}, 6, 1, 9223372036854775807),
       (61, 'day', 'subscription:6', 'rate', 'calls', 86400000, 0, 0, 6, 10, FALSE, FALSE, {now}, 0, 0, 9223372036854775807);

INSERT INTO limit_charge (worker, take, counter, slot, units, granted, open, overdraft, until)
VALUES ('worker-6', 1, 61, {now}, 6, {now}, FALSE, FALSE, {now} + 90000000),
       ('worker-6', 2, 60, {now} + 2000, 1, {now}, TRUE, FALSE, {now} + 90000000);

INSERT INTO limit_tomb (worker, take, t) VALUES ('worker-6', 3, {now});

INSERT INTO limit_event (t, counter, subscription, name, counter_key, kind, unit, amount, window_ms, start_ms, success_only, report_only, percent, used)
VALUES ({now}, 61, 6, 'day', 'subscription:6', 'rate', 'calls', 10, 86400000, 0, FALSE, FALSE, 80, 8);

INSERT INTO limit_adjustment (t, actor, action, counter, subscription, units, before_state, after_state)
VALUES ({now}, 'alice (uid 1000)', 'limit.raise', 60, 6, 1, '{}', '{}');

INSERT INTO usage_minute (t, subscription, product, api, operation, outcome, calls, request_bytes, response_bytes, total_sum, total_min, total_max,
                         total_0, total_1, total_2, total_3, total_4, total_5, total_6, total_7, total_8, total_9, total_10, total_11, total_12, total_13, total_14,
                         backend_sum, backend_min, backend_max,
                         backend_0, backend_1, backend_2, backend_3, backend_4, backend_5, backend_6, backend_7, backend_8, backend_9, backend_10, backend_11, backend_12, backend_13, backend_14)
VALUES ({now} / 1000 / 60 * 60, 6, 'Starter', 'Demo', 'Submit', 'success', 7, 700, 7000, 7000, 900, 1100, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3500, 400, 600, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
       ({now} / 1000 / 60 * 60, 0, '', 'Demo', '', 'blocked', 2, 20, 200, 20, 9, 11, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);

INSERT INTO usage_hour (t, subscription, product, api, operation, outcome, calls, request_bytes, response_bytes, total_sum, total_min, total_max,
                         total_0, total_1, total_2, total_3, total_4, total_5, total_6, total_7, total_8, total_9, total_10, total_11, total_12, total_13, total_14,
                         backend_sum, backend_min, backend_max,
                         backend_0, backend_1, backend_2, backend_3, backend_4, backend_5, backend_6, backend_7, backend_8, backend_9, backend_10, backend_11, backend_12, backend_13, backend_14)
VALUES ({now} / 1000 / 3600 * 3600, 6, 'Starter', 'Demo', 'Submit', 'success', 7, 700, 7000, 7000, 900, 1100, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3500, 400, 600, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
       ({now} / 1000 / 3600 * 3600, 0, '', 'Demo', '', 'blocked', 2, 20, 200, 20, 9, 11, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);

INSERT INTO usage_day (t, subscription, product, api, operation, outcome, calls, request_bytes, response_bytes, total_sum, total_min, total_max,
                         total_0, total_1, total_2, total_3, total_4, total_5, total_6, total_7, total_8, total_9, total_10, total_11, total_12, total_13, total_14,
                         backend_sum, backend_min, backend_max,
                         backend_0, backend_1, backend_2, backend_3, backend_4, backend_5, backend_6, backend_7, backend_8, backend_9, backend_10, backend_11, backend_12, backend_13, backend_14)
VALUES ({now} / 1000 / 86400 * 86400, 6, 'Starter', 'Demo', 'Submit', 'success', 7, 700, 7000, 7000, 900, 1100, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3500, 400, 600, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
       ({now} / 1000 / 86400 * 86400, 0, '', 'Demo', '', 'blocked', 2, 20, 200, 20, 9, 11, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);

INSERT INTO usage_vm (vm, sequence, taken) VALUES ('worker-6', 7, {now});
