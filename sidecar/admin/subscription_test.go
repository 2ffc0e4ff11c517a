package admin_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tollgate/tollgate/internal/apikey"
	"github.com/tollgate/tollgate/sidecar/admin"
)

// plans are a product that needs approval, one that does not, and one that is not published.
func plans(t *testing.T, o *office) line {
	l := o.socket()
	l.t = t
	for _, spec := range []string{
		`{"name": "Starter", "apis": ["Demo"], "subscriptions_limit": 1}`,
		`{"name": "Unlimited", "apis": ["Demo"], "approval_required": true}`,
		`{"name": "Draft", "apis": ["Demo"], "published": false}`,
	} {
		l.call("POST", "/v1/products", spec).is(201)
	}
	l.call("POST", "/v1/developers", `{"email": "ada@example.org"}`).is(201)
	return l
}

func TestTheLifeOfASubscription(t *testing.T) {
	o := open(t)
	l := plans(t, o)
	made := l.call("POST", "/v1/subscriptions", `{"name": "ada/1", "developer": "ada@example.org", "product": "Unlimited", "attributes": {"team": "a"}}`)
	s := read[admin.Subscription](made, 201)
	want := admin.Subscription{Kind: "subscription", ID: 4, Name: "ada/1", State: "submitted", Revision: 1, Keys: []admin.Key{},
		Spec: admin.SubscriptionSpec{Name: "ada/1", Developer: "ada@example.org", Product: "Unlimited", State: "submitted", Attributes: map[string]string{"team": "a"}}}
	if diff := cmp.Diff(want, s, cmpopts.IgnoreFields(admin.Subscription{}, "Created", "Updated")); diff != "" || s.Created.IsZero() {
		t.Errorf("made (-want +got):\n%s", diff)
	}
	const at = "/v1/subscriptions/ada%2F1"
	if made.header.Get("Location") != at || made.header.Get("ETag") != `"1"` {
		t.Errorf("made: %v", made.header)
	}
	for _, path := range []string{at, "/v1/subscriptions/4"} {
		if diff := cmp.Diff(s, read[admin.Subscription](l.call("GET", path, ""), 200)); diff != "" {
			t.Errorf("%s (-made +read):\n%s", path, diff)
		}
	}
	l.call("GET", "/v1/subscriptions/ada1", "").problem(404, "not_found", `did you mean "ada/1"?`)

	// Each step, what it makes of the state, and what does not go any more.
	for i, step := range []struct{ act, note, state, not string }{
		{"approve", "", "active", "approve"},
		{"suspend", "unpaid", "suspended", "suspend"},
		{"resume", "", "active", "reject"},
		{"cancel", "moved away", "cancelled", "resume"},
	} {
		body := ""
		if step.note != "" {
			body = fmt.Sprintf(`{"note": %q}`, step.note)
		}
		r := l.call("POST", at+"/"+step.act, body, "If-Match", fmt.Sprintf(`"%d"`, i+1))
		if s := read[admin.Subscription](r, 200); s.State != step.state || s.Note != step.note || s.Revision != uint64(i+2) || r.header.Get("ETag") != fmt.Sprintf(`"%d"`, i+2) {
			t.Errorf("%s: %+v", step.act, s)
		}
		l.call("POST", at+"/"+step.not, "").problem(409, "state_conflict", step.state)
	}
	l.call("POST", at+"/cancel", "", "If-Match", `"1"`).problem(412, "moved", "")
	l.call("DELETE", at, "", "If-Match", `"1"`).problem(412, "moved", "")
	l.call("DELETE", at, "", "If-Match", `"5"`).is(204)
	l.call("DELETE", at, "").problem(404, "not_found", "")
	l.call("POST", at+"/approve", "").problem(404, "not_found", "")
}

