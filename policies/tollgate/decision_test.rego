package tollgate_test

import data.tollgate

_decision(denials) := decision if {
	decision := tollgate.decision with data.tollgate.access.deny as denials
}

_ttl(contributions) := decision.ttl if {
	decision := tollgate.decision with data.tollgate.access.ttl as contributions
}

_valid_until(contributions) := decision.valid_until if {
	decision := tollgate.decision with data.tollgate.access.valid_until as contributions
}

test_allow_is_the_whole_document if {
	_decision(set()) == {
		"allow": true,
		"reasons": [],
		"status": 403,
		"message": "",
		"limits": [],
		"request": {"set": {}, "remove": set()},
		"response": {"set": {}, "remove": set()},
		"ttl": "30s",
		"valid_until": null,
	}
}

test_an_empty_input_is_denied if {
	decision := tollgate.decision with input as {}
	not decision.allow
	decision.reasons == ["subscription_required"]
	decision.status == 401
}

_denials := {
	"a plain reason": {
		"deny": {"closed"},
		"want": {"reasons": ["closed"], "status": 403, "message": ""},
	},
	"a status and a message": {
		"deny": {{"reason": "closed", "status": 451, "message": "come back"}},
		"want": {"reasons": ["closed"], "status": 451, "message": "come back"},
	},
	"an object with a reason only": {
		"deny": {{"reason": "closed"}},
		"want": {"reasons": ["closed"], "status": 403, "message": ""},
	},
	"the lowest status answers": {
		"deny": {{"reason": "a", "status": 404, "message": "gone"}, {"reason": "b", "status": 401, "message": "who"}},
		"want": {"reasons": ["a", "b"], "status": 401, "message": "who"},
	},
	"then the first reason": {
		"deny": {{"reason": "b", "message": "second"}, {"reason": "a", "message": "first"}},
		"want": {"reasons": ["a", "b"], "status": 403, "message": "first"},
	},
	"then the one with a message": {
		"deny": {"a", {"reason": "a", "message": "text"}},
		"want": {"reasons": ["a"], "status": 403, "message": "text"},
	},
	"a number stays and is refused by the gateway": {
		"deny": {7, {"reason": "a"}},
		"want": {"reasons": [7, "a"], "status": 403, "message": ""},
	},
	"a misspelt field": {
		"deny": {{"reason": "a", "mesage": "x"}},
		"want": {"reasons": [{"reason": "a", "mesage": "x"}], "status": 403, "message": ""},
	},
	"a status that is no error": {
		"deny": {{"reason": "a", "status": 200}},
		"want": {"reasons": [{"reason": "a", "status": 200}], "status": 403, "message": ""},
	},
	"a status in quotes": {
		"deny": {{"reason": "a", "status": "404"}},
		"want": {"reasons": [{"reason": "a", "status": "404"}], "status": 403, "message": ""},
	},
	"a broken status": {
		"deny": {{"reason": "a", "status": 404.5}},
		"want": {"reasons": [{"reason": "a", "status": 404.5}], "status": 403, "message": ""},
	},
	"a message that is no text": {
		"deny": {{"reason": "a", "message": 1}},
		"want": {"reasons": [{"reason": "a", "message": 1}], "status": 403, "message": ""},
	},
	"no reason": {
		"deny": {{"status": 404}},
		"want": {"reasons": [{"status": 404}], "status": 403, "message": ""},
	},
}

test_denials[name] if {
	count(_denials) > 0
	some name, case in _denials
	decision := _decision(case.deny)
	not decision.allow
	object.filter(decision, ["reasons", "status", "message"]) == case.want
}

test_every_denial_counts if {
	count(_denials) > 10
	{name | test_denials[name]} == object.keys(_denials)
}

test_limits_are_a_sorted_list if {
	decision := tollgate.decision with data.tollgate.quota.limits as {{"name": "b"}, {"name": "a"}}
		with data.tollgate.access.deny as set()
	decision.limits == [{"name": "a"}, {"name": "b"}]
}

test_a_denied_request_has_no_limits if {
	decision := tollgate.decision with data.tollgate.quota.limits as {{"name": "a"}}
		with data.tollgate.access.deny as {"closed"}
	decision.limits == []
}

test_the_shortest_ttl_counts if _ttl({"1m", "5s", "10s"}) == "5s"

test_the_configured_ttl_counts_without_any if {
	decision := tollgate.decision with data.configuration as {"ttl": "10s"}
	decision.ttl == "10s"
}

test_the_earliest_instant_counts if {
	_valid_until({"2030-01-01T00:00:00Z", "2029-12-31T23:59:59-01:00", "2029-12-31T23:30:00Z"}) == "2029-12-31T23:30:00Z"
}

test_the_end_of_time_comes_last if {
	_valid_until({"9999-12-31T23:59:59Z", "2262-01-01T00:00:00Z", "2030-01-01T00:00:00Z"}) == "2030-01-01T00:00:00Z"
	_valid_until({"9999-12-31T23:59:59Z"}) == "9999-12-31T23:59:59Z"
}
