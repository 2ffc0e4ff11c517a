package catalog

import (
	"reflect"
	"time"
)

// What a field is when the file does not give it.
const (
	DefaultTimeout       = 60 * time.Second
	DefaultKeyHeader     = "Ocp-Apim-Subscription-Key" // APIM's
	DefaultKeyQuery      = "subscription-key"          // APIM's
	DefaultErrors        = "apim"
	DefaultAuthorization = "pass"
	DefaultUnavailable   = "deny"
	DefaultRoute         = "envoy"
	DefaultState         = "active"
	DefaultUnit          = "calls"
	DefaultCount         = "all"
)

// required are the fields that a file must give.
var required = map[reflect.Type][]string{
	reflect.TypeFor[Catalog]():      {"organization", "apis"},
	reflect.TypeFor[Organization](): {"name", "administrator"},
	reflect.TypeFor[API]():          {"name", "suffix", "backend", "operations"},
	reflect.TypeFor[Backend]():      {"url"},
	reflect.TypeFor[CORS]():         {"allow_origins"},
	reflect.TypeFor[Operation]():    {"name", "method", "template"},
	reflect.TypeFor[Parameter]():    {"name", "in"},
	reflect.TypeFor[Product]():      {"name", "apis"},
	reflect.TypeFor[Group]():        {"name"},
	reflect.TypeFor[Limit]():        {"name", "kind", "amount"},
	reflect.TypeFor[Developer]():    {"email"},
	reflect.TypeFor[Subscription](): {"name", "developer"},
}

// nouns are what messages call the structs that have required fields.
var nouns = map[reflect.Type]string{
	reflect.TypeFor[Catalog]():      "catalog",
	reflect.TypeFor[Organization](): "organization",
	reflect.TypeFor[API]():          "API",
	reflect.TypeFor[Backend]():      "backend",
	reflect.TypeFor[CORS]():         "CORS rule",
	reflect.TypeFor[Operation]():    "operation",
	reflect.TypeFor[Parameter]():    "parameter",
	reflect.TypeFor[Product]():      "product",
	reflect.TypeFor[Group]():        "group",
	reflect.TypeFor[Limit]():        "limit",
	reflect.TypeFor[Developer]():    "developer",
	reflect.TypeFor[Subscription](): "subscription",
}

// applyDefaults sets the fields of a struct to what they are unless the file gives them.
func applyDefaults(out reflect.Value) {
	switch v := out.Addr().Interface().(type) {
	case *Catalog:
		v.APIs, v.Products, v.Groups = []API{}, []Product{}, []Group{}
		v.Developers, v.Subscriptions = []Developer{}, []Subscription{}
	case *API:
		v.SubscriptionRequired = true
		v.Errors = DefaultErrors
		v.WhenUnavailable = DefaultUnavailable
		v.Route = DefaultRoute
		applyDefaults(reflect.ValueOf(&v.Backend).Elem())
		applyDefaults(reflect.ValueOf(&v.Keys).Elem())
	case *Backend:
		v.Timeout = Duration(DefaultTimeout)
		v.Authorization = DefaultAuthorization
	case *Keys:
		v.Header, v.Query = DefaultKeyHeader, DefaultKeyQuery
	case *Product:
		v.SubscriptionRequired, v.Published = true, true
	case *Limit:
		v.Unit, v.Count, v.Enforce = DefaultUnit, DefaultCount, true
	case *Subscription:
		v.State = DefaultState
	}
}