func TestChangesOfASubscription(t *testing.T) {
	o := open(t)
	l := plans(t, o)
	l.call("POST", "/v1/subscriptions", `{"name": "ada", "developer": "ada@example.org", "product": "Starter", "attributes": {"team": "a"}}`).is(201)
	const at = "/v1/subscriptions/ada"
	later := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	s := read[admin.Subscription](l.call("PATCH", at, `{"expires_at": "`+later.Format(time.RFC3339)+`"}`), 200)
	if s.Spec.ExpiresAt == nil || !s.Spec.ExpiresAt.Equal(later) || s.Spec.Attributes["team"] != "a" || s.State != "active" {
		t.Errorf("with an expiry: %+v", s.Spec)
	}
	if s = read[admin.Subscription](l.call("PATCH", at, `{"no_expiry": true, "attributes": {}}`), 200); s.Spec.ExpiresAt != nil || len(s.Spec.Attributes) != 0 {
		t.Errorf("without both: %+v", s.Spec)
	}
	l.call("PATCH", at, `{"no_expiry": true, "expires_at": "`+later.Format(time.RFC3339)+`"}`).field("no_expiry", "together")
	l.call("PATCH", at, `{"expires_at": "2001-01-01T00:00:00Z"}`).field("expires_at", "future")
	l.call("PATCH", at, `{"expires_at": "tomorrow"}`).field("expires_at", "must be a time")
	l.call("PATCH", at, `{"state": "active"}`).field("state", "no such field")
	l.call("PATCH", at, `{"attributes": {"a": 1}}`).field("attributes.a", "must be text")
	l.call("PATCH", at, `{"no_expiry": true}`, "If-Match", `"1"`).problem(412, "moved", "")
	l.call("PATCH", "/v1/subscriptions/alice", `{"attributes": {"a": "b"}}`).problem(409, "managed_elsewhere", "people.yaml")
	if s = read[admin.Subscription](l.call("PATCH", "/v1/subscriptions/alice?take_over=true", `{"attributes": {"a": "b"}}`), 200); s.Source != "" {
		t.Errorf("taken over: %+v", s)
	}
}

func TestSubscriptionsThatCannotBe(t *testing.T) {
	o := open(t)
	l := plans(t, o)
	const some = `"developer": "ada@example.org", "product": "Starter"`
	l.call("POST", "/v1/subscriptions", `{"name": "ada", `+some+`}`).is(201)
	l.call("POST", "/v1/subscriptions", `{"name": "ada2", `+some+`}`).problem(409, "subscriptions_limit", "")
	l.call("POST", "/v1/subscriptions", `{"name": "ada", "developer": "ada@example.org", "api": "Demo"}`).problem(409, "exists", `"ada" already`)
	l.call("POST", "/v1/subscriptions", `{"name": "x", "developer": "ada@example.org", "product": "Draft"}`).problem(409, "not_published", "")
	for name, tc := range map[string]struct{ body, field, message string }{
		"a state":         {`{"name": "x", ` + some + `, "state": "active"}`, "state", "no such field"},
		"a key":           {`{"name": "x", ` + some + `, "primary_key": {"env": "HOME"}}`, "primary_key", "no such field"},
		"two scopes":      {`{"name": "x", ` + some + `, "api": "Demo"}`, "product", ""},
		"no scope":        {`{"name": "x", "developer": "ada@example.org"}`, "product", ""},
		"no developer":    {`{"name": "x", "product": "Starter"}`, "", "developer"},
		"nobody":          {`{"name": "x", "developer": "ida@example.org", "product": "Starter"}`, "developer", ""},
		"no such product": {`{"name": "x", "developer": "ada@example.org", "product": "Startr"}`, "product", ""},
		"a wrong type":    {`{"name": "x", "developer": "ada@example.org", "all_apis": "yes"}`, "all_apis", "true or false"},
		"invisible":       {`{"name": "a\u200bda", ` + some + `}`, "name", ""},
		"the past":        {`{"name": "x", ` + some + `, "expires_at": "2001-01-01T00:00:00Z"}`, "expires_at", "future"},
	} {
		t.Run(name, func(t *testing.T) {
			l := l
			l.t = t
			l.call("POST", "/v1/subscriptions", tc.body).field(tc.field, tc.message)
		})
	}
}

