// Package catalog is what an organization hands out: APIs, products, developers and
// subscriptions, as a file declares them. It parses and checks; it reads no secret, and
// imports no host, clock, network or database.
package catalog

import "time"

// Catalog is the whole of a catalog file. Names are unique within their kind.
type Catalog struct {
	// Organization is the zero Organization in a part of a catalog without one.
	Organization  Organization   `yaml:"organization" json:"organization,omitzero"`
	APIs          []API          `yaml:"apis" json:"apis"`
	Products      []Product      `yaml:"products" json:"products"`
	Groups        []Group        `yaml:"groups" json:"groups"`
	Developers    []Developer    `yaml:"developers" json:"developers"`
	Subscriptions []Subscription `yaml:"subscriptions" json:"subscriptions"`
}

// Organization is who runs the gateway.
type Organization struct {
	Name          string `yaml:"name" json:"name"`
	URL           string `yaml:"url" json:"url,omitempty"`
	Administrator string `yaml:"administrator" json:"administrator"` // an e-mail address
}

// API is a backend's public face.
type API struct {
	Name        string   `yaml:"name" json:"name"`
	Description string   `yaml:"description" json:"description,omitempty"`
	Suffix      string   `yaml:"suffix" json:"suffix"` // first path segment, [a-z0-9][a-z0-9._-]*
	Hosts       []string `yaml:"hosts" json:"hosts,omitempty"`
	Tags        []string `yaml:"tags" json:"tags,omitempty"`
	Backend     Backend  `yaml:"backend" json:"backend"`
	Keys        Keys     `yaml:"keys" json:"keys"`
	// SubscriptionRequired is true unless the file says false.
	SubscriptionRequired bool `yaml:"subscription_required" json:"subscription_required"`
	// Errors is apim (default), azureml or problem.
	Errors string `yaml:"errors" json:"errors"`
	// WhenUnavailable is deny (default) or allow: what happens to a request that needs
	// a decision while the sidecar cannot be asked.
	WhenUnavailable string `yaml:"when_unavailable" json:"when_unavailable"`
	// HideResponseHeaders are removed from the backend's answers.
	HideResponseHeaders []string `yaml:"hide_response_headers" json:"hide_response_headers,omitempty"`
	CORS                *CORS    `yaml:"cors" json:"cors,omitempty"`
	Route               string   `yaml:"route" json:"route"` // envoy (default) or external
	// Limits are of each subscription's calls of the API.
	Limits     []Limit     `yaml:"limits" json:"limits,omitempty"`
	Operations []Operation `yaml:"operations" json:"operations"`
	// Definition and those of the operations have at most MaxDefinition bytes together.
	Definition Definition `yaml:"definition" json:"definition,omitempty"`
}

// Backend is where an API's requests go.
type Backend struct {
	// URL is http or https, host, optional port, optional path prefix; no query.
	URL string `yaml:"url" json:"url"`
	// Timeout bounds a whole call; 60 s unless given, at most 1 h.
	Timeout Duration `yaml:"timeout" json:"timeout"`
	// Authorization is inject, pass (default) or consumer_key; inject needs Key.
	Authorization string  `yaml:"authorization" json:"authorization"`
	Key           *Secret `yaml:"key" json:"key,omitempty"`
	// MaxConnections and MaxPending are Envoy's circuit breakers; 0: Envoy's default.
	MaxConnections int `yaml:"max_connections" json:"max_connections,omitempty"`
	MaxPending     int `yaml:"max_pending" json:"max_pending,omitempty"`
}

// Keys says where a consumer's key may stand.
type Keys struct {
	Header string `yaml:"header" json:"header"` // Ocp-Apim-Subscription-Key unless given
	Query  string `yaml:"query" json:"query"`   // subscription-key unless given
	Bearer bool   `yaml:"bearer" json:"bearer,omitempty"`
}

// CORS is what Envoy's CORS filter answers for an API.
type CORS struct {
	AllowOrigins  []string `yaml:"allow_origins" json:"allow_origins"` // exact, or "*"
	AllowHeaders  []string `yaml:"allow_headers" json:"allow_headers,omitempty"`
	ExposeHeaders []string `yaml:"expose_headers" json:"expose_headers,omitempty"`
	MaxAge        Duration `yaml:"max_age" json:"max_age,omitempty"`
}

