package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/tollgate/tollgate/internal/wire"
)

// Decision is data.tollgate.decision, checked.
type Decision struct {
	Allow    bool
	Reasons  []string // stable snake_case codes, sorted; of a denial at least one
	Status   int      // of a denial, 400 to 599
	Message  string   // of a denial; empty: the error dialect's own
	Request  wire.Change
	Response wire.Change
	// Limits apply to a request that is allowed, in the order of the document. Each
	// (Name, Key) is there once.
	Limits []wire.Limit
	// TTL is how long the decision may be kept; 0: for one request.
	TTL time.Duration
	// ValidUntil is the instant from which the decision must not be used; zero: none.
	ValidUntil time.Time
	// Policy is the revision that made it.
	Policy string
}

// Codes of Error, stable, for wire.Answer.Error.
const (
	CodeUndefined = "policy_undefined" // data.tollgate.decision has no value
	CodeType      = "policy_type"      // the value is not a decision
	CodeError     = "policy_error"     // evaluation ended with an error
	CodeTimeout   = "policy_timeout"   // evaluation took longer than Config.Timeout
)

// Error is why there is no decision. The request is refused with 500. It holds no value
// of any input.
type Error struct {
	Code string
	Err  error
}

func (e *Error) Error() string { return e.Code + ": " + e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// ErrStale says that the policy that the input was cut down for is not the current one.
var ErrStale = errors.New("the request was projected for another policy")

func typeError(format string, args ...any) error {
	return &Error{CodeType, fmt.Errorf(format, args...)}
}

// document reads the fields of a decision document one by one, remembering the first
// mistake and which fields it has seen.
type document struct {
	object ast.Object
	at     string
	seen   int
	err    error
}

func open(value ast.Value, at string) *document {
	o, ok := value.(ast.Object)
	if !ok {
		return &document{at: at, err: typeError("%s is not an object", at)}
	}
	return &document{object: o, at: at}
}

// take returns the value of name, which must be there.
func (d *document) take(name string) ast.Value {
	if d.err != nil {
		return nil
	}
	term := d.object.Get(ast.InternedTerm(name))
	if term == nil {
		d.err = typeError("%s.%s is missing", d.at, name)
		return nil
	}
	d.seen++
	return term.Value
}

func taken[V ast.Value](d *document, name, kind string) V {
	value, ok := d.take(name).(V)
	if !ok && d.err == nil {
		d.err = typeError("%s.%s is not %s", d.at, name, kind)
	}
	return value
}

// optional returns the value of name, nil when it is not there.
func (d *document) optional(name string) ast.Value {
	if d.err != nil || d.object.Get(ast.InternedTerm(name)) == nil {
		return nil
	}
	return d.take(name)
}

// orElse is taken, or fallback when name is not there.
func orElse[V ast.Value](d *document, name, kind string, fallback V) V {
	value := d.optional(name)
	if value == nil {
		return fallback
	}
	v, ok := value.(V)
	if !ok && d.err == nil {
		d.err = typeError("%s.%s is not %s", d.at, name, kind)
	}
	return v
}

// close fails when the document has more fields than were taken.
func (d *document) close() error {
	if d.err == nil && d.seen != d.object.Len() {
		d.err = typeError("%s has unknown fields", d.at)
	}
	return d.err
}

// parseDecision checks value and makes a Decision of it. Nothing is guessed: what is
// missing, unknown or of another type is an error.
func parseDecision(value ast.Value) (Decision, error) {
	d := open(value, "decision")
	decision := Decision{Allow: bool(taken[ast.Boolean](d, "allow", "a boolean"))}
	reasons := d.take("reasons")
	status := taken[ast.Number](d, "status", "a number")
	message := taken[ast.String](d, "message", "a string")
	limits := d.take("limits")
	request, response := d.take("request"), d.take("response")
	ttl := taken[ast.String](d, "ttl", "a string")
	until := d.take("valid_until")
	if err := d.close(); err != nil {
		return Decision{}, err
	}
	var err error
	if decision.Limits, err = parseLimits(limits); err != nil {
		return Decision{}, err
	}
	if decision.Reasons, err = parseReasons(reasons); err != nil {
		return Decision{}, err
	}
	if decision.Allow != (len(decision.Reasons) == 0) {
		return Decision{}, typeError("decision.allow is %v with %d reasons", decision.Allow, len(decision.Reasons))
	}
	if !decision.Allow {
		if decision.Status, err = parseStatus(status); err != nil {
			return Decision{}, err
		}
		decision.Message = string(message)
		decision.Limits = nil // what is denied spends nothing
	}
	if decision.Request, err = parseChange(request, "decision.request"); err != nil {
		return Decision{}, err
	}
	if decision.Response, err = parseChange(response, "decision.response"); err != nil {
		return Decision{}, err
	}
	if decision.TTL, err = time.ParseDuration(string(ttl)); err != nil || decision.TTL < 0 {
		return Decision{}, typeError(`decision.ttl is no duration like "30s"`)
	}
	decision.ValidUntil, err = parseInstant(until, "decision.valid_until")
	return decision, err
}

// elements are those of an array or of a set, in which JSON does not differ.
func elements(value ast.Value, at string) ([]*ast.Term, error) {
	switch value := value.(type) {
	case *ast.Array:
		terms := make([]*ast.Term, 0, value.Len())
		value.Foreach(func(term *ast.Term) { terms = append(terms, term) })
		return terms, nil
	case ast.Set:
		return value.Slice(), nil
	}
	return nil, typeError("%s is not a list", at)
}

func parseReasons(value ast.Value) ([]string, error) {
	terms, err := elements(value, "decision.reasons")
	if err != nil || len(terms) == 0 {
		return nil, err
	}
	reasons := make([]string, len(terms))
	for i, term := range terms {
		reason, ok := term.Value.(ast.String)
		if !ok {
			return nil, typeError("a deny is neither a reason nor {reason, status 400 to 599, message}")
		}
		if !isReason(string(reason)) {
			return nil, typeError("a reason is not in snake_case, or longer than 64 letters")
		}
		reasons[i] = string(reason)
	}
	slices.Sort(reasons)
	return slices.Compact(reasons), nil
}

// isReason: [a-z][a-z0-9_]*, at most 64, so that a reason can stand in any log or
// header, and can hardly be a value of the request.
func isReason(s string) bool {
	for i := range len(s) {
		letter := s[i] >= 'a' && s[i] <= 'z'
		other := s[i] == '_' || s[i] >= '0' && s[i] <= '9'
		if !letter && (i == 0 || !other) {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 64
}

func parseStatus(value ast.Number) (int, error) {
	status, ok := value.Int()
	if !ok || status < 400 || status > 599 {
		return 0, typeError("decision.status is not within 400 to 599")
	}
	return status, nil
}

func parseInstant(value ast.Value, at string) (time.Time, error) {
	if _, ok := value.(ast.Null); ok {
		return time.Time{}, nil
	}
	s, _ := value.(ast.String)
	instant, err := time.Parse(time.RFC3339, string(s))
	if err != nil {
		return time.Time{}, typeError("%s is neither null nor an RFC 3339 time", at)
	}
	return instant, nil
}

// parseChange lowers names. A header that is both set and removed is set.
func parseChange(value ast.Value, at string) (wire.Change, error) {
	d := open(value, at)
	set := taken[ast.Object](d, "set", "an object")
	remove := d.take("remove")
	if err := d.close(); err != nil {
		return wire.Change{}, err
	}
	removed, err := elements(remove, at+".remove")
	if err != nil {
		return wire.Change{}, err
	}
	var change wire.Change
	if set.Len() > 0 {
		change.Set = make(map[string]string, set.Len())
	}
	err = set.Iter(func(key, value *ast.Term) error {
		name, err := parseHeader(key, at+".set")
		if err != nil {
			return err
		}
		text, ok := value.Value.(ast.String)
		if !ok || strings.ContainsAny(string(text), "\r\n\x00") {
			return typeError("a value of %s.set is no text, or has a line break", at)
		}
		if _, twice := change.Set[name]; twice {
			return typeError("%s.set has a name twice, in two spellings", at)
		}
		change.Set[name] = string(text)
		return nil
	})
	if err != nil {
		return wire.Change{}, err
	}
	for _, term := range removed {
		name, err := parseHeader(term, at+".remove")
		if err != nil {
			return wire.Change{}, err
		}
		if _, isSet := change.Set[name]; !isSet {
			change.Remove = append(change.Remove, name)
		}
	}
	slices.Sort(change.Remove)
	change.Remove = slices.Compact(change.Remove)
	return change, nil
}

// framing are headers that say where a message goes or ends. A policy that changed them
// would choose another upstream or break the connection.
var framing = []string{"connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}

func parseHeader(term *ast.Term, at string) (string, error) {
	s, ok := term.Value.(ast.String)
	name := strings.ToLower(string(s))
	switch {
	case !ok || !isToken(name):
		return "", typeError("a name in %s is no header name", at)
	case strings.HasPrefix(name, "x-tollgate-"), strings.HasPrefix(name, "x-envoy-"), slices.Contains(framing, name):
		return "", typeError("%s names a header that belongs to the gateway", at)
	}
	return name, nil
}

// isToken is RFC 9110 section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		letterOrDigit := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letterOrDigit && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// bound shortens how long d may be kept to what in and the policy's analysis allow.
func (d *Decision) bound(in Input, a Analysis) {
	expires := time.Time{}
	if in.Subscription != nil && in.Subscription.State == "active" {
		expires = in.Subscription.ExpiresAt
	}
	// The base policy returns the subscription's expiry as valid_until. That says
	// nothing about a clock that an author's rule reads: only an earlier instant does.
	bounded := !d.ValidUntil.IsZero() && (expires.IsZero() || d.ValidUntil.Before(expires))
	if a.Full() || len(a.Unrepeatable) > 0 && !bounded {
		d.TTL = 0
	}
	if in.Resource != nil && in.Resource.Owner == nil {
		d.TTL = 0
	}
	if !expires.IsZero() && (d.ValidUntil.IsZero() || expires.Before(d.ValidUntil)) {
		d.ValidUntil = expires
	}
}
