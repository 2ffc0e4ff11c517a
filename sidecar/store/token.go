package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/internal/apikey"
	"github.com/tollgate/tollgate/sidecar/database"
)

// Roles of tokens, and what they may do. The admin API says it path by path.
const (
	RoleAdministrator = "administrator" // everything
	RolePublisher     = "publisher"     // everything but tokens, backup and audit
	RoleAuditor       = "auditor"       // reads everything, the audit too
	RoleReader        = "reader"        // reads everything but audit and tokens
)

// Roles are all roles, the mightiest first.
var Roles = []string{RoleAdministrator, RolePublisher, RoleAuditor, RoleReader}

// FirstTokenName is the name of the token that FirstToken makes.
const FirstTokenName = "first"

// usedEvery is how much a token's Used may lie behind.
const usedEvery = time.Minute

// Token is a token of the admin API, as far as it is kept: the token itself is shown once,
// when it is made.
type Token struct {
	Name    string
	Role    string
	Created time.Time
	Expires time.Time // in whole seconds; zero: never
	Used    time.Time // when it last came, to the minute; zero: never
}

// NewToken says which token to make.
type NewToken struct {
	// Name is what the audit calls the token's holder: 1 to 64 letters, digits and any of
	// ._@- of ASCII, the first one a letter or digit.
	Name string
	Role string
	// Expires is cut to whole seconds; zero: never.
	Expires time.Time
}

var tokenName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)

// tokenSpec is a token as audited.
type tokenSpec struct {
	Name    string     `json:"name"`
	Role    string     `json:"role"`
	Expires *time.Time `json:"expires_at,omitempty"`
}

func (t *Token) spec() tokenSpec {
	s := tokenSpec{Name: t.Name, Role: t.Role}
	if !t.Expires.IsZero() {
		s.Expires = &t.Expires
	}
	return s
}

// CreateToken makes a token and returns it in clear, this once. ErrExists: one of that name
// works already. One that has expired makes room. An *InvalidError says what is wrong with n.
func (s *Store) CreateToken(ctx context.Context, n NewToken, w Write) (Token, string, error) {
	var t Token
	var clear string
	err := s.change(ctx, "creating a token", w, func(c *changing) (err error) {
		if err := n.check(c.now); err != nil {
			return err
		}
		t, clear, err = c.createToken(n)
		return err
	})
	if err != nil {
		return Token{}, "", err
	}
	return t, clear, nil
}

func (n *NewToken) check(now time.Time) error {
	var wrong mistakes
	if !tokenName.MatchString(n.Name) {
		wrong.add("name", "must be 1 to 64 letters, digits and any of . _ @ - without accents, and begin with a letter or digit")
	}
	if !slices.Contains(Roles, n.Role) {
		wrong.add("role", "must be %s or %s", strings.Join(Roles[:len(Roles)-1], ", "), Roles[len(Roles)-1])
	}
	if !n.Expires.IsZero() {
		wrong.future("expires_at", n.Expires, now)
	}
	return wrong.err()
}

// createToken writes a token that was checked.
func (c *changing) createToken(n NewToken) (Token, string, error) {
	old, err := c.token(n.Name)
	switch {
	case err == nil && old.live(c.now):
		return Token{}, "", fmt.Errorf("token %q: %w", n.Name, ErrExists)
	case err == nil:
		if err := c.revokeToken(old); err != nil {
			return Token{}, "", err
		}
	case !errors.Is(err, ErrNotFound):
		return Token{}, "", err
	}
	clear := apikey.NewToken(random())
	digest := apikey.Digest(clear)
	t := Token{Name: n.Name, Role: n.Role, Created: c.now}
	var expires int64
	if !n.Expires.IsZero() {
		expires = n.Expires.Unix()
		t.Expires = time.Unix(expires, 0).UTC()
	}
	if _, err := c.tx.Exec(c.ctx, `INSERT INTO token (name, role, digest, created, expires, revoked, used) VALUES (?, ?, ?, ?, ?, 0, 0)`,
		t.Name, t.Role, digest[:], t.Created.UnixMilli(), expires); err != nil {
		return Token{}, "", err
	}
	c.note("token.create", "token", t.Name, nil, t.spec())
	return t, clear, nil
}

// random is what a key or token is made of.
func random() []byte {
	b := make([]byte, apikey.RandomSize)
	rand.Read(b) // never fails: crypto/rand ends the process instead
	return b
}

// live says whether a token that was not revoked works at a time: until Expires, which is
// the first second without it.
func (t *Token) live(now time.Time) bool { return t.Expires.IsZero() || now.Before(t.Expires) }

