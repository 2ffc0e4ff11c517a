package admin

import (
	"encoding/json"
	"time"
)

// Object is the organization, an API, an operation, a product, a group or a developer.
type Object struct {
	Kind string `json:"kind" enum:"organization,api,operation,product,group,developer" doc:"What it is."`
	Name string `json:"name" doc:"Its name; a developer's e-mail address; empty of the organization."`
	// API is the API that an operation is of; its source, revision and times are the API's.
	API      string          `json:"api,omitempty" doc:"The API that an operation is of. Source, revision and times are the API's."`
	Spec     json.RawMessage `json:"spec" doc:"The object, as in a catalog file."`
	Source   string          `json:"source" doc:"What manages it: empty, the API; file:NAME, the catalog file NAME."`
	Revision uint64          `json:"revision" doc:"Grows with each change; the ETag."`
	Created  time.Time       `json:"created"`
	Updated  time.Time       `json:"updated"`
}

// List is one page of a list. Next asks for the one after it as ?after=, and is empty when
// there is none.
type List[Item any] struct {
	Items []Item `json:"items" nullable:"false"`
	Next  string `json:"next,omitempty" doc:"Where the next page begins, for ?after=. Absent on the last page."`
}

// Subscription is a developer's right to use something, without its keys.
type Subscription struct {
	Kind string `json:"kind" enum:"subscription"`
	ID   uint32 `json:"id" doc:"Never given to another subscription."`
	Name string `json:"name"`
	// Spec is the subscription as in a catalog file, without keys. Its state is the stored
	// one, which is never expired by the clock.
	Spec SubscriptionSpec `json:"spec" doc:"The subscription, as in a catalog file, without its keys."`
	// State is the one that counts now: expired when it was active until its expiry.
	State    string `json:"state" enum:"submitted,active,suspended,rejected,cancelled,expired" doc:"Its state now."`
	Source   string `json:"source" doc:"What manages it: empty, the API; file:NAME, the catalog file NAME."`
	Revision uint64 `json:"revision" doc:"Grows with each change; the ETag."`
	// Created is when it began: the start of its quotas' periods.
	Created   time.Time `json:"created"`
	Updated   time.Time `json:"updated"`
	Note      string    `json:"note,omitempty" doc:"Why it was rejected, suspended or cancelled."`
	KeysShown bool      `json:"keys_shown" doc:"Whether its keys were made and shown."`
	Keys      []Key     `json:"keys" nullable:"false" doc:"Its keys, of which nothing can be read."`
}

// SubscriptionSpec is a subscription as in a catalog file, without its keys. Exactly one of
// Product, API and AllAPIs is set.
type SubscriptionSpec struct {
	Name       string            `json:"name"`
	Developer  string            `json:"developer" doc:"E-mail address of the developer it belongs to."`
	Product    string            `json:"product,omitempty" doc:"Name of the product that it opens."`
	API        string            `json:"api,omitempty" doc:"Name of the API that it opens."`
	AllAPIs    bool              `json:"all_apis,omitempty" doc:"Opens every API."`
	State      string            `json:"state" enum:"submitted,active,suspended,rejected,cancelled,expired"`
	ExpiresAt  *time.Time        `json:"expires_at,omitempty" doc:"When its keys stop working. Absent: never."`
	Attributes map[string]string `json:"attributes,omitempty" doc:"Texts that policies can read."`
}

// Key says that there is a key, and nothing of it.
type Key struct {
	Slot    string     `json:"slot" enum:"primary,secondary"`
	Source  string     `json:"source" doc:"What manages it, as of a subscription."`
	Created time.Time  `json:"created"`
	Used    *time.Time `json:"used,omitempty" doc:"When a call last came with it, about. Absent: never."`
	Expires *time.Time `json:"expires_at,omitempty" doc:"When it stops working, of a key that was replaced with a grace. Absent: with its subscription."`
}

// NewSubscription asks for a subscription: exactly one of Product, API and AllAPIs is set.
type NewSubscription struct {
	Name       string            `json:"name,omitempty" doc:"Unique among subscriptions. Made of the developer and the product or API unless given."`
	Developer  string            `json:"developer" doc:"E-mail address of the developer it belongs to."`
	Product    string            `json:"product,omitempty" doc:"Name of the product that it opens."`
	API        string            `json:"api,omitempty" doc:"Name of the API that it opens."`
	AllAPIs    bool              `json:"all_apis,omitempty" doc:"Opens every API."`
	ExpiresAt  *time.Time        `json:"expires_at,omitempty" doc:"When its keys stop working. Never unless given."`
	Attributes map[string]string `json:"attributes,omitempty" doc:"Texts that policies can read."`
}

