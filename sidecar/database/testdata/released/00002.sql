-- What a sidecar of version 2 wrote, after what those of the versions before it had: rows of
-- all its tables. {now} is the present in Unix milliseconds; blobs are written as for SQLite.

INSERT INTO developer (email, name, groups) VALUES ('dev-2@example.org', 'Déve "2"', '["beta", "Developers"]');

INSERT INTO subscription (id, name, developer, scope_kind, scope_name, state, expires, attributes, revision, removed, started)
VALUES (2, 'sub-2', 'dev-2@example.org', 'product', 'Starter', 2, 4000000000, '{"tier":"gold 2"}', 2, 0, 1700000000002);

INSERT INTO key (subscription, slot, digest) VALUES (2, 1, x'0202020202020202020202020202020202020202020202020202020202020202'), (2, 2, x'1212121212121212121212121212121212121212121212121212121212121212');

INSERT INTO intent (call, subscription, kind, scope, backend, api, operation, created)
VALUES ('call-2', 2, 'job', '9aef8eed5834729d9b08209c0f3f4af9369b95850f518506c7ff9d87d6a4c020', 'https://backend.example.com', 'Demo', 'Submit', {now});

INSERT INTO resource (backend, kind, scope, id, subscription, call, created)
VALUES ('https://backend.example.com', 'job', '9aef8eed5834729d9b08209c0f3f4af9369b95850f518506c7ff9d87d6a4c020', 'job-2', 2, 'call-2', {now});

INSERT INTO decision (id, call, time, status, reasons, subscription, api, operation, policy, rules, detail)
VALUES ('decision-2', 'denied-2', {now}, 403, '["not_yours"]', 2, 'Demo', 'Submit', 'policy-1',
        '[{"path":"data.tollgate.access.deny","file":"access.rego","line":12,"reason":"not_yours"}]', '');

INSERT INTO denial (call, time, status, reason, decision, subscription, api, operation)
VALUES ('denied-2', {now}, 403, 'not_yours', 'decision-2', 2, 'Demo', 'Submit');

INSERT INTO usage_report (vm, sequence, taken) VALUES ('worker-2', 2, {now}), ('worker-2', 3, {now});
