package dialect_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/dialect"
	"github.com/tollgate/tollgate/internal/wire"
)

// The strings of API Management, byte for byte.
func TestAPIM(t *testing.T) {
	for name, c := range map[string]struct {
		err  dialect.Error
		want string
	}{
		"key missing":  {dialect.Error{Status: 401, Message: dialect.KeyMissing}, `{ "statusCode": 401, "message": "Access denied due to missing subscription key. Make sure to include subscription key when making requests to an API." }`},
		"key invalid":  {dialect.Error{Status: 401}, `{ "statusCode": 401, "message": "Access denied due to invalid subscription key. Make sure to provide a valid key for an active subscription." }`},
		"no operation": {dialect.Error{Status: 404}, `{ "statusCode": 404, "message": "Resource not found" }`},
		"forbidden":    {dialect.Error{Status: 403}, `{ "statusCode": 403, "message": "Forbidden" }`},
		"internal":     {dialect.Error{Status: 500, RequestID: "5bf9ac9c-40bd-4cc7-8344-95eadf25db52"}, `{ "statusCode": 500, "message": "Internal server error", "activityId": "5bf9ac9c-40bd-4cc7-8344-95eadf25db52" }`},
	} {
		t.Run(name, func(t *testing.T) {
			_, body := dialect.Render(wire.DialectAPIM, c.err)
			if diff := cmp.Diff(c.want, string(body)); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		})
	}
	for want, message := range map[int]string{152: dialect.KeyMissing, 143: dialect.KeyInvalid} {
		if _, body := dialect.Render(wire.DialectAPIM, dialect.Error{Status: 401, Message: message}); len(body) != want {
			t.Errorf("%q has %d bytes, want %d", body, len(body), want)
		}
	}
}

func TestOtherDialects(t *testing.T) {
	e := dialect.Error{Status: 401, Reason: "key_unknown", RequestID: "r1"}
	for name, c := range map[string]struct {
		dialect wire.Dialect
		want    string
	}{
		"azureml": {wire.DialectAzureML, `{"error":{"code":"Unauthorized","message":"Request is unauthorized to access resource.","details":[{"code":"ScoreRequestUnauthorized","message":"` + dialect.KeyInvalid + `"}]}}`},
		"problem": {wire.DialectProblem, `{"type":"about:blank","title":"Unauthorized","status":401,"detail":"` + dialect.KeyInvalid + `","reason":"key_unknown","request_id":"r1"}`},
	} {
		t.Run(name, func(t *testing.T) {
			_, body := dialect.Render(c.dialect, e)
			if diff := cmp.Diff(c.want, string(body)); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHeaders(t *testing.T) {
	headers, _ := dialect.Render(wire.DialectProblem, dialect.Error{
		Status: 401, Reason: "key_unknown", RequestID: "r1", RetryAfterSeconds: 7,
		Challenge: dialect.Challenge("https", "gw.example:8443", "demo", "X-Key"),
	})
	want := [][2]string{
		{"content-type", "application/problem+json"},
		{"www-authenticate", `AzureApiManagementKey realm="https://gw.example:8443/demo",name="X-Key",type="header"`},
		{"retry-after", "7"}, {"x-tollgate-reason", "key_unknown"}, {"x-request-id", "r1"},
	}
	if diff := cmp.Diff(want, headers); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	if got := dialect.Challenge("http", "a\"b\r\n", "s", "K"); got != `AzureApiManagementKey realm="http://ab/s",name="K",type="header"` {
		t.Errorf("a host that breaks out of its quotes gave %s", got)
	}
}

func TestChoose(t *testing.T) {
	for accept, want := range map[string]wire.Dialect{
		"":                         wire.DialectAzureML,
		"*/*":                      wire.DialectAzureML,
		"application/json":         wire.DialectAzureML,
		"application/problem+json": wire.DialectProblem,
		"application/json, Application/Problem+JSON":   wire.DialectProblem,
		"text/html, application/problem+json;q=0.5":    wire.DialectProblem,
		"application/problem+json;q=0":                 wire.DialectAzureML,
		"application/problem+json; charset=x; q=0.000": wire.DialectAzureML,
	} {
		if got := dialect.Choose(wire.DialectAzureML, accept); got != want {
			t.Errorf("Choose(%q) = %s, want %s", accept, got, want)
		}
	}
}

// FuzzRender holds that every dialect's body is JSON and says the message back.
func FuzzRender(f *testing.F) {
	f.Add("a \"quoted\" \\ message\n", 403)
	f.Fuzz(func(t *testing.T, message string, status int) {
		for _, d := range []wire.Dialect{wire.DialectAPIM, wire.DialectAzureML, wire.DialectProblem} {
			_, body := dialect.Render(d, dialect.Error{Status: status, Message: message, Reason: message, RequestID: message, Violated: []string{message, message}})
			if !json.Valid(body) {
				t.Fatalf("%s of %q is not JSON: %s", d, message, body)
			}
		}
	})
}
