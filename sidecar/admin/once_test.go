package admin_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/sidecar/admin"
	"github.com/tollgate/tollgate/sidecar/database"
)

func TestACreationSentAgain(t *testing.T) {
	o := open(t)
	l := plans(t, o)
	for name, tc := range map[string]struct{ path, body, other string }{
		"object":       {"/v1/groups", `{"name": "A"}`, `{"name": "B"}`},
		"operation":    {"/v1/apis/Demo/operations?take_over=true", `{"name": "A", "method": "GET", "template": "/a"}`, `{"name": "B", "method": "GET", "template": "/b"}`},
		"subscription": {"/v1/subscriptions", `{"name": "A", "developer": "ada@example.org", "product": "Starter"}`, `{"developer": "ada@example.org", "api": "Demo"}`},
	} {
		t.Run(name, func(t *testing.T) {
			l := l
			l.t = t
			first := l.call("POST", tc.path, tc.body, "Idempotency-Key", name).is(201)
			again := l.call("POST", tc.path, tc.body, "Idempotency-Key", name).is(201)
			if first.header.Get("Idempotency-Replayed") != "" || again.header.Get("Idempotency-Replayed") != "true" {
				t.Errorf("replayed: %q, then %q", first.header.Get("Idempotency-Replayed"), again.header.Get("Idempotency-Replayed"))
			}
			if diff := cmp.Diff(string(first.body), string(again.body)); diff != "" {
				t.Errorf("(-first +again):\n%s", diff)
			}
			for _, header := range []string{"Content-Type", "ETag", "Location"} {
				if first.header.Get(header) == "" || first.header.Get(header) != again.header.Get(header) {
					t.Errorf("%s: %q, then %q", header, first.header.Get(header), again.header.Get(header))
				}
			}
			l.call("POST", tc.path, tc.other, "Idempotency-Key", name).problem(409, "idempotency_key_reused", "")
			l.call("POST", tc.path, tc.body).problem(409, "exists", "")
		})
	}
}

func TestACreationThatFailedMayBeSentAgain(t *testing.T) {
	o := open(t)
	l := o.socket()
	l.call("POST", "/v1/products", `{"name": "P", "apis": ["Echo"]}`, "Idempotency-Key", "p").problem(422, "invalid", "")
	l.call("POST", "/v1/apis", echo).is(201)
	l.call("POST", "/v1/products", `{"name": "P", "apis": ["Echo"]}`, "Idempotency-Key", "p").is(201)
}

func TestIdempotencyKeys(t *testing.T) {
	o := open(t)
	l := o.socket()
	for _, key := range []string{"\xff", "a\tb", strings.Repeat("x", 256), "ü"} {
		l.call("POST", "/v1/groups", `{"name": "A"}`, "Idempotency-Key", key).field("Idempotency-Key", "255")
	}
	for _, header := range []string{"Idempotency-Key", "If-Match", "If-None-Match"} {
		l.call("POST", "/v1/groups", `{"name": "A"}`, header, "").field("header."+header, "empty")
	}
	l.call("POST", "/v1/groups", `{"name": "A"}`, "Idempotency-Key", strings.Repeat("x", 255)).is(201)
	// Keys of others are others.
	other := line{t, http.DefaultClient, o.listen(), o.issue("publisher", time.Time{})}
	other.call("POST", "/v1/groups", `{"name": "B"}`, "Idempotency-Key", strings.Repeat("x", 255)).is(201)
}

// What was shown once is not kept, and not done again either.
func TestASecretIsNotAnsweredAgain(t *testing.T) {
	o := open(t)
	l := plans(t, o)
	l.call("POST", "/v1/subscriptions", `{"name": "ada", "developer": "ada@example.org", "product": "Starter"}`).is(201)
	for path, body := range map[string]string{
		"/v1/tokens":                                      `{"name": "ci", "role": "reader"}`,
		"/v1/subscriptions/ada/keys/show-once":            ``,
		"/v1/subscriptions/ada/keys/secondary/regenerate": `{}`,
	} {
		if r := l.call("POST", path, body, "Idempotency-Key", path); r.status >= 300 {
			t.Fatalf("%s: %d %s", path, r.status, r.body)
		}
		before := l.call("GET", "/v1/subscriptions/ada", "").body
		l.call("POST", path, body, "Idempotency-Key", path).problem(409, "already_answered", "once")
		if diff := cmp.Diff(string(before), string(l.call("GET", "/v1/subscriptions/ada", "").body)); diff != "" {
			t.Errorf("%s was done again:\n%s", path, diff)
		}
	}
	if list := read[admin.List[admin.Token]](l.call("GET", "/v1/tokens", ""), 200); len(list.Items) != 1 {
		t.Errorf("tokens: %+v", list)
	}
}

// What was made before its answer was lost is not made again.
func TestAnAnswerThatWasLost(t *testing.T) {
	o := open(t)
	l := plans(t, o)
	if err := o.config.Database.Transact(t.Context(), "losing answers", func(tx *database.Tx) error {
		_, err := tx.Exec(t.Context(), `CREATE TRIGGER lost BEFORE UPDATE OF answer ON idempotency BEGIN SELECT RAISE(ABORT, 'lost'); END`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	const at = "/v1/subscriptions"
	for _, tc := range []struct{ name, path, body string }{
		{"object", "/v1/groups", `{"name": "A"}`},
		{"operation", "/v1/apis/Demo/operations?take_over=true", `{"name": "A", "method": "GET", "template": "/a"}`},
		{"subscription", at, `{"name": "ada", "developer": "ada@example.org", "product": "Starter"}`},
		{"unnamed subscription", at, `{"developer": "ada@example.org", "api": "Demo"}`},
		{"token", "/v1/tokens", `{"name": "ci", "role": "reader"}`},
		{"keys", at + "/ada/keys/show-once", ``},
		{"key", at + "/ada/keys/secondary/regenerate", `{}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := l
			l.t = t
			if r := l.call("POST", tc.path, tc.body, "Idempotency-Key", tc.name); r.status >= 300 {
				t.Fatalf("%d %s", r.status, r.body)
			}
			audited := func() int64 { return read[admin.AuditReport](l.call("GET", "/v1/audit/verify", ""), 200).Rows }
			before := audited()
			l.call("POST", tc.path, tc.body, "Idempotency-Key", tc.name).problem(409, "idempotency_answer_lost", "")
			if after := audited(); after != before {
				t.Errorf("%d changes by the second call", after-before)
			}
		})
	}
	if !strings.Contains(o.log.String(), "keeping an answer") {
		t.Errorf("no answer was lost: %s", o.log)
	}
}
