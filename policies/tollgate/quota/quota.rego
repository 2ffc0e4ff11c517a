# METADATA
# title: Quota
# description: |
#   What is counted, and under which key. Add a file with the same package line and
#   further rules of the form `limits contains {"name": ..., "key": ..., "kind": ...} if ...`
#   (docs/policies.md). Every limit that is contributed applies; calls that are denied are
#   not counted.
# schemas:
#   - input: schema.input
package tollgate.quota

# METADATA
# title: Limits of the product
# description: |
#   Counted for each subscription; all calls of a product without a key share one counter.
limits contains _counted(limit, _product_key) if some limit in data.catalog.products[input.product.name].limits

# METADATA
# title: Limits of the API
# description: Counted for each subscription, whatever the product it came through.
limits contains _counted(limit, _api_key) if some limit in data.catalog.apis[input.api.name].limits

# METADATA
# title: Limits of the operation
# description: Counted for each subscription and operation.
limits contains _counted(limit, key) if {
	some limit in data.catalog.apis[input.api.name].operations[input.operation.name].limits
	key := concat("", [_api_key, "/operation:", _escaped(input.operation.name)])
}

# A limit without a key would vanish, so that each key has a value whatever the input.
_product_key := _subscriber if _subscriber

else := concat("", ["product:", _escaped(input.product.name)])

_api_key := concat("/", [_subscriber, _api]) if _subscriber

else := _api

_subscriber := sprintf("subscription:%d", [input.subscription.id])

_api := concat("", ["api:", _escaped(input.api.name)])

# A name cannot pass for a longer key.
_escaped(name) := strings.replace_n({"%": "%25", "/": "%2F"}, name)

_counted(limit, key) := object.union(limit, {"key": key, "start": _start(limit)})

# Periods follow one another from the subscription's start, else from the epoch.
_start(limit) := input.subscription.started_at if limit.kind == "quota"

else := null
