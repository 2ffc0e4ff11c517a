# METADATA
# title: Decision
# description: |
#   Puts together what access, quota and headers contribute. Extend those three by
#   adding files to their packages; nothing here needs to be edited.
# schemas:
#   - input: schema.input
package tollgate

import data.tollgate.access
import data.tollgate.headers
import data.tollgate.quota

# METADATA
# title: The decision
# description: |
#   The one document that the gateway asks for. A request is allowed when no rule
#   denies it. Of several denials the lowest status answers; among equals the first
#   reason in alphabetical order, and of two with one reason the one with a message.
#   reasons carries all of them. Limits apply to what is allowed.
# entrypoint: true
decision := {
	"allow": count(access.deny) == 0,
	"reasons": _denial.reasons,
	"status": _denial.status,
	"message": _denial.message,
	"limits": _limits,
	"request": _request,
	"response": _response,
	"ttl": _ttl,
	"valid_until": _valid_until,
}

default _denial := {"reasons": [], "status": 403, "message": ""}

_denial := {
	"reasons": sort({_reason(denial) | some denial in access.deny}),
	"status": _ranked[0][0],
	"message": _ranked[0][3],
} if {
	count(access.deny) > 0
}

# An empty message sorts last among equals, so that a text wins over none. The last
# entry answers where no denial is well-formed.
_ranked := array.concat(
	sort([rank |
		some denial in access.deny
		_well_formed(denial)
		status := _field(denial, "status", 403)
		message := _field(denial, "message", "")
		rank := [status, _reason(denial), message == "", message]
	]),
	[[403, "", true, ""]],
)

# What is neither a reason nor an object of reason, status and message stays as it is:
# the gateway finds it among the reasons and answers 500.
_reason(denial) := denial.reason if {
	is_object(denial)
	_well_formed(denial)
} else := denial

_well_formed(denial) if is_string(denial)

_well_formed(denial) if {
	is_object(denial)
	count(object.keys(denial) - {"reason", "status", "message"}) == 0
	is_string(denial.reason)
	is_string(_field(denial, "message", ""))
	status := _field(denial, "status", 403)
	is_number(status)
	status >= 400
	status <= 599
	floor(status) == status
}

_field(denial, name, fallback) := object.get(denial, name, fallback) if is_object(denial)

else := fallback

# Without a default: no limits must not come of limits that have no value.
_limits := [] if {
	count(access.deny) > 0
} else := sort(quota.limits)

default _request := {"set": {}, "remove": set()}

_request := object.union({"set": {}, "remove": set()}, headers.request)

default _response := {"set": {}, "remove": set()}

_response := object.union({"set": {}, "remove": set()}, headers.response)

# The shortest of what the rules of access ask for.
default _ttl := "30s"

_ttl := sort([[time.parse_duration_ns(ttl), ttl] | some ttl in access.ttl])[0][1] if {
	count(access.ttl) > 0
} else := data.configuration.ttl

default _valid_until := null

_valid_until := sort([[_instant(instant), instant] | some instant in access.valid_until])[0][1] if {
	count(access.valid_until) > 0
}

# Nanoseconds; instants that 64 bits cannot hold come after all others.
_instant(instant) := 9223372036854775807 if {
	regex.match(`^(226[2-9]|22[7-9]\d|2[3-9]\d\d|[3-9]\d\d\d)-`, instant)
} else := time.parse_rfc3339_ns(instant)
