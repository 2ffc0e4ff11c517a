package tollgate.headers_test

import data.tollgate

test_nothing_changes_by_default if {
	unchanged := {"set": {}, "remove": set()}
	tollgate.decision.request == unchanged
	tollgate.decision.response == unchanged
}

test_contributions_reach_the_decision if {
	contributed := {
		"request": {"set": {"x-plan": "gold"}},
		"response": {"remove": {"server", "x-powered-by"}},
	}
	decision := tollgate.decision with data.tollgate.headers as contributed
	decision.request == {"set": {"x-plan": "gold"}, "remove": set()}
	decision.response == {"set": {}, "remove": {"server", "x-powered-by"}}
}
