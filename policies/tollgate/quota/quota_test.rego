package tollgate.quota_test

import data.tollgate
import data.tollgate.quota

_minute := {"name": "minute", "kind": "rate", "amount": 5, "window": "1m0s", "unit": "calls", "count": "all", "enforce": true}

_week := {"name": "week", "kind": "quota", "amount": 100, "period": "168h0m0s", "unit": "calls", "count": "all", "enforce": true}

_hour := {"name": "hour", "kind": "rate", "amount": 50, "window": "1h0m0s", "unit": "calls", "count": "all", "enforce": true}

_flight := {"name": "flight", "kind": "concurrency", "amount": 2, "unit": "calls", "count": "all", "enforce": true}

_catalog := {
	"apis": {
		"orders": {
			"subscription_required": false,
			"limits": [_hour],
			"operations": {"list": {"limits": []}, "a/b%": {"limits": [_flight]}},
		},
		"o/r": {"subscription_required": false, "limits": [_hour], "operations": {}},
		"free": {"subscription_required": false, "limits": [], "operations": {}},
	},
	"products": {
		"Starter": {"apis": ["orders"], "limits": [_minute, _week]},
		"Un/limited": {"apis": ["orders"], "limits": [_minute]},
		"Free": {"apis": ["orders"], "limits": []},
	},
}

_subscription := {"id": 42, "started_at": "2026-01-02T03:04:05.678Z"}

_of(api, operation, product, subscription) := {
	"api": {"name": api},
	"operation": {"name": operation},
	"product": product,
	"subscription": subscription,
}

_with(limit, key, start) := object.union(limit, {"key": key, "start": start})

_cases := {
	"of the product and of the API": {
		"input": _of("orders", "list", {"name": "Starter"}, _subscription),
		"want": {
			_with(_minute, "subscription:42", null),
			_with(_week, "subscription:42", "2026-01-02T03:04:05.678Z"),
			_with(_hour, "subscription:42/api:orders", null),
		},
	},
	"of a subscription whose start is not known": {
		"input": _of("orders", "list", {"name": "Starter"}, {"id": 4294967295, "started_at": null}),
		"want": {
			_with(_minute, "subscription:4294967295", null),
			_with(_week, "subscription:4294967295", null),
			_with(_hour, "subscription:4294967295/api:orders", null),
		},
	},
	"of the operation": {
		"input": _of("orders", "a/b%", null, _subscription),
		"want": {
			_with(_hour, "subscription:42/api:orders", null),
			_with(_flight, "subscription:42/api:orders/operation:a%2Fb%25", null),
		},
	},
	"without a key": {
		"input": _of("orders", "a/b%", {"name": "Starter"}, null),
		"want": {
			_with(_minute, "product:Starter", null),
			_with(_week, "product:Starter", null),
			_with(_hour, "api:orders", null),
			_with(_flight, "api:orders/operation:a%2Fb%25", null),
		},
	},
	"names with a slash": {
		"input": _of("o/r", "list", {"name": "Un/limited"}, null),
		"want": {_with(_minute, "product:Un%2Flimited", null), _with(_hour, "api:o%2Fr", null)},
	},
	"none of a product": {
		"input": _of("free", "list", {"name": "Free"}, _subscription),
		"want": set(),
	},
	"none without a product": {
		"input": _of("free", "list", null, _subscription),
		"want": set(),
	},
	"of no catalog's product": {
		"input": _of("none", "none", {"name": "None"}, _subscription),
		"want": set(),
	},
}

test_limits[name] if {
	some name, case in _cases
	quota.limits == case.want with input as case.input with data.catalog as _catalog
}

test_every_case_counts if {
	count(_cases) > 5
	{name | test_limits[name]} == object.keys(_cases)
}

test_no_limits_without_a_catalog if {
	quota.limits == set() with input as _of("orders", "list", {"name": "Starter"}, _subscription)
}

test_limits_reach_the_decision if {
	decision := tollgate.decision with data.catalog as _catalog
		with input as object.union(_of("orders", "list", null, null), {"resource": null})
	decision.allow
	decision.limits == [_with(_hour, "api:orders", null)]
}
