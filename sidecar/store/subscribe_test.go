package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/audit"
	"github.com/tollgate/tollgate/sidecar/store"
)

func TestASubscriptionBeginsAsItsProductSays(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		clock := handAt(noon)
		s := stocked(t, opened(t, source(t), store.Options{Now: clock.Now}))
		end := noon.Add(time.Hour)
		ada := store.Developer{Email: "ada@example.org", Name: "Ada", Groups: []string{"Developers"}}
		none := map[string]string{}
		for i, tc := range []struct {
			ask  catalog.Subscription
			want store.Subscription
		}{
			{catalog.Subscription{Name: "a", Developer: ada.Email, Product: "Starter", ExpiresAt: &end, Attributes: map[string]string{"k": "v"}},
				store.Subscription{Name: "a", Scope: store.Scope{Kind: store.ScopeProduct, Name: "Starter"}, State: wire.StateActive, Expires: uint32(end.Unix()),
					Attributes: map[string]string{"k": "v"}}},
			{catalog.Subscription{Name: "b", Developer: ada.Email, Product: "Unlimited"},
				store.Subscription{Name: "b", Scope: store.Scope{Kind: store.ScopeProduct, Name: "Unlimited"}, State: wire.StateSubmitted, Attributes: none}},
			{catalog.Subscription{Name: "c", Developer: ada.Email, API: "Demo", State: "active"},
				store.Subscription{Name: "c", Scope: store.Scope{Kind: store.ScopeAPI, Name: "Demo"}, State: wire.StateActive, Attributes: none}},
			{catalog.Subscription{Developer: ada.Email, AllAPIs: true},
				store.Subscription{Name: "ada-all-apis", Scope: store.Scope{Kind: store.ScopeAllAPIs}, State: wire.StateActive, Attributes: none}},
		} {
			want := tc.want
			want.ID, want.Revision, want.Developer, want.Started, want.Updated = uint32(i+1), 1, ada, noon, noon
			got, err := s.CreateSubscription(t.Context(), tc.ask, someone)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%s (-want +got): %v\n%s", want.Name, err, diff)
			}
			if diff := cmp.Diff(want, found(t, s, want.Name)); diff != "" {
				t.Errorf("%s, read (-want +got):\n%s", want.Name, diff)
			}
		}
	})
}

