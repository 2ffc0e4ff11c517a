package catalog

import (
	"slices"
	"strings"
)

// limits checks the limits of one product, API or operation.
func (k *checker) limits(list *path, limits []Limit) {
	if len(limits) > maxListLimits {
		k.on(list, "must declare at most %d limits", maxListLimits)
		return
	}
	unique(k, list, "name", limits, func(l Limit) string { return l.Name }, exact)
	for i := range limits {
		k.limit(list.item(i), &limits[i])
	}
}

func (k *checker) limit(p *path, l *Limit) {
	words := true
	for _, of := range []struct {
		field, word string
		words       []string
	}{{"kind", l.Kind, LimitKinds}, {"unit", l.Unit, LimitUnits}, {"count", l.Count, LimitCounts}} {
		k.oneOf(p.field(of.field), of.word, of.words)
		words = words && slices.Contains(of.words, of.word)
	}
	for _, fault := range l.Faults() {
		// What depends on a word is not known where the word is not.
		if words || fault.Field == "name" || fault.Field == "amount" {
			k.on(p.field(fault.Field), "%s", fault.Message)
		}
	}
}

// keyed writes a name as it stands in a counter key.
var keyed = strings.NewReplacer("%", "%25", "/", "%2F")

// longestSubscription is the longest beginning of a counter key.
const longestSubscription = "subscription:4294967295"

// counterKey refuses limits whose counter key (policies/tollgate/quota/quota.rego) would be
// longer than a key may be: every request would be refused for it.
func (k *checker) counterKey(p *path, limits []Limit, key string) {
	if len(limits) > 0 && len(key) > MaxKeyBytes {
		k.on(p, "cannot be counted: the key would have %d bytes, and %d are allowed; shorten the names", len(key), MaxKeyBytes)
	}
}
