package main

import "strings"

// reasons says in a sentence what the gateway's own reason codes mean. A policy's codes are
// its author's; explain shows the rule instead.
var reasons = map[string]string{
	"path_invalid":        "The path cannot be read in only one way: an encoded slash, a dot segment, or a percent sign that is left after decoding.",
	"api_not_found":       "No API has this host and first path segment.",
	"operation_not_found": "The API declares no operation with this method and path.",

	"key_missing":    "The request carries no subscription key where the API looks for one.",
	"key_unknown":    "No subscription has this key.",
	"key_duplicated": "The request carries more than one key in one place.",
	"key_misplaced":  "The key stands in a part of the URL where it would be passed on to the backend.",

	"subscription_required":   "The API cannot be called without a subscription.",
	"subscription_expired":    "The subscription's expiry date has passed.",
	"subscription_not_active": "The subscription is not active: it is submitted, suspended, rejected or cancelled.",
	"subscription_unknown":    "The subscription was removed while the request was on its way.",
	"scope_mismatch":          "The key belongs to a subscription that does not open this API.",

	"api_unknown":       "The API was removed from the catalog while the request was on its way.",
	"operation_unknown": "The operation was removed from the catalog while the request was on its way.",
	"scope_unknown":     "The API stopped being open without a key while the request was on its way.",
	"resource_missing":  "The filter did not name the resource that the operation requires; the filter and the sidecar may be of different releases.",

	"rate_limited":        "The limit's amount was used within its window; what is used leaves the window by itself.",
	"quota_exceeded":      "The quota of this period was used up.",
	"concurrency_limited": "As many requests as the limit allows were under way at once.",
	"ledger_unavailable":  "A limit applied of which the filter held nothing, and the ledger could not be asked; the sidecar's log says why.",

	"no_snapshot":         "The filter had not heard from the sidecar yet.",
	"backend_key_missing": "The sidecar does not find the key of the API's backend; its log says where it looked.",
	"snapshot_stale":      "The filter had not heard from the sidecar for longer than --max-stale.",
	"sidecar_unavailable": "A new decision was needed, and the sidecar did not answer.",
	"store_unavailable":   "The sidecar could not read its store.",
	"overloaded":          "Too many requests were waiting for the sidecar.",
	"policy_moving":       "The policy kept changing while the request was asked for.",
	"policy_unsupported":  "The policy reads a field that the filter does not know; the filter is older than the sidecar.",
	"limit_unsupported":   "The policy returned a limit that the filter does not know; the filter is older than the sidecar.",
	"policy_undefined":    "The policy gave no decision at all; the sidecar's log says why.",
	"policy_type":         "The policy gave something that is no decision; the sidecar's log says what.",
	"policy_timeout":      "The policy took too long to decide.",
	"policy_error":        "The policy gave no usable decision; the sidecar's log says why.",
	"internal_error":      "The filter failed. Please report this.",
	"denied":              "The policy denied without a reason.",
}

// endings are codes that begin with the kind of a resource.
var endings = map[string]string{
	"_not_found":     "The resource was created by another subscription, or nobody is known to have created it.",
	"_id_unreadable": "The backend's answer to the submit did not carry an id that can be recorded.",
	"_not_recorded":  "The sidecar could not record who owns what was just submitted.",
}

func sentence(reason string) string {
	if s, ok := reasons[reason]; ok {
		return s
	}
	for ending, s := range endings {
		if strings.HasSuffix(reason, ending) {
			return s
		}
	}
	return ""
}