func TestWrongSubscriptionsAreNotMade(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		clock := handAt(noon)
		s, db := withAudit(t, source(t), store.Options{Now: clock.Now})
		stocked(t, s)
		subscribe(t, s, wants("taken", "Unlimited"))
		subscribe(t, s, wants("Überzug", "Unlimited"))
		at := func(d time.Duration) *time.Time { t := noon.Add(d); return &t }
		for name, tc := range map[string]struct {
			change func(*catalog.Subscription)
			want   string // the field of the only mistake, or the code of a *StateError
		}{
			"no developer":      {func(d *catalog.Subscription) { d.Developer = "" }, "developer"},
			"unknown developer": {func(d *catalog.Subscription) { d.Developer = "eve@example.org" }, "developer"},
			"unknown product":   {func(d *catalog.Subscription) { d.Product = "Stater" }, "product"},
			"unknown API":       {func(d *catalog.Subscription) { d.Product, d.API = "", "Dem" }, "api"},
			"product for API":   {func(d *catalog.Subscription) { d.Product, d.API = "", "Unlimited" }, "api"},
			"no scope":          {func(d *catalog.Subscription) { d.Product = "" }, "product"},
			"two scopes":        {func(d *catalog.Subscription) { d.API = "Demo" }, "product"},
			"all and one":       {func(d *catalog.Subscription) { d.AllAPIs = true }, "product"},
			"looks like one":    {func(d *catalog.Subscription) { d.Name = "tаken" }, "name"}, // Cyrillic а
			"decomposed":        {func(d *catalog.Subscription) { d.Name = "U\u0308berzug" }, "name"},
			"bidirectional":     {func(d *catalog.Subscription) { d.Name = "a\u202eb" }, "name"},
			"blank name":        {func(d *catalog.Subscription) { d.Name = " a" }, "name"},
			"long name":         {func(d *catalog.Subscription) { d.Name = strings.Repeat("a", 129) }, "name"},
			"control":           {func(d *catalog.Subscription) { d.Name = "a\x7f" }, "name"},
			"zero byte":         {func(d *catalog.Subscription) { d.Name = "a\x00" }, "name"},
			"line break":        {func(d *catalog.Subscription) { d.Name = "a\u2028b" }, "name"},
			"state":             {func(d *catalog.Subscription) { d.State = "active" }, "state"},
			"no state":          {func(d *catalog.Subscription) { d.State = "paused" }, "state"},
			"now":               {func(d *catalog.Subscription) { d.ExpiresAt = at(0) }, "expires_at"},
			"past":              {func(d *catalog.Subscription) { d.ExpiresAt = at(-time.Hour) }, "expires_at"},
			"far":               {func(d *catalog.Subscription) { d.ExpiresAt = at(100 * 365 * 24 * time.Hour) }, "expires_at"},
			"fraction":          {func(d *catalog.Subscription) { d.ExpiresAt = at(time.Hour + 1) }, "expires_at"},
			"attribute":         {func(d *catalog.Subscription) { d.Attributes = map[string]string{"k": strings.Repeat("v", 1025)} }, "attributes.k"},
			"key":               {func(d *catalog.Subscription) { d.PrimaryKey = env("A1") }, "primary_key"},
			"second key":        {func(d *catalog.Subscription) { d.SecondaryKey = &catalog.Secret{SHA256: strings.Repeat("ab", 32)} }, "secondary_key"},
			"not published":     {func(d *catalog.Subscription) { d.Product = "Hidden" }, "not_published"},
		} {
			d := wants("new", "Unlimited")
			tc.change(&d)
			_, err := s.CreateSubscription(t.Context(), d, someone)
			if code(err) != tc.want && field(err) != tc.want {
				t.Errorf("%s: %v, want %s", name, err, tc.want)
			}
		}
		if _, err := s.CreateSubscription(t.Context(), wants("taken", "Unlimited"), someone); !errors.Is(err, store.ErrExists) {
			t.Errorf("a name that is taken: %v", err)
		}
		_, err := s.CreateSubscription(t.Context(), catalog.Subscription{Name: " ", Developer: "x", Product: "y", ExpiresAt: at(time.Hour + 1)}, someone)
		var wrong *store.InvalidError
		if !errors.As(err, &wrong) || len(wrong.Mistakes) != 4 {
			t.Errorf("several mistakes: %v", err)
		}
		if n := len(audited(t, db, audit.Query{Kind: "subscription"})); n != 2 {
			t.Errorf("%d audited, want 2", n)
		}
		if subs, err := s.ListSubscriptions(t.Context(), store.SubscriptionQuery{}); err != nil || len(subs) != 2 {
			t.Errorf("%d subscriptions, %v, want 2", len(subs), err)
		}
	})
}

