# Rules that only the corpus has, as an author would add them.
package tollgate.access

import rego.v1

# METADATA
# description: A subscription that its attributes block.
deny contains "blocked_by_attribute" if input.subscription.attributes.blocked == "yes"

# METADATA
# description: A header that varies the decision.
deny contains {"reason": "wrong_color", "status": 403, "message": "No red."} if input.request.headers["x-color"][0] == "red"