// Operation is a method and URL template of an API.
type Operation struct {
	Name        string      `yaml:"name" json:"name"`
	Description string      `yaml:"description" json:"description,omitempty"`
	Method      string      `yaml:"method" json:"method"`
	Template    string      `yaml:"template" json:"template"` // path only: /workspaces/{workspace}
	Parameters  []Parameter `yaml:"parameters" json:"parameters,omitempty"`
	// Creates and Requires name a kind of resource, see wire.Operation.
	Creates  string `yaml:"creates" json:"creates,omitempty"`
	Requires string `yaml:"requires" json:"requires,omitempty"`
	// Limits are of each subscription's calls of the operation.
	Limits     []Limit    `yaml:"limits" json:"limits,omitempty"`
	Definition Definition `yaml:"definition" json:"definition,omitempty"`
}

// Parameter describes a parameter of an operation to people and their tools.
type Parameter struct {
	Name        string `yaml:"name" json:"name"`
	In          string `yaml:"in" json:"in"` // path, query or header
	Description string `yaml:"description" json:"description,omitempty"`
	Required    bool   `yaml:"required" json:"required,omitempty"`
	Example     string `yaml:"example" json:"example,omitempty"`
}

// Product is a bundle of APIs.
type Product struct {
	Name        string   `yaml:"name" json:"name"`
	Description string   `yaml:"description" json:"description,omitempty"`
	APIs        []string `yaml:"apis" json:"apis"`
	// SubscriptionRequired is true unless the file says false: an open product, at
	// most one per API.
	SubscriptionRequired bool `yaml:"subscription_required" json:"subscription_required"`
	// Published is true unless the file says false: then nobody can subscribe anew.
	Published bool `yaml:"published" json:"published"`
	// ApprovalRequired makes a subscription wait for an administrator, in state submitted.
	ApprovalRequired bool `yaml:"approval_required" json:"approval_required,omitempty"`
	// SubscriptionsLimit is how many subscriptions that are submitted, active or suspended
	// a developer may have to the product; 0: as many as wanted.
	SubscriptionsLimit int `yaml:"subscriptions_limit" json:"subscriptions_limit,omitempty"`
	// Groups are those for whose members the product is meant; everyone unless given.
	Groups []string `yaml:"groups" json:"groups,omitempty"`
	Terms  string   `yaml:"terms" json:"terms,omitempty"`
	Price  string   `yaml:"price" json:"price,omitempty"` // for people: "10 EUR a month"
	// Limits are of each subscription to the product.
	Limits []Limit `yaml:"limits" json:"limits,omitempty"`
}

// Group is a name for several developers. The groups of BuiltInGroups need no declaration.
type Group struct {
	Name        string `yaml:"name" json:"name"`
	Description string `yaml:"description" json:"description,omitempty"`
}

// BuiltInGroups always exist.
var BuiltInGroups = []string{"Administrators", "Developers", "Guests"}

// Developer is a person who subscribes.
type Developer struct {
	Email  string   `yaml:"email" json:"email"` // the developer's identity
	Name   string   `yaml:"name" json:"name,omitempty"`
	Groups []string `yaml:"groups" json:"groups,omitempty"`
}

// Subscription is a developer's right to use a product, an API or all APIs: exactly one
// of Product, API and AllAPIs is set.
type Subscription struct {
	Name      string `yaml:"name" json:"name"`
	Developer string `yaml:"developer" json:"developer"` // an e-mail address
	Product   string `yaml:"product" json:"product,omitempty"`
	API       string `yaml:"api" json:"api,omitempty"`
	AllAPIs   bool   `yaml:"all_apis" json:"all_apis,omitempty"`
	// State is active unless given; see wire.State.
	State      string            `yaml:"state" json:"state"`
	ExpiresAt  *time.Time        `yaml:"expires_at" json:"expires_at,omitempty"` // RFC 3339
	Attributes map[string]string `yaml:"attributes" json:"attributes,omitempty"`
	PrimaryKey *Secret           `yaml:"primary_key" json:"primary_key,omitempty"`
	// SecondaryKey works beside PrimaryKey, so that one can be replaced at a time.
	SecondaryKey *Secret `yaml:"secondary_key" json:"secondary_key,omitempty"`
}

// Secret says where a secret is, never what it is: exactly one of its fields is set.
type Secret struct {
	Env  string `yaml:"env" json:"env,omitempty"`
	File string `yaml:"file" json:"file,omitempty"` // relative to the catalog file
	// SHA256 is a subscription key's digest in hex, where only that is known.
	SHA256 string `yaml:"sha256" json:"sha256,omitempty"`
}

// Duration is a time.Duration, see ParseDuration for how it is written: "60s", "7d".
type Duration time.Duration
