package dialect

import (
	"strconv"

	"github.com/tollgate/tollgate/internal/wire"
)

// RetrySeconds is wire.Exhausted.RetryMillis in whole seconds, rounded up and at least 1, so
// that a call after that many seconds finds room; -1 where there never will be.
func RetrySeconds(millis int64) int64 {
	if millis < 0 {
		return -1
	}
	// Not (millis+999)/1000, which overflows.
	seconds := millis / 1000
	if millis%1000 > 0 {
		seconds++
	}
	return max(seconds, 1)
}

// ExhaustedMessage is what API Management says when limit leaves no room, with the number
// that Retry-After has; below 0 there never will be room, and no number. Where API Management
// has no such limit, it is said in the same way.
func ExhaustedMessage(limit wire.Limit, retrySeconds int64) string {
	switch limit.Kind {
	case wire.KindQuota:
		what := "call volume"
		switch limit.Unit {
		case wire.UnitBytes:
			what = "bandwidth"
		case wire.UnitRows:
			what = "row volume"
		}
		message := "Out of " + what + " quota."
		if retrySeconds < 0 {
			return message
		}
		return message + " Quota will be replenished in " + string(appendTimeSpan(nil, retrySeconds)) + "."
	case wire.KindConcurrency:
		return tryAgain("Too many calls at once.", retrySeconds)
	}
	return tryAgain("Rate limit is exceeded.", retrySeconds)
}

// tryAgain keeps API Management's plural, whatever the number.
func tryAgain(message string, seconds int64) string {
	if seconds < 0 {
		return message
	}
	return message + " Try again in " + strconv.FormatInt(seconds, 10) + " seconds."
}

// appendTimeSpan writes seconds as .NET does: 14:18:12, and from a day on 22.14:18:12.
func appendTimeSpan(b []byte, seconds int64) []byte {
	if days := seconds / 86400; days > 0 {
		b = append(strconv.AppendInt(b, days, 10), '.')
	}
	b = append(appendTwoDigits(b, seconds/3600%24), ':')
	b = append(appendTwoDigits(b, seconds/60%60), ':')
	return appendTwoDigits(b, seconds%60)
}

func appendTwoDigits(b []byte, n int64) []byte { return append(b, byte('0'+n/10), byte('0'+n%10)) }

// maxInteger is the largest that a structured field can carry (RFC 9651 section 3.3.1).
const maxInteger = 999_999_999_999_999

// Advertised says whether limit stands in the RateLimit fields (draft-ietf-httpapi-ratelimit-headers-11):
// not when it is only reported, for it refuses nothing, and not when it counts rows, for which
// the draft's registry has no unit: a client would take them for requests.
func Advertised(limit wire.Limit) bool { return !limit.ReportOnly && limit.Unit != wire.UnitRows }

// RateLimitPolicy is the value of RateLimit-Policy: an item for each limit that is
// Advertised, in their order. It is empty, and the field is then left out, when there is
// none.
func RateLimitPolicy(limits []wire.Limit) string {
	var b []byte
	for _, limit := range limits {
		if !Advertised(limit) {
			continue
		}
		b = append(appendItem(b, limit.Name), ";q="...)
		b = appendInteger(b, limit.Amount)
		switch {
		case limit.Kind == wire.KindConcurrency:
			b = append(b, `;qu="concurrent-requests"`...)
		case limit.Unit == wire.UnitBytes:
			b = append(b, `;qu="content-bytes"`...)
		}
		if limit.WindowMillis > 0 {
			b = append(b, ";w="...)
			b = appendInteger(b, max(limit.WindowMillis/1000, 1)) // 0 is not allowed
		}
	}
	return string(b)
}

// AppendRateLimit appends the item of one limit, which is Advertised, to the value of
// RateLimit. Remaining below 0, of an overdrawn limit, is written as 0. Where resetSeconds is
// below 0, nothing is said of when more will be left.
func AppendRateLimit(b []byte, name string, remaining, resetSeconds int64) []byte {
	b = append(appendItem(b, name), ";r="...)
	b = appendInteger(b, remaining)
	if resetSeconds >= 0 {
		b = append(b, ";t="...)
		b = appendInteger(b, resetSeconds)
	}
	return b
}

// appendItem begins the next item of a list. Names hold nothing that a structured string
// would escape: wire.Limit.Name.
func appendItem(b []byte, name string) []byte {
	if len(b) > 0 {
		b = append(b, ',')
	}
	b = append(b, '"')
	b = append(b, name...)
	return append(b, '"')
}

func appendInteger(b []byte, n int64) []byte {
	return strconv.AppendInt(b, min(max(n, 0), maxInteger), 10)
}