func TestANameIsMadeWhereNoneIsGiven(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := stocked(t, fresh(t, source))
		for _, spec := range []string{`{"name":"Größe & Mehr  2","apis":["Demo"]}`, `{"name":"Стартер","apis":[]}`, `{"name":"??","apis":[]}`,
			`{"name":"` + strings.Repeat("ab", 64) + `","apis":[]}`} {
			if _, err := s.Create(t.Context(), store.KindProduct, []byte(strings.ReplaceAll(spec, "  ", " ")), someone); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Create(t.Context(), store.KindDeveloper, []byte(`{"email":"--@example.org"}`), someone); err != nil {
			t.Fatal(err)
		}
		subscribe(t, s, wants("ada-unlimited-2", "Unlimited"))
		for _, step := range []struct{ developer, product, api, want string }{
			{"ada@example.org", "Unlimited", "", "ada-unlimited"},
			{"ada@example.org", "Unlimited", "", "ada-unlimited-3"},
			{"ada@example.org", "", "Demo", "ada-demo"},
			{"bob.b+x@example.org", "Unlimited", "", "bob.b-x-unlimited"},
			{"ada@example.org", "Größe & Mehr 2", "", "ada-größe-mehr-2"},
			{"ada@example.org", "Стартер", "", "ada-стартер"},
			{"ada@example.org", "??", "", "ada"},
			{"--@example.org", "??", "", "subscription"},
			{"--@example.org", "??", "", "subscription-2"},
			{"ada@example.org", strings.Repeat("ab", 64), "", "ada-" + strings.Repeat("ab", 48)},
		} {
			got, err := s.CreateSubscription(t.Context(), catalog.Subscription{Developer: step.developer, Product: step.product, API: step.api}, someone)
			if err != nil || got.Name != step.want {
				t.Errorf("%s, %s%s: %q, %v, want %q", step.developer, step.product, step.api, got.Name, err, step.want)
			}
		}
		for i := range 30 { // whatever the number
			if got, err := s.CreateSubscription(t.Context(), wants("", "Unlimited"), someone); err != nil {
				t.Fatal(err)
			} else if i == 29 && got.Name != fmt.Sprintf("ada-unlimited-%d", got.ID) {
				t.Errorf("the last one is %s, with id %d", got.Name, got.ID)
			}
		}
	})
}

func TestTheLimitOfAProductCounts(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := stocked(t, fresh(t, source))
		if _, err := s.Create(t.Context(), store.KindProduct, []byte(`{"name":"Two","apis":["Demo"],"subscriptions_limit":2,"approval_required":true}`), someone); err != nil {
			t.Fatal(err)
		}
		full := func(want bool) {
			t.Helper()
			_, err := s.CreateSubscription(t.Context(), wants("probe", "Two"), someone)
			if want && code(err) != "subscriptions_limit" || !want && err != nil {
				t.Errorf("one more: %v, want refused: %v", err, want)
			}
			if err == nil {
				if err := s.DeleteSubscription(t.Context(), "probe", someone); err != nil {
					t.Fatal(err)
				}
			}
		}
		subscribe(t, s, wants("a", "Two"))
		full(false)
		subscribe(t, s, wants("b", "Two"))
		full(true) // two are submitted
		act(t, s, "a", store.Approve)
		full(true)
		act(t, s, "a", store.Suspend)
		full(true)
		act(t, s, "a", store.Resume)
		full(true)
		if sub := subscribe(t, s, catalog.Subscription{Developer: "bob.b+x@example.org", Product: "Two"}); sub.State != wire.StateSubmitted {
			t.Error("another developer's is not submitted")
		}
		act(t, s, "b", store.Reject)
		full(false)
		subscribe(t, s, wants("c", "Two"))
		full(true)
		act(t, s, "a", store.Cancel)
		full(false)
	})
}

