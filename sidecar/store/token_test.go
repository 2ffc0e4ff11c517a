package store_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/apikey"
	"github.com/tollgate/tollgate/sidecar/audit"
	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/store"
)

func token(t *testing.T, s *store.Store, n store.NewToken) string {
	t.Helper()
	_, clear, err := s.CreateToken(t.Context(), n, someone)
	if err != nil {
		t.Fatal(err)
	}
	return clear
}

func TestATokenWorksUntilItExpiresOrIsRevoked(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		clock := handAt(noon)
		s, db := withAudit(t, source(t), store.Options{Now: clock.Now})
		made, ci, err := s.CreateToken(t.Context(), store.NewToken{Name: "ci", Role: store.RolePublisher, Expires: noon.Add(time.Hour + 999*time.Millisecond)}, someone)
		if err != nil {
			t.Fatal(err)
		}
		want := store.Token{Name: "ci", Role: store.RolePublisher, Created: noon, Expires: noon.Add(time.Hour)}
		if diff := cmp.Diff(want, made); diff != "" {
			t.Errorf("token (-want +got):\n%s", diff)
		}
		if !apikey.TokenWellFormed(ci) {
			t.Errorf("%q is not well formed", ci)
		}
		eve := token(t, s, store.NewToken{Name: "eve@example.org", Role: store.RoleReader})
		works := func(clear, name string) {
			t.Helper()
			got, err := s.Authenticate(t.Context(), clear)
			if err != nil || got.Name != name {
				t.Errorf("authenticating %s: %v, %v", name, got, err)
			}
		}
		refused := func(clear string) {
			t.Helper()
			if got, err := s.Authenticate(t.Context(), clear); !errors.Is(err, store.ErrNotFound) || err.Error() != store.ErrNotFound.Error() || got != (store.Token{}) {
				t.Errorf("authenticating: %v, %v, want the bare ErrNotFound", got, err)
			}
		}
		works(ci, "ci")
		works(eve, "eve@example.org")
		for _, clear := range []string{"", "x", ci[:len(ci)-1], ci + "0", strings.ToLower(ci), apikey.NewToken(make([]byte, 32)), apikey.New(make([]byte, 32))} {
			refused(clear)
		}
		clock.pass(time.Hour - time.Millisecond)
		works(ci, "ci")
		clock.pass(time.Millisecond)
		refused(ci)
		if err := s.RevokeToken(t.Context(), "eve@example.org", someone); err != nil {
			t.Fatal(err)
		}
		refused(eve)
		if err := s.RevokeToken(t.Context(), "eve@example.org", someone); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("revoking twice: %v", err)
		}
		eveSpec := `{"name":"eve@example.org","role":"reader"}`
		wantAudit := []audit.Entry{
			{Time: noon, Actor: someone.Actor, Origin: "socket", Action: "token.create", Kind: "token", Name: "ci",
				After: `{"name":"ci","role":"publisher","expires_at":"2026-11-24T13:00:00Z"}`},
			{Time: noon, Actor: someone.Actor, Origin: "socket", Action: "token.create", Kind: "token", Name: "eve@example.org", After: eveSpec},
			{Time: noon.Add(time.Hour), Actor: someone.Actor, Origin: "socket", Action: "token.revoke", Kind: "token", Name: "eve@example.org", Before: eveSpec},
		}
		if diff := cmp.Diff(wantAudit, audited(t, db, audit.Query{})); diff != "" {
			t.Errorf("audit (-want +got):\n%s", diff)
		}
	})
}

