-- What a sidecar of version 7 wrote, after what those of the versions before it had: rows of
-- all its tables. {now} is the present in Unix milliseconds; blobs are written as for SQLite.

INSERT INTO object (kind, name, look, spec, source, revision, change, created, updated)
VALUES ('developer', 'dev-7@example.org', 'dev-7@example.org', '{"email":"dev-7@example.org","name":"Déve \"7\"","groups":["beta","Developers"]}',
        '', 7, 7, 1700000000000, 1700000000000);

INSERT INTO subscription (id, name, developer, scope_kind, scope_name, state, expires, attributes, revision, removed, started,
                          look, source, change, updated, note, shown)
VALUES (7, 'sub-7', 'dev-7@example.org', 'product', 'Starter', 2, 4000000000, '{"tier":"gold 7"}', 7, 0, 1700000000007,
        'sub-7', '', 7, 1700000000007, '', TRUE);

INSERT INTO key (digest, subscription, slot, expires, source, created, used)
VALUES (x'0707070707070707070707070707070707070707070707070707070707070707', 7, 1, 0, '', 1700000000000, 1700000001000),
       (x'1717171717171717171717171717171717171717171717171717171717171717', 7, 2, 0, '', 1700000000000, 0);

INSERT INTO intent (call, subscription, kind, scope, backend, api, operation, created)
VALUES ('call-7', 7, 'job', '9aef8eed5834729d9b08209c0f3f4af9369b95850f518506c7ff9d87d6a4c020', 'https://backend.example.com', 'Demo', 'Submit', {now});

INSERT INTO resource (backend, kind, scope, id, subscription, call, created)
VALUES ('https://backend.example.com', 'job', '9aef8eed5834729d9b08209c0f3f4af9369b95850f518506c7ff9d87d6a4c020', 'job-7', 7, 'call-7', {now});

INSERT INTO decision (id, call, time, status, reasons, subscription, api, operation, policy, rules, detail)
VALUES ('decision-7', 'denied-7', {now}, 403, '["not_yours"]', 7, 'Demo', 'Submit', 'policy-1',
        '[{"path":"data.tollgate.access.deny","file":"access.rego","line":12,"reason":"not_yours"}]', '');

INSERT INTO denial (call, time, status, reason, decision, subscription, api, operation, limit_name)
VALUES ('denied-7', {now}, 403, 'not_yours', 'decision-7', 7, 'Demo', 'Submit', 'week');

INSERT INTO limit_counter (id, name, counter_key, kind, unit, window_ms, start_ms, period, subscription, amount, success_only, report_only, t, used, raised, ends)
VALUES (70, 'life', 'subscription:7', 'quota', 'calls', 0, 0, 0, 7, 10, FALSE, FALSE, {now}, 7, 1, 9223372036854775807),
       (71, 'day', 'subscription:7', 'rate', 'calls', 86400000, 0, 0, 7, 10, FALSE, FALSE, {now}, 0, 0, 9223372036854775807);

INSERT INTO limit_charge (worker, take, counter, slot, units, granted, open, overdraft, until)
VALUES ('worker-7', 1, 71, {now}, 7, {now}, FALSE, FALSE, {now} + 90000000),
       ('worker-7', 2, 70, {now} + 2000, 1, {now}, TRUE, FALSE, {now} + 90000000);

INSERT INTO limit_tomb (worker, take, t) VALUES ('worker-7', 3, {now});

INSERT INTO limit_event (t, counter, subscription, name, counter_key, kind, unit, amount, window_ms, start_ms, success_only, report_only, percent, used)
VALUES ({now}, 71, 7, 'day', 'subscription:7', 'rate', 'calls', 10, 86400000, 0, FALSE, FALSE, 80, 8);

INSERT INTO limit_adjustment (t, actor, action, counter, subscription, units, before_state, after_state)
VALUES ({now}, 'alice (uid 1000)', 'limit.raise', 70, 7, 1, '{}', '{}');

INSERT INTO usage_vm (vm, sequence, taken) VALUES ('worker-7', 8, {now});

-- revoked-in-version-7-0123456789abcdef
INSERT INTO revoked_key (digest, subscription, slot, t)
VALUES (x'9fdb55f8069ef98493d66cbc0c5e893a97995a18729c7cfabfd266d51ea0f199', 7, 2, 1700000000000);

UPDATE meta SET change = 7;
