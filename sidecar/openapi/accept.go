package openapi

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"

	"github.com/tollgate/tollgate/internal/catalog"
)

var mistakeField = regexp.MustCompile(`^apis\[0\]\.operations\[(\d+)\]\.?([a-z_]*)(?:\[(\d+)\])?`)

// accepted is the operations that a catalog takes. The catalog itself says what it does not.
func (im *importer) accepted(all []*candidate, kept map[string]any) []*candidate {
	used := map[string]bool{}
	for _, c := range all {
		c.rename(used)
	}
	for len(all) > 0 {
		api := catalog.API{Name: "api", Suffix: "api", Backend: catalog.Backend{URL: harmless}, Keys: im.api.Keys}
		for _, c := range all {
			one := c.Operation
			one.Limits = nil // where they are wrong, the API is: nothing of it is dropped
			api.Operations = append(api.Operations, one)
		}
		refused := map[*candidate]string{}
		for _, m := range parsed(api) {
			f := mistakeField.FindStringSubmatch(m.Field)
			if f == nil {
				continue
			}
			i, _ := strconv.Atoi(f[1])
			im.mend(all[i], f[2], f[3], m.Message, used, refused)
		}
		if len(refused) == 0 && !im.mended {
			return all
		}
		im.mended = false
		all = slices.DeleteFunc(all, func(c *candidate) bool {
			if reason, ok := refused[c]; ok {
				im.leave(kept, c, reason)
				return true
			}
			return false
		})
	}
	return all
}

// mend does what it can about a mistake in an operation, or refuses it.
func (im *importer) mend(c *candidate, field, index, message string, used map[string]bool, refused map[*candidate]string) {
	switch {
	case field == "name" && len(c.names) > 0:
		c.rename(used)
		im.mended = true
	case field == "parameters" && index != "":
		i, _ := strconv.Atoi(index)
		if i >= len(c.Parameters) || c.dropped[i] {
			return
		}
		if c.dropped == nil {
			c.dropped = map[int]bool{}
		}
		c.dropped[i] = true
		im.mended = true
	case refused[c] == "":
		refused[c] = message
	}
}

// rename gives an operation the next best name that no other has.
func (c *candidate) rename(used map[string]bool) {
	for len(c.names) > 0 {
		c.Name, c.names = c.names[0], c.names[1:]
		if !used[c.Name] {
			used[c.Name] = true
			return
		}
	}
	base := shortened(c.Method+" "+c.Template, longestName-6)
	for n := 2; ; n++ {
		c.Name = base + " " + strconv.Itoa(n)
		if !used[c.Name] {
			used[c.Name] = true
			return
		}
	}
}

// parsed is what a catalog finds wrong with an API.
func parsed(api catalog.API) []catalog.Mistake {
	api.Errors, api.WhenUnavailable, api.Route = catalog.DefaultErrors, catalog.DefaultUnavailable, catalog.DefaultRoute
	api.Backend.Timeout, api.Backend.Authorization = catalog.Duration(catalog.DefaultTimeout), catalog.DefaultAuthorization
	api.Keys.Header, api.Keys.Query = cmp.Or(api.Keys.Header, catalog.DefaultKeyHeader), cmp.Or(api.Keys.Query, catalog.DefaultKeyQuery)
	data, err := encoded(map[string]any{"apis": []any{api}})
	if err != nil {
		return []catalog.Mistake{{Field: "definition", Message: err.Error()}}
	}
	_, mistakes := catalog.Parse("document", data, catalog.Options{Partial: true, Unnumbered: true})
	return mistakes
}

// inOrder sorts operations as Export found them, where it says how.
func (im *importer) inOrder(all []*candidate) {
	order := texts(im.own["order"])
	slices.SortStableFunc(all, func(a, b *candidate) int {
		return cmp.Compare(slices.Index(order, a.Name), slices.Index(order, b.Name))
	})
}
