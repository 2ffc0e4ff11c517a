-- What a sidecar of version 1 wrote, after what those of the versions before it had: rows of
-- all its tables. {now} is the present in Unix milliseconds; blobs are written as for SQLite.

INSERT INTO meta (one, store, number, fingerprint, pepper)
VALUES (1, '0123456789abcdef0123456789abcdef', 41, x'9dbf6e70977f45bfa8ad3ea1d26088df48d1330ad108e8b0d2c5be16e40da081', x'000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f');

INSERT INTO developer (email, name, groups) VALUES ('dev-1@example.org', 'Déve "1"', '["beta", "Developers"]');

INSERT INTO subscription (id, name, developer, scope_kind, scope_name, state, expires, attributes, revision, removed)
VALUES (1, 'sub-1', 'dev-1@example.org', 'product', 'Starter', 2, 4000000000, '{"tier":"gold 1"}', 1, 0);

-- It was removed: its id is never given to another one.
INSERT INTO subscription (id, name, developer, scope_kind, scope_name, state, expires, attributes, revision, removed)
VALUES (100, 'gone', 'dev-1@example.org', 'all_apis', '', 2, 0, '{}', 7, 1);

INSERT INTO key (subscription, slot, digest) VALUES (1, 1, x'0101010101010101010101010101010101010101010101010101010101010101'), (1, 2, x'1111111111111111111111111111111111111111111111111111111111111111');

INSERT INTO intent (call, subscription, kind, scope, backend, api, operation, created)
VALUES ('call-1', 1, 'job', '9aef8eed5834729d9b08209c0f3f4af9369b95850f518506c7ff9d87d6a4c020', 'https://backend.example.com', 'Demo', 'Submit', {now});

INSERT INTO resource (backend, kind, scope, id, subscription, call, created)
VALUES ('https://backend.example.com', 'job', '9aef8eed5834729d9b08209c0f3f4af9369b95850f518506c7ff9d87d6a4c020', 'job-1', 1, 'call-1', {now});

INSERT INTO decision (id, call, time, status, reasons, subscription, api, operation, policy, rules, detail)
VALUES ('decision-1', 'denied-1', {now}, 403, '["not_yours"]', 1, 'Demo', 'Submit', 'policy-1',
        '[{"path":"data.tollgate.access.deny","file":"access.rego","line":12,"reason":"not_yours"}]', '');

INSERT INTO denial (call, time, status, reason, decision, subscription, api, operation)
VALUES ('denied-1', {now}, 403, 'not_yours', 'decision-1', 1, 'Demo', 'Submit');

INSERT INTO usage_report (vm, sequence, taken) VALUES ('worker-1', 1, {now}), ('worker-1', 2, {now});
