package tollgate.quota_test

import data.tollgate.quota

test_no_limits_by_default if {
	quota.limits == set() with input as {"product": {"name": "Starter"}}
		with data.catalog as {"products": {"Starter": {"apis": ["orders"]}}}
}

test_no_limits_without_a_product if {
	quota.limits == set() with input as {"product": null}
		with data.catalog as {"products": {"Starter": {"limits": [{"name": "minute"}]}}}
}

test_limits_of_the_product if {
	quota.limits == {{"name": "minute"}} with input as {"product": {"name": "Starter"}}
		with data.catalog as {"products": {"Starter": {"limits": [{"name": "minute"}]}}}
}
