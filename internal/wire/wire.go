// Package wire is what passes between the filter and the sidecar: the messages of
// docs/wire.md, and nothing else. Both sides import it; it imports no host, clock,
// network or database, and it must compile for wasip1.
//
// Every message carries Version. The sidecar serves the current version and the one
// before it; a filter that reads an unknown enumeration value denies.
package wire

import "strconv"

// Version is the wire version that this build speaks.
const Version = 2

// Paths of the sidecar's filter API, served over HTTP/1.1 on a Unix socket.
const (
	PathWatch     = "/v1/watch"     // GET, long poll: the next Snapshot
	PathPages     = "/v1/pages"     // GET: the bytes of pages
	PathDecide    = "/v1/decide"    // POST DecideRequest: DecideReply
	PathResources = "/v1/resources" // POST ResourceRequest: 200 with an empty object
	PathUsage     = "/v1/usage"     // POST UsageReport: 200 with an empty object
)

// Query parameters of PathWatch. The sidecar answers at once when the revision it holds
// differs from the one named, else after WatchSeconds with 304 and no body.
const (
	WatchVersion  = "version"
	WatchRevision = "revision" // Revision.String, empty when the filter holds none
	WatchSeconds  = 25
)

// PagesDigest is the query parameter of PathPages: once for each page, in the form of
// Digest.String, 1 to PagesMax times. The answer has the pages in that order, each after its
// length in 4 bytes, little endian, at most 1 MiB in all; 404 where one is not kept any more.
const (
	PagesDigest = "digest"
	PagesMax    = 16
)

// Revision names one state of everything a filter needs to know. Numbers of one store grow,
// but for a store that was restored from a copy: there a number may come again, with other
// content. Two revisions are the same only if all of it is.
type Revision struct {
	Store   string `json:"store"`
	Number  uint64 `json:"number"`
	Content string `json:"content"` // a digest
}

// String is the form of a revision in a query: "store:number:content".
func (r Revision) String() string {
	return r.Store + ":" + strconv.FormatUint(r.Number, 10) + ":" + r.Content
}

// Snapshot is everything a filter needs to know at one Revision.
type Snapshot struct {
	Version  int      `json:"version"`
	Revision Revision `json:"revision"`
	Gateway  Gateway  `json:"gateway"`
	// Pepper keys the HMAC of the key table; 32 random bytes per store.
	Pepper []byte  `json:"pepper"`
	Policy Policy  `json:"policy"`
	APIs   []API   `json:"apis"`
	Scopes []Scope `json:"scopes"`
	// Keys lists the pages of keys, see AppendKeyEntry. In version 1 it is the table of
	// all keys, see WholeKeyTable.
	Keys []byte `json:"keys"`
	// Subscriptions lists the pages of subscriptions, by place, see SubscriptionPage: the
	// Digest of each. Not in version 1.
	Subscriptions []byte `json:"subscriptions,omitempty"`
	// Resets moves when an administrator resets or raises a limit: what a filter
	// remembers of exhausted limits is then forgotten.
	Resets uint64 `json:"resets,omitempty"`
}

// Gateway is the fixed part of every decision's input.
type Gateway struct {
	Name   string `json:"name"`
	Region string `json:"region"`
	// MaxStaleSeconds is how long a snapshot outlives contact with its sidecar.
	MaxStaleSeconds int `json:"max_stale_seconds"`
}

// Policy says which parts of a request a decision depends on (docs/policies.md).
type Policy struct {
	// Revision is a hash over modules, data, capabilities and configuration.
	Revision string `json:"revision"`
	// Full: the policy reads input as a whole; every request sends all of it and
	// nothing is cached. Vary is then empty.
	Full bool `json:"full,omitempty"`
	// Vary lists the fields below input that decisions depend on, sorted.
	Vary []Field `json:"vary"`
}

// Field is a path below input that the filter can read. Known are, with NAME in the
// policy's own spelling (headers in lower case):
//
//	request method | path | scheme | host | jwt
//	request source address
//	request params | request params NAME
//	request query NAME | request headers NAME
//	resource
//
// A filter that meets any other field asks the sidecar nothing and denies.
type Field []string

