// Package dialect writes the errors that the gateway makes itself, in the form that an
// API's clients read: API Management's, AzureML's, or RFC 9457's. It is pure.
//
// The strings are those that Azure API Management and AzureML were seen to answer; clients
// compare them.
package dialect

import (
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollgate/tollgate/internal/wire"
)

// Error is one answer that does not come from a backend.
type Error struct {
	Status    int
	Reason    string // a stable snake_case code, sent as x-tollgate-reason
	Message   string // the dialect's own for Status when empty
	RequestID string // sent as x-request-id
	// Challenge is the value of WWW-Authenticate on a 401; none when empty.
	Challenge string
	// RetryAfterSeconds is sent as Retry-After when above 0.
	RetryAfterSeconds int
	// Violated are the names of the limits that left no room (wire.Limit.Name); none where
	// that is not why. Message is then ExhaustedMessage.
	Violated []string
}

// The messages that clients compare byte for byte.
const (
	KeyMissing = "Access denied due to missing subscription key. Make sure to include subscription key when making requests to an API."
	KeyInvalid = "Access denied due to invalid subscription key. Make sure to provide a valid key for an active subscription."
)

// Challenge is API Management's WWW-Authenticate value, without spaces after commas.
func Challenge(scheme, host, suffix, keyHeader string) string {
	return `AzureApiManagementKey realm="` + quotable(scheme+"://"+host+"/"+suffix) + `",name="` + keyHeader + `",type="header"`
}

// quotable drops what would end a quoted string or a header; a host has none of it.
func quotable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '"' || r == '\\' || r < 0x20 || r > 0x7e {
			return -1
		}
		return r
	}, s)
}

// Choose is the dialect of an answer: the client's, when its Accept header asks for
// problem details, else the API's.
func Choose(api wire.Dialect, accept string) wire.Dialect {
	for part := range strings.SplitSeq(accept, ",") {
		mediaType, parameters, _ := strings.Cut(part, ";")
		if strings.EqualFold(strings.TrimSpace(mediaType), "application/problem+json") && !refused(parameters) {
			return wire.DialectProblem
		}
	}
	return api
}

// refused says whether the parameters of a media range give it a weight of zero.
func refused(parameters string) bool {
	for parameter := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(parameter), "=")
		if strings.EqualFold(name, "q") {
			weight, err := strconv.ParseFloat(value, 64)
			return err == nil && weight == 0
		}
	}
	return false
}

// Render gives the headers and the body of e. An unknown dialect is written as apim.
func Render(d wire.Dialect, e Error) (headers [][2]string, body []byte) {
	contentType := "application/json"
	switch d {
	case wire.DialectAzureML:
		body = azureML(e)
	case wire.DialectProblem:
		contentType, body = "application/problem+json", problem(e)
	default:
		body = apim(e)
	}
	headers = append(make([][2]string, 0, 6), [2]string{"content-type", contentType})
	if e.Challenge != "" {
		headers = append(headers, [2]string{"www-authenticate", e.Challenge})
	}
	if e.RetryAfterSeconds > 0 {
		headers = append(headers, [2]string{"retry-after", strconv.Itoa(e.RetryAfterSeconds)})
	}
	if e.Reason != "" {
		headers = append(headers, [2]string{"x-tollgate-reason", e.Reason})
	}
	if e.RequestID != "" {
		headers = append(headers, [2]string{"x-request-id", e.RequestID})
	}
	return headers, body
}

func apim(e Error) []byte {
	b := append(make([]byte, 0, 160), `{ "statusCode": `...)
	b = strconv.AppendInt(b, int64(e.Status), 10)
	b = append(b, `, "message": `...)
	b = appendString(b, message(e))
	if e.Status == 500 {
		b = append(b, `, "activityId": `...)
		b = appendString(b, e.RequestID)
	}
	return append(b, " }"...)
}

func azureML(e Error) []byte {
	envelope := azureMLEnvelopes[e.Status]
	if envelope.code == "" {
		envelope = azureMLEnvelope{"InternalError", "InternalError", "The request could not be answered."}
		if e.Status < 500 {
			envelope = azureMLEnvelope{"BadArgument", "InvalidRequest", "Invalid argument provided."}
		}
	}
	b := append(make([]byte, 0, 256), `{"error":{"code":`...)
	b = appendString(b, envelope.code)
	b = append(b, `,"message":`...)
	b = appendString(b, envelope.message)
	b = append(b, `,"details":[{"code":`...)
	b = appendString(b, envelope.detail)
	b = append(b, `,"message":`...)
	b = appendString(b, message(e))
	return append(b, "}]}}"...)
}

type azureMLEnvelope struct{ code, detail, message string }

var azureMLEnvelopes = map[int]azureMLEnvelope{
	400: {"BadArgument", "InvalidRequest", "Invalid argument provided."},
	401: {"Unauthorized", "ScoreRequestUnauthorized", "Request is unauthorized to access resource."},
	403: {"Forbidden", "Forbidden", "Request is not allowed."},
	404: {"NotFound", "ResourceNotFound", "Resource not found."},
	429: {"TooManyRequests", "RequestThrottled", "Too many requests."},
	500: {"InternalServerError", "InternalServerError", "Internal server error."},
	502: {"BadGateway", "BadGateway", "The service gave no usable answer."},
	503: {"ServiceUnavailable", "ServiceUnavailable", "Service is temporarily unavailable."},
}

func problem(e Error) []byte {
	kind, heading := "about:blank", title(e.Status)
	if len(e.Violated) > 0 {
		// draft-ietf-httpapi-ratelimit-headers-11 section 5.1
		kind, heading = "https://iana.org/assignments/http-problem-types#quota-exceeded", "Request cannot be satisfied as assigned quota has been exceeded"
	}
	b := append(make([]byte, 0, 384), `{"type":`...)
	b = appendString(b, kind)
	b = append(b, `,"title":`...)
	b = appendString(b, heading)
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(e.Status), 10)
	b = append(b, `,"detail":`...)
	b = appendString(b, message(e))
	b = append(b, `,"reason":`...)
	b = appendString(b, e.Reason)
	b = append(b, `,"request_id":`...)
	b = appendString(b, e.RequestID)
	for i, name := range e.Violated {
		if i == 0 {
			b = append(b, `,"violated-policies":[`...)
		} else {
			b = append(b, ',')
		}
		b = appendString(b, name)
	}
	if len(e.Violated) > 0 {
		b = append(b, ']')
	}
	return append(b, '}')
}

func message(e Error) string {
	if e.Message != "" {
		return e.Message
	}
	switch e.Status {
	case 401:
		return KeyInvalid
	case 404:
		return "Resource not found"
	}
	return title(e.Status)
}

// title is the reason phrase of the statuses that the gateway makes itself; net/http's
// table costs a guest module megabytes (RATIONALE.md).
func title(status int) string {
	switch status {
	case 400:
		return "Bad request"
	case 401:
		return "Unauthorized"
	case 403:
		return "Forbidden"
	case 404:
		return "Not found"
	case 429:
		return "Too many requests"
	case 500:
		return "Internal server error"
	case 502:
		return "Bad gateway"
	case 503:
		return "Service unavailable"
	case 504:
		return "Gateway timeout"
	}
	return "Status " + strconv.Itoa(status)
}

// appendString writes s as a JSON string, with U+FFFD in the place of bytes that are not
// UTF-8, which is all that the error says.
func appendString(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s)
	return b
}