func TestTokensNamesAreUniqueWhileTheyWork(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		clock := handAt(noon)
		s := opened(t, source(t), store.Options{Now: clock.Now})
		first := token(t, s, store.NewToken{Name: "ci", Role: store.RoleReader, Expires: noon.Add(time.Hour)})
		if _, clear, err := s.CreateToken(t.Context(), store.NewToken{Name: "ci", Role: store.RoleAuditor}, someone); !errors.Is(err, store.ErrExists) || clear != "" {
			t.Errorf("a second one of the name: %v", err)
		}
		if _, err := s.Authenticate(t.Context(), first); err != nil {
			t.Errorf("the first one: %v", err)
		}
		clock.pass(2 * time.Hour)
		if tokens, err := s.Tokens(t.Context()); err != nil || len(tokens) != 1 { // people see that it expired
			t.Errorf("tokens: %v, %v", tokens, err)
		}
		second := token(t, s, store.NewToken{Name: "ci", Role: store.RoleAuditor})
		third := token(t, s, store.NewToken{Name: "B", Role: store.RoleReader})
		for _, clear := range []string{second, third} {
			if _, err := s.Authenticate(t.Context(), clear); err != nil {
				t.Error(err)
			}
		}
		tokens, err := s.Tokens(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		now := clock.Now()
		want := []store.Token{{Name: "B", Role: store.RoleReader, Created: now, Used: now}, {Name: "ci", Role: store.RoleAuditor, Created: now, Used: now}}
		if diff := cmp.Diff(want, tokens); diff != "" {
			t.Errorf("tokens (-want +got):\n%s", diff)
		}
	})
}

func TestWrongTokensAreNotMade(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		clock := handAt(noon)
		s, db := withAudit(t, source(t), store.Options{Now: clock.Now})
		good := store.NewToken{Name: "ci", Role: store.RoleReader}
		for name, tc := range map[string]struct {
			change func(*store.NewToken)
			field  string
		}{
			"no name":      {func(n *store.NewToken) { n.Name = "" }, "name"},
			"a blank":      {func(n *store.NewToken) { n.Name = "c i" }, "name"},
			"a slash":      {func(n *store.NewToken) { n.Name = "c/i" }, "name"},
			"dots first":   {func(n *store.NewToken) { n.Name = ".." }, "name"},
			"look-alike":   {func(n *store.NewToken) { n.Name = "сi" }, "name"}, // Cyrillic
			"a line break": {func(n *store.NewToken) { n.Name = "ci\n" }, "name"},
			"long":         {func(n *store.NewToken) { n.Name = strings.Repeat("c", 65) }, "name"},
			"no role":      {func(n *store.NewToken) { n.Role = "" }, "role"},
			"another role": {func(n *store.NewToken) { n.Role = "Administrator" }, "role"},
			"now":          {func(n *store.NewToken) { n.Expires = noon.Add(999 * time.Millisecond) }, "expires_at"},
			"before":       {func(n *store.NewToken) { n.Expires = noon.Add(-time.Hour) }, "expires_at"},
			"after 2106":   {func(n *store.NewToken) { n.Expires = time.Unix(1<<32, 0) }, "expires_at"},
		} {
			n := good
			tc.change(&n)
			_, clear, err := s.CreateToken(t.Context(), n, someone)
			var wrong *store.InvalidError
			if !errors.As(err, &wrong) || len(wrong.Mistakes) != 1 || wrong.Mistakes[0].Field != tc.field || clear != "" {
				t.Errorf("%s: %v, want a mistake in %s", name, err, tc.field)
			}
		}
		if entries := audited(t, db, audit.Query{}); len(entries) != 0 {
			t.Errorf("audited: %v", entries)
		}
		for _, name := range []string{"a", "9", strings.Repeat("c", 64), "a.b_c@d-e"} {
			token(t, s, store.NewToken{Name: name, Role: store.RoleReader, Expires: noon.Add(time.Second)})
		}
	})
}

func TestUsedIsWrittenOnceAMinute(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		clock := handAt(noon)
		s := opened(t, source(t), store.Options{Now: clock.Now})
		clear := token(t, s, store.NewToken{Name: "ci", Role: store.RoleReader})
		for _, step := range []struct {
			pass time.Duration
			used time.Time // as kept
		}{
			{0, noon}, {30 * time.Second, noon}, {29*time.Second + 999*time.Millisecond, noon}, {time.Millisecond, noon.Add(time.Minute)},
			{time.Hour, noon.Add(time.Hour + time.Minute)}, {-30 * time.Minute, noon.Add(time.Hour + time.Minute)},
		} {
			clock.pass(step.pass)
			got, err := s.Authenticate(t.Context(), clear)
			if err != nil {
				t.Fatal(err)
			}
			tokens, err := s.Tokens(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !tokens[0].Used.Equal(step.used) || !got.Used.Equal(step.used) {
				t.Errorf("%v: used %v, kept %v, want %v", clock.Now(), got.Used, tokens[0].Used, step.used)
			}
		}
	})
}