// API is a backend's public face as the filter sees it.
type API struct {
	Name   string   `json:"name"`
	Suffix string   `json:"suffix"` // first path segment, without slashes
	Hosts  []string `json:"hosts,omitempty"`
	// Errors is the dialect of errors that the gateway makes itself.
	Errors Dialect `json:"errors"`
	Keys   Keys    `json:"keys"`
	// Authorization says what becomes of the Authorization header.
	Authorization Authorization `json:"authorization"`
	// BackendKey is for AuthorizationInject; secret. Without it the API's calls are refused.
	BackendKey string `json:"backend_key,omitempty"`
	// Open is the scope under which a request without a key passes, as an index into
	// Snapshot.Scopes; -1 where a key is required.
	Open int `json:"open"`
	// AllowWhenUnavailable lets requests through undecided while the sidecar cannot
	// be asked. Off unless the catalog says so.
	AllowWhenUnavailable bool `json:"allow_when_unavailable,omitempty"`
	// HideResponseHeaders, in lower case, is set where no route of Envoy's hides them.
	HideResponseHeaders []string    `json:"hide_response_headers,omitempty"`
	Operations          []Operation `json:"operations"`
}

// Dialect is the form of an error body.
type Dialect string

const (
	// DialectAPIM is Azure API Management's.
	DialectAPIM Dialect = "apim"
	// DialectAzureML is the envelope that AzureML's clients parse.
	DialectAzureML Dialect = "azureml"
	// DialectProblem is RFC 9457's.
	DialectProblem Dialect = "problem"
)

// Authorization says what the backend gets in its Authorization header.
type Authorization string

const (
	// AuthorizationInject is Bearer and API.BackendKey.
	AuthorizationInject Authorization = "inject"
	// AuthorizationPass is the client's own, untouched.
	AuthorizationPass Authorization = "pass"
	// AuthorizationConsumerKey is Bearer and the consumer's key.
	AuthorizationConsumerKey Authorization = "consumer_key"
)

// Keys says where a consumer's key may stand.
type Keys struct {
	Header string `json:"header"` // lower case
	// HeaderName is Header in the spelling of the catalog, for WWW-Authenticate.
	HeaderName string `json:"header_name"`
	Query      string `json:"query"`
	Bearer     bool   `json:"bearer,omitempty"`
}

// Operation is a method and URL template of an API.
type Operation struct {
	Name     string `json:"name"`
	Method   string `json:"method"`
	Template string `json:"template"` // "/jobs/{jobid}/start"; never with a query
	// Creates names the kind of resource whose id the response carries ("job");
	// Requires the kind whose id is the template's parameter {KINDid} ("{jobid}").
	Creates  string `json:"creates,omitempty"`
	Requires string `json:"requires,omitempty"`
}

// Scope is what a key opens: the APIs, by index into Snapshot.APIs, and the product
// through which it does, empty for a subscription to an API or to all APIs.
type Scope struct {
	// Number is what SubscriptionRecord.Scope calls it, 1 to 1<<24 - 1. It stays while
	// scopes beside it come and go. Not in version 1, which has places in the list.
	Number  uint32 `json:"number,omitempty"`
	Product string `json:"product,omitempty"`
	APIs    []int  `json:"apis"`
}

// DecideRequest asks for one decision per Ask. A stream sends one; the tick several at once,
// or none, when there is only something to settle.
type DecideRequest struct {
	Version int    `json:"version"`
	Store   string `json:"store"` // that subscriptions are of; another's is answered with 409
	VM      string `json:"vm"`    // the worker, in the ledger: 1 to 64 of [a-z0-9]
	Asks    []Ask  `json:"asks"`
	// Settlements and Abandoned are repeated until a reply says Settled. They are taken
	// before any Ask is.
	Settlements []Settlement `json:"settlements,omitempty"`
	// Abandoned are the ids of takes whose answer nobody awaits any more: what they were
	// granted, or will be, was not spent.
	Abandoned []uint64 `json:"abandoned,omitempty"`
}

