package store

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/tollgate/tollgate/internal/apikey"
	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/internal/wire"
)

// Secrets reads what a catalog points to. Its errors name the place, never the content.
type Secrets interface {
	Read(catalog.Secret) (string, error)
}

// declared turns a catalog's subscriptions into what the store holds of them, without ids
// and revisions. It reports every mistake, joined.
func declared(c *catalog.Catalog, secrets Secrets) ([]Subscription, error) {
	developers := map[string]Developer{}
	for _, d := range c.Developers {
		developers[d.Email] = Developer{Email: d.Email, Name: d.Name, Groups: orEmpty(d.Groups)}
	}
	var subs []Subscription
	var errs []error
	for _, cs := range c.Subscriptions {
		sub, err := declare(cs, developers, secrets)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		subs = append(subs, sub)
	}
	errs = append(errs, sharedKeys(subs)...)
	return subs, errors.Join(errs...)
}

func declare(cs catalog.Subscription, developers map[string]Developer, secrets Secrets) (Subscription, error) {
	failed := func(err error) (Subscription, error) {
		return Subscription{}, fmt.Errorf("subscription %q: %w", cs.Name, err)
	}
	sub := Subscription{Name: cs.Name, Scope: scopeOf(cs), Attributes: cs.Attributes, Expires: expires(cs.ExpiresAt)}
	if sub.Attributes == nil {
		sub.Attributes = map[string]string{}
	}
	var ok bool
	if sub.Developer, ok = developers[cs.Developer]; !ok {
		return failed(fmt.Errorf("unknown developer %q", cs.Developer))
	}
	if sub.State, ok = states[cs.State]; !ok {
		return failed(fmt.Errorf("unknown state %q", cs.State))
	}
	var errs []error
	for _, k := range []struct {
		field  string
		slot   wire.Slot
		secret *catalog.Secret
	}{{"primary_key", wire.SlotPrimary, cs.PrimaryKey}, {"secondary_key", wire.SlotSecondary, cs.SecondaryKey}} {
		if k.secret == nil {
			continue
		}
		digest, err := keyDigest(*k.secret, secrets)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", k.field, err))
			continue
		}
		sub.Keys = append(sub.Keys, Key{Slot: k.slot, Digest: digest})
	}
	if err := errors.Join(errs...); err != nil {
		return failed(err)
	}
	return sub, nil
}

var states = map[string]wire.State{
	"":          wire.StateActive,
	"submitted": wire.StateSubmitted,
	"active":    wire.StateActive,
	"suspended": wire.StateSuspended,
	"rejected":  wire.StateRejected,
	"cancelled": wire.StateCancelled,
	"expired":   wire.StateExpired,
}

// StateName is the catalog's word for a state; empty for an unknown one.
func StateName(s wire.State) string {
	for name, state := range states {
		if state == s && name != "" {
			return name
		}
	}
	return ""
}

func scopeOf(cs catalog.Subscription) Scope {
	switch {
	case cs.AllAPIs:
		return Scope{Kind: ScopeAllAPIs}
	case cs.API != "":
		return Scope{Kind: ScopeAPI, Name: cs.API}
	default:
		return Scope{Kind: ScopeProduct, Name: cs.Product}
	}
}

// expires cuts t to whole seconds, downwards, and to what a key table can carry: a date
// before 1970 has passed, and one after 2106 is taken for 2106.
func expires(t *time.Time) uint32 {
	if t == nil {
		return 0
	}
	return uint32(min(max(t.Unix(), 1), math.MaxUint32))
}

func keyDigest(s catalog.Secret, secrets Secrets) (digest [32]byte, err error) {
	if s.SHA256 != "" {
		b, err := hex.DecodeString(s.SHA256)
		if err != nil || len(b) != len(digest) {
			return digest, errors.New("sha256 is not 64 hexadecimal digits")
		}
		return [32]byte(b), nil
	}
	key, err := secrets.Read(s)
	if err != nil {
		return digest, err
	}
	if err := checkKey(key); err != nil {
		return digest, fmt.Errorf("%s: %w", place(s), err)
	}
	return apikey.Digest(key), nil
}

// checkKey refuses keys that clients could not send: APIM allows 1 to 256 characters, and a
// space or a control character would not survive a header or a query.
func checkKey(key string) error {
	if len(key) == 0 || len(key) > apikey.MaxLength {
		return fmt.Errorf("a key has 1 to %d characters, this one has %d", apikey.MaxLength, len(key))
	}
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			return fmt.Errorf("a key is printable ASCII without spaces; character %d is not", i+1)
		}
	}
	return nil
}

func place(s catalog.Secret) string {
	if s.Env != "" {
		return "environment variable " + s.Env
	}
	return "file " + s.File
}

// sharedKeys reports keys that stand in two places: one key names one subscription.
func sharedKeys(subs []Subscription) (errs []error) {
	seen := map[[32]byte]string{}
	for _, sub := range subs {
		for _, k := range sub.Keys {
			switch other, ok := seen[k.Digest]; {
			case ok && other == sub.Name:
				errs = append(errs, fmt.Errorf("subscription %q: primary_key and secondary_key are the same key", sub.Name))
			case ok:
				errs = append(errs, fmt.Errorf("subscriptions %q and %q have the same key: a key names one subscription", other, sub.Name))
			default:
				seen[k.Digest] = sub.Name
			}
		}
	}
	return errs
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