const tokenColumns = `SELECT name, role, created, expires, used FROM token`

func scanToken(scan func(...any) error) (t Token, err error) {
	var created, expires, used int64
	if err := scan(&t.Name, &t.Role, &created, &expires, &used); err != nil {
		return Token{}, err
	}
	t.Created = time.UnixMilli(created).UTC()
	if expires != 0 {
		t.Expires = time.Unix(expires, 0).UTC()
	}
	if used != 0 {
		t.Used = time.UnixMilli(used).UTC()
	}
	return t, nil
}

// token is the one of that name that was not revoked.
func (c *changing) token(name string) (Token, error) {
	t, err := scanToken(c.tx.QueryRow(c.ctx, tokenColumns+` WHERE name = ? AND revoked = 0`, shown(name)).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return Token{}, fmt.Errorf("token %q: %w", name, ErrNotFound)
	}
	return t, err
}

func (c *changing) revokeToken(t Token) error {
	c.note("token.revoke", "token", t.Name, t.spec(), nil)
	_, err := c.tx.Exec(c.ctx, `UPDATE token SET revoked = ? WHERE name = ? AND revoked = 0`, max(c.now.UnixMilli(), 1), t.Name)
	return err
}

// Tokens lists the tokens that were not revoked, expired ones too, by name, byte by byte.
func (s *Store) Tokens(ctx context.Context) (tokens []Token, err error) {
	err = s.db.View(ctx, "listing tokens", func(tx *database.Tx) error {
		tokens = nil
		rows, err := tx.Query(ctx, tokenColumns+` WHERE revoked = 0`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			t, err := scanToken(rows.Scan)
			if err != nil {
				return err
			}
			tokens = append(tokens, t)
		}
		return rows.Err()
	})
	sortedBy(tokens, func(t Token) string { return t.Name })
	return tokens, err
}

// RevokeToken ends a token at once. ErrNotFound: there is none of that name.
func (s *Store) RevokeToken(ctx context.Context, name string, w Write) error {
	return s.change(ctx, "revoking a token", w, func(c *changing) error {
		t, err := c.token(name)
		if err != nil {
			return err
		}
		return c.revokeToken(t)
	})
}

// Authenticate returns the token that a caller holds. ErrNotFound says that it is none, in
// the same way whether it never was one, has expired or was revoked. Tokens are looked up by
// their digests: how long it takes says nothing about one that works.
func (s *Store) Authenticate(ctx context.Context, clear string) (Token, error) {
	if !apikey.TokenWellFormed(clear) { // and nobody was asked
		return Token{}, ErrNotFound
	}
	digest := apikey.Digest(clear)
	var t Token
	err := s.db.View(ctx, "authenticating", func(tx *database.Tx) (err error) {
		t, err = scanToken(tx.QueryRow(ctx, tokenColumns+` WHERE digest = ? AND revoked = 0`, digest[:]).Scan)
		return err
	})
	now := s.now().UTC().Truncate(time.Millisecond)
	switch {
	case errors.Is(err, sql.ErrNoRows), err == nil && !t.live(now):
		return Token{}, ErrNotFound
	case err != nil:
		return Token{}, err
	}
	if now.Sub(t.Used) >= usedEvery {
		t.Used = now
		s.tokenUsed(ctx, digest, now)
	}
	return t, nil
}

// tokenUsed notes that a token came. A database that cannot write now, a full one say, keeps
// nobody out: the next call notes it.
func (s *Store) tokenUsed(ctx context.Context, digest [32]byte, now time.Time) {
	_ = s.db.Transact(ctx, "noting that a token was used", func(tx *database.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE token SET used = ? WHERE digest = ? AND used < ?`, now.UnixMilli(), digest[:], now.UnixMilli())
		return err
	})
}

// FirstToken makes an administrator's token that does not expire, where there never was any
// token, and returns it in clear, this once: of several sidecars that start together one
// gets it. made is false where there was one, whatever became of it.
func (s *Store) FirstToken(ctx context.Context) (clear string, made bool, err error) {
	w := Write{Actor: "tollgate", Origin: "start"}
	err = s.change(ctx, "making the first token", w, func(c *changing) error {
		clear, made = "", false
		var one int
		switch err := c.tx.QueryRow(c.ctx, `SELECT 1 FROM token LIMIT 1`).Scan(&one); {
		case err == nil:
			return nil
		case !errors.Is(err, sql.ErrNoRows):
			return err
		}
		made = true
		_, clear, err = c.createToken(NewToken{Name: FirstTokenName, Role: RoleAdministrator})
		return err
	})
	if err != nil {
		return "", false, err
	}
	return clear, made, nil
}