// Ask is one question. Its projection was made for Policy: a sidecar that holds another
// policy answers with Stale instead of evaluating it.
type Ask struct {
	Call         string `json:"call"` // the request's x-request-id
	Policy       string `json:"policy"`
	Subscription uint32 `json:"subscription,omitempty"` // 0: keyless
	Product      string `json:"product,omitempty"`
	API          string `json:"api"`
	Operation    string `json:"operation"`
	// Request holds the fields of input.request that Policy.Vary names, or all.
	Request Request `json:"request"`
	// Resource is what the operation requires; the sidecar adds its owner.
	Resource *Resource `json:"resource,omitempty"`
	// Take asks for leases on the limits of the decision; nil: only for the decision.
	Take *Take `json:"take,omitempty"`
}

// Request is input.request, or those parts of it that a policy reads. An absent field
// is left absent: nil and the empty value differ.
type Request struct {
	Method  *string             `json:"method,omitempty"`
	Path    *string             `json:"path,omitempty"` // canonical, without suffix and query
	Scheme  *string             `json:"scheme,omitempty"`
	Host    *string             `json:"host,omitempty"`
	Params  map[string]string   `json:"params,omitempty"`
	Query   map[string][]string `json:"query,omitempty"`
	Headers map[string][]string `json:"headers,omitempty"` // lower case; values in order
	Source  *Source             `json:"source,omitempty"`
}

// Source is where a request came from, after Envoy's xff_num_trusted_hops.
type Source struct {
	Address string `json:"address"` // without a port
}

// Resource names one resource of a backend. Scope holds the other parameters of the
// template: the same id under another workspace is another resource.
type Resource struct {
	Kind  string            `json:"kind"`
	Scope map[string]string `json:"scope"`
	ID    string            `json:"id"`
}

// DecideReply answers the asks in their order.
type DecideReply struct {
	Version int      `json:"version"`
	Answers []Answer `json:"answers"`
	// Settled: all of the request's Settlements and Abandoned are on the ledger, durably.
	Settled bool `json:"settled,omitempty"`
}

// Answer is a decision, or why there is none.
type Answer struct {
	// Error is a stable code when the policy gave no usable decision; the request is
	// then answered with 500 (or as Status says). Allow is false.
	Error string `json:"error,omitempty"`
	// Stale is set when the ask was made for another policy: ask again for this one.
	Stale *Policy `json:"stale,omitempty"`

	Decision string   `json:"decision"` // id, for tollgate explain
	Allow    bool     `json:"allow"`
	Reasons  []string `json:"reasons,omitempty"` // stable snake_case codes, sorted
	Status   int      `json:"status,omitempty"`  // of a deny; 403 unless the policy says otherwise
	Message  string   `json:"message,omitempty"` // of a deny; the dialect's own when empty
	Request  Change   `json:"request,omitzero"`
	Response Change   `json:"response,omitzero"`
	// Limits apply to the request, in the policy's order; part of the decision.
	Limits []Limit `json:"limits,omitempty"`
	// Leases is what Ask.Take was granted.
	Leases []Lease `json:"leases,omitempty"`
	// Exhausted says that a limit leaves no room for the request: nothing was granted.
	Exhausted *Exhausted `json:"exhausted,omitempty"`
	// TTLMillis is how long the answer may be kept, 0: for this request only. It says
	// nothing about Leases and Exhausted, which are never part of what is kept.
	TTLMillis int64 `json:"ttl_millis"`
	// ValidUntilMillis is the Unix time after which it must not be used; 0: none.
	ValidUntilMillis int64 `json:"valid_until_millis,omitempty"`
	// What it was made under; kept only while both are what the filter holds.
	Policy               string `json:"policy"`
	SubscriptionRevision uint32 `json:"subscription_revision,omitempty"`
}

// Change is what a decision does to headers. Names are in lower case.
type Change struct {
	Set    map[string]string `json:"set,omitempty"`
	Remove []string          `json:"remove,omitempty"`
}

// ResourceRequest records a resource for its subscription. First with an empty ID,
// before a submit is forwarded (the intent); then with the ID that the backend gave,
// before the client sees it. Recording is insert-only: 409 when the resource belongs to
// another call. 200 for a repetition of the same message.
type ResourceRequest struct {
	Version      int      `json:"version"`
	Store        string   `json:"store"` // that the subscription is of; another's is answered with 409
	Call         string   `json:"call"`
	Subscription uint32   `json:"subscription"`
	API          string   `json:"api"`
	Operation    string   `json:"operation"`
	Resource     Resource `json:"resource"`
}