func TestSubscriptionsAreListed(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		clock := handAt(noon)
		s := stocked(t, opened(t, source(t), store.Options{Now: clock.Now}))
		end := noon.Add(time.Minute)
		ending := wants("ending", "Unlimited")
		ending.ExpiresAt = &end
		for _, d := range []catalog.Subscription{wants("starter", "Starter"), wants("submitted", "Unlimited"), wants("active", "Unlimited"), wants("rejected", "Unlimited"),
			wants("suspended", "Unlimited"), wants("cancelled", "Unlimited"), wants("gone", "Unlimited"), ending,
			{Name: "api", Developer: "bob.b+x@example.org", API: "Demo"}, {Name: "all", Developer: "bob.b+x@example.org", AllAPIs: true}} {
			subscribe(t, s, d)
		}
		act(t, s, "active", store.Approve)
		act(t, s, "rejected", store.Reject)
		act(t, s, "suspended", store.Approve, store.Suspend)
		act(t, s, "cancelled", store.Cancel)
		act(t, s, "ending", store.Approve)
		if err := s.DeleteSubscription(t.Context(), "gone", someone); err != nil {
			t.Fatal(err)
		}
		for name, tc := range map[string]struct {
			q     store.SubscriptionQuery
			want  string
			later string // when ending has expired; empty: the same
		}{
			"all":       {store.SubscriptionQuery{}, "active all api cancelled ending rejected starter submitted suspended", ""},
			"page":      {store.SubscriptionQuery{After: "api", Limit: 3}, "cancelled ending rejected", ""},
			"last page": {store.SubscriptionQuery{After: "submitted", Limit: 3}, "suspended", ""},
			"beyond":    {store.SubscriptionQuery{After: "suspended"}, "", ""},
			"developer": {store.SubscriptionQuery{Developer: "bob.b+x@example.org"}, "all api", ""},
			"nobody":    {store.SubscriptionQuery{Developer: "bob\x00\xff"}, "", ""},
			"product":   {store.SubscriptionQuery{Product: "Starter"}, "starter", ""},
			"API":       {store.SubscriptionQuery{API: "Demo"}, "api", ""},
			"both":      {store.SubscriptionQuery{Product: "Demo", API: "Demo"}, "", ""},
			"submitted": {store.SubscriptionQuery{State: "submitted"}, "submitted", ""},
			"active":    {store.SubscriptionQuery{State: "active"}, "active all api ending starter", "active all api starter"},
			"of Ada":    {store.SubscriptionQuery{State: "active", Developer: "ada@example.org", Limit: 2}, "active ending", "active starter"},
			"suspended": {store.SubscriptionQuery{State: "suspended"}, "suspended", ""},
			"rejected":  {store.SubscriptionQuery{State: "rejected"}, "rejected", ""},
			"cancelled": {store.SubscriptionQuery{State: "cancelled", Product: "Unlimited"}, "cancelled", ""},
			"expired":   {store.SubscriptionQuery{State: "expired"}, "", "ending"},
		} {
			for _, late := range []bool{false, true} {
				want := tc.want
				clock.set(noon)
				if late {
					clock.set(end)
					if tc.later != "" {
						want = tc.later
					}
				}
				got, err := s.ListSubscriptions(t.Context(), tc.q)
				if err != nil {
					t.Fatal(err)
				}
				var names []string
				for _, sub := range got {
					names = append(names, sub.Name)
					if diff := cmp.Diff(found(t, s, sub.Name), sub); diff != "" {
						t.Errorf("%s: as found and as listed differ:\n%s", name, diff)
					}
				}
				if got := strings.Join(names, " "); got != want {
					t.Errorf("%s, late %v: %s, want %s", name, late, got, want)
				}
			}
		}
		if _, err := s.ListSubscriptions(t.Context(), store.SubscriptionQuery{State: "paused"}); field(err) != "state" {
			t.Errorf("unknown state: %v", err)
		}
	})
}

func TestSubscriptionsLimitUnderConcurrency(t *testing.T) {
	all := slices.Repeat(sidecars(t, 4, store.Options{}), 2)
	stocked(t, all[0])
	for i, limit := range []int{1, 3, 5} {
		product := fmt.Sprintf("P%d", i)
		if _, err := all[0].Create(t.Context(), store.KindProduct, fmt.Appendf(nil, `{"name":%q,"apis":["Demo"],"subscriptions_limit":%d}`, product, limit), someone); err != nil {
			t.Fatal(err)
		}
		var made, refused atomic.Int32
		together(all, func(_ int, s *store.Store) {
			switch _, err := s.CreateSubscription(t.Context(), wants("", product), someone); {
			case err == nil:
				made.Add(1)
			case code(err) == "subscriptions_limit":
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
		if int(made.Load()) != limit || int(made.Load()+refused.Load()) != len(all) {
			t.Errorf("limit %d: %d made, %d refused", limit, made.Load(), refused.Load())
		}
	}
}
