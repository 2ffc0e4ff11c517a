package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/store"
)

// Whatever order the database has, all is exported once, byte by byte in order, over more
// pages than one, and through a database.DB that only reads.
func TestEachExportedIsInOrder(t *testing.T) {
	inBoth(t, func(t *testing.T, at source) {
		db, err := database.Open(t.Context(), database.Config{Source: at(t)})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		s, err := store.Open(t.Context(), db, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		text := "groups:\n"
		want := []string{"Beta", "alpha", "été", "Zulu", "a b", "a-b", "ab"}
		for i := range 600 {
			want = append(want, fmt.Sprintf("Group %03d", i), fmt.Sprintf("group-%03d", i))
		}
		for _, name := range want {
			text += fmt.Sprintf("  - {name: %q}\n", name)
		}
		c, mistakes := catalog.Parse("g.yaml", []byte(text), catalog.Options{Partial: true})
		if len(mistakes) > 0 {
			t.Fatal(mistakes)
		}
		if _, err := s.Apply(t.Context(), store.Application{Catalog: c, Write: store.Write{Actor: "test", Source: store.FileSource("g.yaml")}}); err != nil {
			t.Fatal(err)
		}
		reading, err := db.Again(t.Context(), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer reading.Close()
		var got []string
		if err := s.Through(reading).EachExported(t.Context(), func(item any) error {
			got = append(got, item.(catalog.Group).Name)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}
