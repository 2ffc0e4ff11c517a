-- What a sidecar of version 5 wrote, after what those of the versions before it had: rows of
-- all its tables. {now} is the present in Unix milliseconds; blobs are written as for SQLite.

INSERT INTO object (kind, name, look, spec, source, revision, change, created, updated)
VALUES ('developer', 'dev-5@example.org', 'dev-5@example.org', '{"email":"dev-5@example.org","name":"Déve \"5\"","groups":["beta","Developers"]}',
        '', 5, 5, 1700000000000, 1700000000000);

INSERT INTO subscription (id, name, developer, scope_kind, scope_name, state, expires, attributes, revision, removed, started,
                          look, source, change, updated, note, shown)
VALUES (5, 'sub-5', 'dev-5@example.org', 'product', 'Starter', 2, 4000000000, '{"tier":"gold 5"}', 5, 0, 1700000000005,
        'sub-5', '', 5, 1700000000005, '', TRUE);

INSERT INTO key (digest, subscription, slot, expires, source, created, used)
VALUES (x'0505050505050505050505050505050505050505050505050505050505050505', 5, 1, 0, '', 1700000000000, 1700000001000),
       (x'1515151515151515151515151515151515151515151515151515151515151515', 5, 2, 0, '', 1700000000000, 0);

INSERT INTO intent (call, subscription, kind, scope, backend, api, operation, created)
VALUES ('call-5', 5, 'job', '9aef8eed5834729d9b08209c0f3f4af9369b95850f518506c7ff9d87d6a4c020', 'https://backend.example.com', 'Demo', 'Submit', {now});

INSERT INTO resource (backend, kind, scope, id, subscription, call, created)
VALUES ('https://backend.example.com', 'job', '9aef8eed5834729d9b08209c0f3f4af9369b95850f518506c7ff9d87d6a4c020', 'job-5', 5, 'call-5', {now});

INSERT INTO decision (id, call, time, status, reasons, subscription, api, operation, policy, rules, detail)
VALUES ('decision-5', 'denied-5', {now}, 403, '["not_yours"]', 5, 'Demo', 'Submit', 'policy-1',
        '[{"path":"data.tollgate.access.deny","file":"access.rego","line":12,"reason":"not_yours"}]', '');

INSERT INTO denial (call, time, status, reason, decision, subscription, api, operation, limit_name)
VALUES ('denied-5', {now}, 403, 'not_yours', 'decision-5', 5, 'Demo', 'Submit', 'week');

INSERT INTO usage_report (vm, sequence, taken) VALUES ('worker-5', 5, {now}), ('worker-5', 6, {now});

INSERT INTO limit_counter (id, name, counter_key, kind, unit, window_ms, start_ms, period, subscription, amount, success_only, report_only, t, used, raised, ends)
VALUES (50, 'life', 'subscription:5', 'quota', 'calls', 0, 0, 0, 5, 10, FALSE, FALSE, {now}, 5, 1, 9223372036854775807),
       (51, 'day', 'subscription:5', 'rate', 'calls', 86400000, 0, 0, 5, 10, FALSE, FALSE, {now}, 0, 0, 9223372036854775807);

INSERT INTO limit_charge (worker, take, counter, slot, units, granted, open, overdraft, until)
VALUES ('worker-5', 1, 51, {now}, 5, {now}, FALSE, FALSE, {now} + 90000000),
       ('worker-5', 2, 50, {now} + 2000, 1, {now}, TRUE, FALSE, {now} + 90000000);

INSERT INTO limit_tomb (worker, take, t) VALUES ('worker-5', 3, {now});

INSERT INTO limit_event (t, counter, subscription, name, counter_key, kind, unit, amount, window_ms, start_ms, success_only, report_only, percent, used)
VALUES ({now}, 51, 5, 'day', 'subscription:5', 'rate', 'calls', 10, 86400000, 0, FALSE, FALSE, 80, 8);

INSERT INTO limit_adjustment (t, actor, action, counter, subscription, units, before_state, after_state)
VALUES ({now}, 'alice (uid 1000)', 'limit.raise', 50, 5, 1, '{}', '{}');

UPDATE meta SET change = 5, configured = 5;

INSERT INTO object (kind, name, look, spec, source, revision, change, created, updated)
VALUES ('organization', '', '', '{"name":"Example","administrator":"admin@example.org"}', '', 1, 1, 1700000000000, 1700000000000),
       ('api', 'Demo', 'Demo', '{"name":"Demo","suffix":"demo","backend":{"url":"https://backend.example.com","timeout":"1m0s","authorization":"pass"},"keys":{"header":"Ocp-Apim-Subscription-Key","query":"subscription-key"},"subscription_required":true,"errors":"apim","when_unavailable":"deny","route":"envoy","operations":[{"name":"Submit","method":"POST","template":"/{workspace}/jobs","creates":"job"}]}',
        'file:demo.yaml', 4, 4, 1700000000000, 1700000000000),
       ('product', 'Starter', 'Starter', '{"name":"Starter","apis":["Demo"],"subscription_required":true,"published":true}', '', 1, 2, 1700000000000, 1700000000000),
       ('group', 'beta', 'beta', '{"name":"beta"}', '', 1, 2, 1700000000000, 1700000000000);

-- tga_QTnrPuUdEox5dRS9XXFq3iJIOzUlPF1P6lOZ
INSERT INTO token (name, role, digest, created, expires, revoked, used)
VALUES ('ci', 'publisher', x'2b09972e8e2f2c839bffd5f97c56f2de13c6ed818473e2e24d89b92a3eea68b4', 1700000000000, 4000000000, 0, 0);

INSERT INTO idempotency (actor, key, request, status, answer, created)
VALUES ('token:ci', 'once', x'1f58b9145b24d108d7ac38887338b3ea3229833b9c1e418250343f907bfd1047', 201, '{"name":"sub-5"}', {now});

INSERT INTO audit (id, t, actor, origin, action, kind, name, before_state, after_state, hash)
VALUES (1, 1700000000000, 'token:ci', '192.0.2.1', 'subscription.create', 'subscription', 'sub-5', '', '{"name":"sub-5"}',
        x'72a6dc98a0e9e50f810f2ec8585bedf55d7c45fd735f4714dd66d45a81bc6a9e');
UPDATE audit_head SET id = 1, hash = x'72a6dc98a0e9e50f810f2ec8585bedf55d7c45fd735f4714dd66d45a81bc6a9e';
