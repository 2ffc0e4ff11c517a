package tollgate.access_test

import data.tollgate.access

_catalog := {
	"apis": {
		"orders": {"subscription_required": true},
		"status": {"subscription_required": false},
	},
	"products": {
		"Starter": {"apis": ["orders"], "subscription_required": true},
		"Free": {"apis": ["orders"], "subscription_required": false},
	},
}

_subscription := {
	"id": 42,
	"state": "active",
	"scope": {"kind": "product", "name": "Starter"},
	"expires_at": null,
}

_input := {
	"api": {"name": "orders"},
	"product": {"name": "Starter"},
	"subscription": _subscription,
	"resource": null,
}

_job := {"kind": "job", "id": "b1", "owner": 42}

_patched(changes) := object.union(_input, changes)

_scoped(kind, name) := _patched({"subscription": {"scope": {"kind": kind, "name": name}}})

_cases := {
	"an active subscription": {"input": _input, "deny": set()},
	"a key that opens the API itself": {"input": _scoped("api", "orders"), "deny": set()},
	"a key that opens all APIs": {"input": _scoped("all_apis", ""), "deny": set()},
	"a key of another API": {"input": _scoped("api", "status"), "deny": {["scope_mismatch", 401]}},
	"a key of an unknown product": {"input": _scoped("product", "Gone"), "deny": {["scope_mismatch", 401]}},
	"a key of an unknown kind": {"input": _scoped("galaxy", "orders"), "deny": {["scope_mismatch", 401]}},
	"a product without the API": {
		"input": _patched({"api": {"name": "status"}}),
		"deny": {["scope_mismatch", 401]},
	},
	"a suspended subscription": {
		"input": _patched({"subscription": {"state": "suspended"}}),
		"deny": {["subscription_not_active", 401]},
	},
	"an expired subscription": {
		"input": _patched({"subscription": {"state": "expired"}}),
		"deny": {["subscription_expired", 401]},
	},
	"a subscription without a state": {
		"input": object.union(
			object.remove(_input, ["subscription"]),
			{"subscription": object.remove(_subscription, ["state"])},
		),
		"deny": {["subscription_not_active", 401]},
	},
	"no key": {
		"input": _patched({"subscription": null}),
		"deny": {["subscription_required", 401]},
	},
	"no key, an open product": {
		"input": _patched({"subscription": null, "product": {"name": "Free"}}),
		"deny": set(),
	},
	"no key, an open product without the API": {
		"input": _patched({"subscription": null, "product": {"name": "Free"}, "api": {"name": "other"}}),
		"deny": {["subscription_required", 401]},
	},
	"no key, an open API": {
		"input": _patched({"subscription": null, "product": null, "api": {"name": "status"}}),
		"deny": set(),
	},
	"nothing at all": {"input": {}, "deny": {["subscription_required", 401]}},
	"its own job": {"input": _patched({"resource": _job}), "deny": set()},
	"somebody else's job": {
		"input": _patched({"resource": object.union(_job, {"owner": 7})}),
		"deny": {["job_not_found", 404]},
	},
	"an unknown job": {
		"input": _patched({"resource": object.union(_job, {"owner": null})}),
		"deny": {["job_not_found", 404]},
	},
	"a job without a key, on an open API": {
		"input": _patched({"subscription": null, "api": {"name": "status"}, "resource": _job}),
		"deny": {["job_not_found", 404]},
	},
	"an unknown job without a key": {
		"input": _patched({
			"subscription": null,
			"api": {"name": "status"},
			"resource": object.union(_job, {"owner": null}),
		}),
		"deny": {["job_not_found", 404]},
	},
	"somebody else's model": {
		"input": _patched({"resource": {"kind": "model", "id": "m", "owner": 7}}),
		"deny": {["model_not_found", 404]},
	},
}

test_deny[name] if {
	count(_cases) > 0
	some name, case in _cases
	denied := access.deny with input as case.input with data.catalog as _catalog
	{[d.reason, d.status] | some d in denied} == case.deny
}

test_every_case_counts if {
	count(_cases) > 20
	{name | test_deny[name]} == object.keys(_cases)
}

test_denies_without_a_catalog if {
	{d.reason | some d in access.deny} == {"scope_mismatch"} with input as _input
}

test_valid_until_the_subscription_expires if {
	expiring := _patched({"subscription": {"expires_at": "2030-01-01T00:00:00Z"}})
	access.valid_until == {"2030-01-01T00:00:00Z"} with input as expiring
}

test_valid_for_ever_without_an_expiry if {
	access.valid_until == set() with input as _input
}

test_an_expired_subscription_stays_so if {
	expired := _patched({"subscription": {"state": "expired", "expires_at": "2020-01-01T00:00:00Z"}})
	access.valid_until == set() with input as expired
}

test_an_unknown_owner_is_not_kept if {
	unknown := _patched({"resource": object.union(_job, {"owner": null})})
	access.ttl == {"0s"} with input as unknown
}

test_a_known_owner_is_kept if {
	access.ttl == set() with input as _patched({"resource": _job})
}