// A database that does not take writes lets tokens work.
func TestTokensWorkWhileNothingCanBeWritten(t *testing.T) {
	at := filepath.Join(t.TempDir(), "s.db")
	s, end := connect(t, at, store.Options{})
	clear := token(t, s, store.NewToken{Name: "ci", Role: store.RoleReader})
	end()
	db, err := database.Open(t.Context(), database.Config{Source: at, Busy: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if s, err = store.Open(t.Context(), db, store.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := db.Transact(t.Context(), "keeping others from writing", func(*database.Tx) error {
		if got, err := s.Authenticate(t.Context(), clear); err != nil || got.Name != "ci" {
			t.Errorf("authenticating: %v, %v", got, err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestTheFirstTokenIsMadeOnce(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		clock := handAt(noon)
		s, db := withAudit(t, source(t), store.Options{Now: clock.Now})
		clear, made, err := s.FirstToken(t.Context())
		if err != nil || !made {
			t.Fatalf("first: %v, %v", made, err)
		}
		got, err := s.Authenticate(t.Context(), clear)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(store.Token{Name: store.FirstTokenName, Role: store.RoleAdministrator, Created: noon, Used: noon}, got); diff != "" {
			t.Errorf("token (-want +got):\n%s", diff)
		}
		want := []audit.Entry{{Time: noon, Actor: "tollgate", Origin: "start", Action: "token.create", Kind: "token", Name: "first", After: `{"name":"first","role":"administrator"}`}}
		if diff := cmp.Diff(want, audited(t, db, audit.Query{})); diff != "" {
			t.Errorf("audit (-want +got):\n%s", diff)
		}
		again := func(when string) {
			t.Helper()
			if clear, made, err := s.FirstToken(t.Context()); err != nil || made || clear != "" {
				t.Errorf("%s: made %v, %v", when, made, err)
			}
		}
		again("again")
		if err := s.RevokeToken(t.Context(), store.FirstTokenName, someone); err != nil {
			t.Fatal(err)
		}
		again("revoked")
	})
}

func TestSidecarsThatStartTogetherMakeOneFirstToken(t *testing.T) {
	all := several(t, 4)
	clear := make([]string, len(all))
	together(all, func(i int, s *store.Store) {
		var err error
		if clear[i], _, err = s.FirstToken(t.Context()); err != nil {
			t.Error(err)
		}
	})
	made := slices.DeleteFunc(clear, func(c string) bool { return c == "" })
	if len(made) != 1 {
		t.Fatalf("%d first tokens", len(made))
	}
	for _, s := range all {
		if _, err := s.Authenticate(t.Context(), made[0]); err != nil {
			t.Error(err)
		}
	}
}

func TestOfTokensOfOneNameOneIsMade(t *testing.T) {
	all := several(t, 4)
	clear := make([]string, len(all))
	together(all, func(i int, s *store.Store) {
		var err error
		if _, clear[i], err = s.CreateToken(t.Context(), store.NewToken{Name: "ci", Role: store.RoleReader}, someone); err != nil && !errors.Is(err, store.ErrExists) {
			t.Error(err)
		}
	})
	if made := slices.DeleteFunc(clear, func(c string) bool { return c == "" }); len(made) != 1 {
		t.Errorf("%d tokens of one name", len(made))
	}
}

func TestNoTokenInAnyFile(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		at := source(t)
		s := opened(t, at, store.Options{})
		first, _, err := s.FirstToken(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		clear := []string{first, token(t, s, store.NewToken{Name: "ci", Role: store.RoleReader})}
		for _, c := range clear {
			if _, err := s.Authenticate(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		held := content(t, at)
		for _, c := range clear {
			if bytes.Contains(held, []byte(c)) || bytes.Contains(held, []byte(c[4:34])) {
				t.Error("the database contains a token in clear")
			}
			if digest := apikey.Digest(c); !bytes.Contains(held, digest[:]) { // or this test looks at the wrong bytes
				t.Error("it does not contain the token's digest")
			}
		}
	})
}
