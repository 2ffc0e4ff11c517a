package policy

import (
	"slices"

	"github.com/tollgate/tollgate/internal/catalog"
)

// CatalogData is data.catalog: what policies may know of c besides their input.
//
//	apis      {NAME: {suffix, hosts, tags, backend, subscription_required, limits: [LIMIT],
//	                 operations: {NAME: {method, template, creates, requires, limits: [LIMIT]}}}}
//	products  {NAME: {apis: [NAME], subscription_required, limits: [LIMIT]}}
//	groups    [NAME]
//
// where a LIMIT is what a decision takes but for its key and start: {name, kind, amount,
// window or period, unit, count, enforce}, durations as Go writes them.
//
// It holds neither developers nor subscriptions: those are input, one at a time, under a
// revision of their own. Everything else that is fixed in an input stands here, so that
// the policy's revision moves with it and no decision made before is kept.
func CatalogData(c *catalog.Catalog) map[string]any {
	apis, products := map[string]any{}, map[string]any{}
	for _, api := range c.APIs {
		operations := map[string]any{}
		for _, operation := range api.Operations {
			operations[operation.Name] = map[string]any{
				"method": operation.Method, "template": operation.Template, "creates": operation.Creates, "requires": operation.Requires,
				"limits": limitsData(operation.Limits),
			}
		}
		apis[api.Name] = map[string]any{
			"suffix":                api.Suffix,
			"hosts":                 anys(api.Hosts),
			"backend":               api.Backend.URL, // owners of resources are those of this backend
			"tags":                  anys(api.Tags),
			"subscription_required": api.SubscriptionRequired,
			"limits":                limitsData(api.Limits),
			"operations":            operations,
		}
	}
	for _, product := range c.Products {
		products[product.Name] = map[string]any{
			"apis":                  anys(product.APIs),
			"subscription_required": product.SubscriptionRequired,
			"limits":                limitsData(product.Limits),
		}
	}
	var groups []string
	for _, developer := range c.Developers {
		groups = append(groups, developer.Groups...)
	}
	slices.Sort(groups)
	return map[string]any{"apis": apis, "products": products, "groups": anys(slices.Compact(groups))}
}

func limitsData(limits []catalog.Limit) []any {
	list := make([]any, len(limits))
	for i, l := range limits {
		data := map[string]any{"name": l.Name, "kind": l.Kind, "amount": l.Amount, "unit": l.Unit, "count": l.Count, "enforce": l.Enforce}
		if l.Window != nil {
			data["window"] = l.Window.String()
		}
		if l.Period != nil {
			data["period"] = l.Period.String()
		}
		list[i] = data
	}
	return list
}

func anys(values []string) []any {
	list := make([]any, len(values))
	for i, value := range values {
		list[i] = value
	}
	return list
}
