# METADATA
# title: Access
# description: |
#   Who may call. Add a file with the same package line and further rules: each deny is
#   a reason in snake_case, or an object {"reason", "status", "message"} where the
#   answer is not a plain 403. ttl and valid_until bound how long an answer is kept.
# schemas:
#   - input: schema.input
package tollgate.access

# METADATA
# title: Subscription required
# description: A request without a key, to an API and a product that are not open.
deny contains {"reason": "subscription_required", "status": 401} if {
	not _subscribed
	not _open
}

# METADATA
# title: Subscription expired
deny contains {"reason": "subscription_expired", "status": 401} if input.subscription.state == "expired"

# METADATA
# title: Subscription not active
# description: Submitted, suspended, rejected or cancelled.
deny contains {"reason": "subscription_not_active", "status": 401} if {
	_subscribed
	not _active_or_expired
}

# METADATA
# title: Out of scope
# description: A key that opens other APIs is answered like a wrong key.
deny contains {"reason": "scope_mismatch", "status": 401} if {
	_subscribed
	not _in_scope
}

# METADATA
# title: Somebody else's resource
# description: |
#   A job, say, that another subscription created, or that nobody is known to have
#   created: job_not_found, like a job that does not exist.
deny contains {"reason": concat("", [input.resource.kind, "_not_found"]), "status": 404} if {
	input.resource != null
	not _owner
}

# METADATA
# title: Keep until
# description: An answer to an active subscription ends with it. The earliest counts.
valid_until contains input.subscription.expires_at if {
	input.subscription.state == "active"
	input.subscription.expires_at != null
}

# METADATA
# title: Keep for
# description: |
#   What is not known yet may be known in a moment. The shortest counts; without any,
#   the gateway's own.
ttl contains "0s" if {
	input.resource != null
	input.resource.owner == null
}

_subscribed if input.subscription != null

# Written as rules of their own: what stands behind `not` would otherwise be undefined,
# and the denial with it, where a field is missing.
_active_or_expired if input.subscription.state in {"active", "expired"}

_owner if input.resource.owner == input.subscription.id

_open if data.catalog.apis[input.api.name].subscription_required == false

_open if {
	product := data.catalog.products[input.product.name]
	product.subscription_required == false
	input.api.name in product.apis
}

_in_scope if input.subscription.scope.kind == "all_apis"

_in_scope if {
	input.subscription.scope.kind == "api"
	input.subscription.scope.name == input.api.name
}

_in_scope if {
	input.subscription.scope.kind == "product"
	input.api.name in data.catalog.products[input.subscription.scope.name].apis
}
