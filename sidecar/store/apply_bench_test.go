package store_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/store"
)

// many is a catalog with so many subscriptions, of a tenth as many developers.
func many(n int) *catalog.Catalog {
	c := demo()
	c.Subscriptions = make([]catalog.Subscription, n)
	for i := range n {
		email := fmt.Sprintf("d%d@example.org", i/10)
		if i%10 == 0 {
			c.Developers = append(c.Developers, catalog.Developer{Email: email})
		}
		digest := sha256.Sum256(fmt.Append(nil, i))
		c.Subscriptions[i] = catalog.Subscription{Name: fmt.Sprint("s", i), Developer: email, Product: "Unlimited", State: "active",
			PrimaryKey: &catalog.Secret{SHA256: hex.EncodeToString(digest[:])}}
	}
	return c
}

// BenchmarkApply applies a large file to an empty store, and then again.
func BenchmarkApply(b *testing.B) {
	const n = 20_000
	c := many(n)
	for b.Loop() {
		db, err := database.Open(b.Context(), database.Config{Source: b.TempDir() + "/s.db"})
		if err != nil {
			b.Fatal(err)
		}
		s, err := store.Open(b.Context(), db, store.Options{})
		if err != nil {
			b.Fatal(err)
		}
		for _, changes := range []int{n + n/10 + 5 + 2, 0} {
			plan, err := s.Apply(b.Context(), file(c))
			if err != nil {
				b.Fatal(err)
			}
			if len(plan.Changes) != changes {
				b.Fatalf("%d changes, want %d", len(plan.Changes), changes)
			}
		}
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
