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
// and revisions, and with no more of a developer than the address. *InvalidError names every
// mistake.
func declared(c *catalog.Catalog, secrets Secrets) ([]Subscription, error) {
	subs := make([]Subscription, len(c.Subscriptions))
	d := declaring{secrets: secrets, keys: map[[32]byte]string{}}
	for i := range c.Subscriptions {
		subs[i] = d.subscription(fmt.Sprintf("subscriptions[%d]", i), &c.Subscriptions[i])
	}
	if len(d.mistakes) > 0 {
		return nil, &InvalidError{Mistakes: d.mistakes}
	}
	return subs, nil
}

// declaring reads the subscriptions of a catalog.
type declaring struct {
	secrets  Secrets
	keys     map[[32]byte]string // the subscription that each key names
	mistakes []catalog.Mistake
}

func (d *declaring) mistake(field string, sub *catalog.Subscription, format string, arguments ...any) {
	d.mistakes = append(d.mistakes, catalog.Mistake{Field: field, Message: fmt.Sprintf("subscription %q: ", sub.Name) + fmt.Sprintf(format, arguments...)})
}

func (d *declaring) subscription(place string, cs *catalog.Subscription) Subscription {
	sub := Subscription{Name: cs.Name, Scope: scopeOf(*cs), Attributes: cs.Attributes, Expires: expires(cs.ExpiresAt),
		Developer: Developer{Email: cs.Developer}}
	if sub.Attributes == nil {
		sub.Attributes = map[string]string{}
	}
	var ok bool
	if sub.State, ok = states[cs.State]; !ok {
		d.mistake(place+".state", cs, "unknown state %q", cs.State)
	}
	d.key(place+".primary_key", cs, cs.PrimaryKey, &sub, wire.SlotPrimary)
	d.key(place+".secondary_key", cs, cs.SecondaryKey, &sub, wire.SlotSecondary)
	return sub
}

// key reads a key, if there is one; one key names one subscription.
func (d *declaring) key(field string, cs *catalog.Subscription, secret *catalog.Secret, sub *Subscription, slot wire.Slot) {
	if secret == nil {
		return
	}
	digest, err := keyDigest(*secret, d.secrets)
	if err != nil {
		d.mistake(field, cs, "%s", err)
		return
	}
	switch other, ok := d.keys[digest]; {
	case ok && other == sub.Name:
		d.mistake(field, cs, "primary_key and secondary_key are the same key")
	case ok:
		d.mistakes = append(d.mistakes, catalog.Mistake{Field: field,
			Message: fmt.Sprintf("subscriptions %q and %q have the same key: a key names one subscription", other, sub.Name)})
	default:
		d.keys[digest] = sub.Name
		sub.Keys = append(sub.Keys, Key{Slot: slot, Digest: digest})
	}
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
	if secrets == nil {
		return digest, fmt.Errorf("%s cannot be read here; give the key's sha256", place(s))
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

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