func TestSubscriptionsAreFound(t *testing.T) {
	o := open(t)
	l := plans(t, o)
	l.call("POST", "/v1/subscriptions", `{"name": "ada", "developer": "ada@example.org", "product": "Starter"}`).is(201)
	l.call("POST", "/v1/subscriptions", `{"name": "ada-later", "developer": "ada@example.org", "product": "Unlimited"}`).is(201)
	for query, want := range map[string][]string{
		"":                              {"ada", "ada-later", "alice", "alina", "bob"},
		"?developer=ada@example.org":    {"ada", "ada-later"},
		"?product=Starter":              {"ada"},
		"?api=Demo":                     {"alice", "alina", "bob"},
		"?state=submitted":              {"ada-later"},
		"?state=expired":                nil,
		"?after=alina":                  {"bob"},
		"?developer=nobody":             nil,
		"?product=Starter&state=active": {"ada"},
	} {
		var got []string
		for _, s := range read[admin.List[admin.Subscription]](l.call("GET", "/v1/subscriptions"+query, ""), 200).Items {
			got = append(got, s.Name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", query, diff)
		}
	}
	if page := read[admin.List[admin.Subscription]](l.call("GET", "/v1/subscriptions?limit=2", ""), 200); len(page.Items) != 2 || page.Next != "ada-later" {
		t.Errorf("a page of two: %+v", page)
	}
	l.call("GET", "/v1/subscriptions?state=closed", "").problem(422, "invalid", "query.state")
}

func TestKeys(t *testing.T) {
	o := open(t)
	l := plans(t, o)
	l.call("POST", "/v1/subscriptions", `{"name": "ada", "developer": "ada@example.org", "product": "Starter"}`).is(201)
	const at = "/v1/subscriptions/ada"
	issued := read[admin.Issued](l.call("POST", at+"/keys/show-once", ""), 200)
	if !apikey.WellFormed(issued.Primary) || !apikey.WellFormed(issued.Secondary) || issued.Primary == issued.Secondary {
		t.Errorf("issued %+v", issued)
	}
	l.call("POST", at+"/keys/show-once", "").problem(409, "keys_shown", "")

	second := read[admin.IssuedKey](l.call("POST", at+"/keys/secondary/regenerate", `{"grace": "24h"}`), 200)
	if second.Slot != "secondary" || !apikey.WellFormed(second.Key) || second.Key == issued.Secondary {
		t.Errorf("regenerated %+v", second)
	}
	s := read[admin.Subscription](l.call("GET", at, ""), 200)
	var slots []string
	for _, k := range s.Keys {
		what := k.Slot
		if k.Expires != nil {
			if left := time.Until(*k.Expires); left < 23*time.Hour || left > 25*time.Hour {
				t.Errorf("the old key has %v", left)
			}
			what += " retiring"
		}
		slots = append(slots, what)
	}
	if diff := cmp.Diff([]string{"primary", "secondary", "secondary retiring"}, slots); diff != "" || !s.KeysShown {
		t.Errorf("keys (-want +got), shown %v:\n%s", s.KeysShown, diff)
	}
	const own = "my-own-key-of-more-than-32-characters"
	if k := read[admin.IssuedKey](l.call("POST", at+"/keys/primary/regenerate", `{"value": "`+own+`"}`), 200); k.Key != own {
		t.Errorf("my own key: %+v", k)
	}
	const short = "a-short-secret"
	l.call("POST", at+"/keys/primary/regenerate", `{"value": "`+short+`"}`).field("value", "32")
	if r := l.call("POST", at+"/keys/primary/regenerate", `{"value": ["`+own+`"]}`); strings.Contains(string(r.body), own) {
		t.Errorf("a secret is given back: %s", r.body)
	} else {
		r.field("value", "must be text")
	}
	l.call("POST", at+"/keys/primary/regenerate", `{"grace": "soon"}`).field("grace", "duration")
	l.call("POST", at+"/keys/primary/regenerate", `{"grace": "-1h"}`).field("grace", "duration")
	l.call("POST", at+"/keys/primary/regenerate", `{"grace": "10000h"}`).field("grace", "720")
	l.call("POST", at+"/keys/primary/regenerate", `{}`, "If-Match", `"1"`).problem(412, "moved", "")
	l.call("POST", at+"/keys/tertiary/regenerate", "").problem(404, "path_unknown", "")
	l.call("DELETE", at+"/keys/show-once", "").problem(405, "method_unknown", "this path is for POST")
	l.call("POST", "/v1/subscriptions/ade/keys/primary/regenerate", "").problem(404, "not_found", "ada")
	l.call("DELETE", at+"/keys/secondary", "").is(204)
	l.call("DELETE", at+"/keys/secondary", "").problem(404, "not_found", "")
	if s := read[admin.Subscription](l.call("GET", at, ""), 200); len(s.Keys) != 1 || s.Keys[0].Slot != "primary" {
		t.Errorf("after revoking: %+v", s.Keys)
	}

	// Of none of them is anything in the log, the audit, or what can be read.
	everywhere := o.log.String() + string(l.call("GET", "/v1/audit?limit=1000", "").body) + string(l.call("GET", "/v1/subscriptions", "").body) +
		string(l.call("GET", "/v1/catalog", "").body)
	for _, secret := range []string{issued.Primary, issued.Secondary, second.Key, own, short} {
		if strings.Contains(everywhere, secret) {
			t.Errorf("the key %s... is shown again", secret[:10])
		}
	}
}