// SubscriptionChange changes what is given, and leaves the rest.
type SubscriptionChange struct {
	ExpiresAt *time.Time `json:"expires_at,omitempty" doc:"When its keys stop working."`
	NoExpiry  bool       `json:"no_expiry,omitempty" doc:"Its keys never stop working. Not together with expires_at."`
	// Attributes replace all that there are; nil leaves them.
	Attributes map[string]string `json:"attributes,omitzero" doc:"Replace all attributes."`
}

// Act is what may be said with approve, reject, suspend, resume and cancel.
type Act struct {
	Note string `json:"note,omitempty" maxLength:"1024" doc:"Why."`
}

// Issued are a subscription's new keys in clear, shown once. A slot that has a key already
// keeps it, which is not shown.
type Issued struct {
	Primary   string `json:"primary_key,omitempty" doc:"The primary key. It cannot be read again. Absent: there was one already."`
	Secondary string `json:"secondary_key,omitempty" doc:"The secondary key. It cannot be read again. Absent: there was one already."`
}

// Regenerate asks for another key in a slot.
type Regenerate struct {
	Value string `json:"value,omitempty" doc:"The new key, at least 32 characters. Made at random unless given."`
	Grace string `json:"grace,omitempty" doc:"How long the old key works on, like 24h or 7d. Not at all unless given."`
}

// IssuedKey is a new key in clear, shown once.
type IssuedKey struct {
	Slot string `json:"slot" enum:"primary,secondary"`
	Key  string `json:"key" doc:"The new key. It cannot be read again."`
}

// NewToken asks for a token of this API.
type NewToken struct {
	Name    string     `json:"name" doc:"Unique among tokens that were not revoked."`
	Role    string     `json:"role" enum:"administrator,publisher,auditor,reader"`
	Expires *time.Time `json:"expires_at,omitempty" doc:"When it stops working. Never unless given."`
}

// Token says that there is a token, and nothing of it.
type Token struct {
	Name    string     `json:"name"`
	Role    string     `json:"role" enum:"administrator,publisher,auditor,reader"`
	Created time.Time  `json:"created"`
	Expires *time.Time `json:"expires_at,omitempty" doc:"When it stops working. Absent: never."`
	Used    *time.Time `json:"used,omitempty" doc:"When a call last came with it, about. Absent: never."`
}

// IssuedToken is a new token in clear, shown once.
type IssuedToken struct {
	Token
	Clear string `json:"token" doc:"The token. It cannot be read again."`
}

// AuditEntry is one change that was made.
type AuditEntry struct {
	ID     int64           `json:"id" doc:"From 1, without a gap."`
	Time   time.Time       `json:"time"`
	Actor  string          `json:"actor" doc:"Who: token:NAME, NAME (uid N), file:NAME."`
	Origin string          `json:"origin" doc:"From where: an address, socket, file."`
	Action string          `json:"action" doc:"Kind and verb: subscription.approve."`
	Kind   string          `json:"kind"`
	Name   string          `json:"name"`
	Before json.RawMessage `json:"before,omitempty" doc:"What it was, without secrets. Absent: there was nothing."`
	After  json.RawMessage `json:"after,omitempty" doc:"What it is, without secrets. Absent: there is nothing any more."`
	Hash   string          `json:"hash" doc:"SHA-256 over the hash before and this entry, in hexadecimal."`
}

// AuditReport says whether the audit is whole.
type AuditReport struct {
	Head   string      `json:"head" doc:"ID:HASH of the last entry. Note it elsewhere: ?expect= asks whether it is there still."`
	Rows   int64       `json:"rows" doc:"How many entries were read."`
	Broken *AuditBreak `json:"broken,omitempty" doc:"The first entry that is not as it was written. Absent: all are."`
}

// AuditBreak is where the audit is not as it was written.
type AuditBreak struct {
	ID  int64  `json:"id"`
	Why string `json:"why"`
}

// Plan is what applying a catalog file changes.
type Plan struct {
	DryRun  bool            `json:"dry_run,omitempty" doc:"Nothing was changed."`
	Changes []PlannedChange `json:"changes" nullable:"false"`
	Kept    []Kept          `json:"kept" nullable:"false" doc:"What another source manages, and stays as it is in the store."`
	// Unpruned stays without ?prune=true.
	Unpruned []PlannedChange `json:"unpruned" nullable:"false" doc:"What the source declared before and does not any more: it stays, and ?prune=true deletes it."`
}

// PlannedChange is the change of one object, subscription or key.
type PlannedChange struct {
	Action string          `json:"action" enum:"create,update,delete,adopt" doc:"adopt: only what manages it changes."`
	Kind   string          `json:"kind"`
	Name   string          `json:"name"`
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
}

// Kept is what another source manages.
type Kept struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Source string `json:"source"`
	Why    string `json:"why,omitempty" doc:"Why it stays, where that is something else."`
}
