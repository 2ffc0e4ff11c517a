package catalog

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Longest texts, in characters.
const (
	maxName        = 128
	maxDescription = 4096
	maxValue       = 1024 // attributes, examples
	maxEmail       = 254  // RFC 5321
	maxTerms       = 65536

	maxSubscriptionsLimit = 1_000_000
)

// Values of the fields that take one word of a list.
var (
	errorDialects  = []string{"apim", "azureml", "problem"}
	authorizations = []string{"inject", "pass", "consumer_key"}
	unavailables   = []string{"deny", "allow"}
	routes         = []string{"envoy", "external"}
	methods        = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
	places         = []string{"path", "query", "header"}
	states         = []string{"submitted", "active", "suspended", "rejected", "cancelled", "expired"}
)

// email is the HTML standard's rule for input type=email: what mail systems take, without
// RFC 5322's comments, quoted parts and folding.
var email = regexp.MustCompile("^[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]+@" +
	`[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$`)

// checker checks what a catalog means, field by field and across fields.
type checker struct {
	*report
	c       *Catalog
	options Options
	allowed []allowed
	// Names by kind, for the references to them.
	apis, products, groups, developers index
	// backendKeys and consumerKeys are where each secret's source was seen first.
	backendKeys, consumerKeys map[string]*path
}

// index is the names of one kind, each with its place in the list.
type index struct {
	places map[string]int
	names  []string // those fit to be suggested
	// partial is set when a name could not be read: references are then not checked,
	// for the one that seems to be missing may be that name.
	partial bool
}

func check(c *Catalog, r *report, options Options) {
	k := &checker{report: r, c: c, options: options, backendKeys: map[string]*path{}, consumerKeys: map[string]*path{}}
	k.allowed = k.readAllowed()
	var file *path
	k.apis = unique(k, file.field("apis"), "name", c.APIs, func(a API) string { return a.Name }, exact)
	k.products = unique(k, file.field("products"), "name", c.Products, func(p Product) string { return p.Name }, exact)
	k.groups = unique(k, file.field("groups"), "name", c.Groups, func(g Group) string { return g.Name }, exact)
	k.developers = unique(k, file.field("developers"), "email", c.Developers, func(d Developer) string { return d.Email }, strings.ToLower)
	unique(k, file.field("subscriptions"), "name", c.Subscriptions, func(s Subscription) string { return s.Name }, exact)

	if p := file.field("organization"); !options.Partial || k.has(p) {
		k.organization(p, &c.Organization)
	}
	for i := range c.APIs {
		k.api(file.field("apis").item(i), &c.APIs[i])
	}
	k.suffixes(file.field("apis"))
	k.overrides(file.field("apis"))
	for i := range c.Products {
		k.product(file.field("products").item(i), &c.Products[i])
	}
	k.openProducts(file.field("products"))
	for i := range c.Groups {
		k.group(file.field("groups").item(i), &c.Groups[i])
	}
	for i := range c.Developers {
		k.developer(file.field("developers").item(i), &c.Developers[i])
	}
	for i := range c.Subscriptions {
		k.subscription(file.field("subscriptions").item(i), &c.Subscriptions[i])
	}
	k.subscriptionsLimits(file.field("subscriptions"))
}

func exact(name string) string { return name }

// unique refuses names that stand twice in a list, by the form that fold gives them, and
// returns the names. Empty names are the business of their own check.
func unique[T any](k *checker, list *path, field string, items []T, name func(T) string, fold func(string) string) index {
	x := index{places: make(map[string]int, len(items)), partial: k.isBroken(list)}
	seen, looks := make(map[string]int, len(items)), map[string]string{}
	for i, item := range items {
		p := list.item(i).field(field)
		if k.isBroken(p) {
			x.partial = true
			continue
		}
		text := name(item)
		if first, twice := seen[fold(text)]; twice && text != "" {
			k.on(p, "%q is the %s of %s as well%s", text, field, list.item(first), k.line(list.item(first).field(field)))
			continue
		}
		if field == "name" {
			k.looksDifferent(p, text, looks)
		}
		seen[fold(text)], x.places[text] = i, i
		if nameFault(text) == "" {
			x.names = append(x.names, text)
		}
	}
	return x
}

// refer reports a reference to a name that is not in the index.
func (k *checker) refer(p *path, kind, name string, x index) {
	if _, ok := x.places[name]; ok || x.partial || k.options.Known != nil && k.options.Known(strings.ToLower(kind), name) {
		return
	}
	k.on(p, "there is no %s %q%s", kind, name, hint(name, x.names))
}

func (k *checker) organization(p *path, o *Organization) {
	k.name(p.field("name"), o.Name)
	k.email(p.field("administrator"), o.Administrator)
	if !k.has(p.field("url")) {
		return
	}
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || len(o.URL) > maxValue {
		k.on(p.field("url"), "must be an http or https URL, like https://example.com")
	}
}

func (k *checker) product(p *path, product *Product) {
	k.name(p.field("name"), product.Name)
	k.description(p.field("description"), product.Description)
	seen := map[string]bool{}
	for i, api := range product.APIs {
		q := p.field("apis").item(i)
		if k.once(q, api, api, seen) {
			k.refer(q, "API", api, k.apis)
		}
	}
	if product.SubscriptionsLimit < 0 || product.SubscriptionsLimit > maxSubscriptionsLimit {
		k.on(p.field("subscriptions_limit"), "must be from 0 (as many as wanted) to %d", maxSubscriptionsLimit)
	}
	k.members(p.field("groups"), product.Groups)
	k.text(p.field("terms"), product.Terms, maxTerms)
	k.text(p.field("price"), product.Price, maxValue)
	k.limits(p.field("limits"), product.Limits)
	k.counterKey(p.field("limits"), product.Limits, "product:"+keyed.Replace(product.Name))
}

func (k *checker) group(p *path, g *Group) {
	k.name(p.field("name"), g.Name)
	k.description(p.field("description"), g.Description)
}

// members checks a list of groups.
func (k *checker) members(p *path, groups []string) {
	k.labels(p, groups)
	for i, group := range groups {
		if !slices.Contains(BuiltInGroups, group) && nameFault(group) == "" {
			k.refer(p.item(i), "group", group, k.groups)
		}
	}
}

// openProducts refuses a second open product of an API: a request without a key would
// belong to either (apim.md section 2).
func (k *checker) openProducts(list *path) {
	open := map[string]int{}
	for i, product := range k.c.Products {
		if product.SubscriptionRequired {
			continue
		}
		for j, api := range product.APIs {
			if first, twice := open[api]; twice && first != i {
				k.on(list.item(i).field("apis").item(j), "%q is in the open product %q already%s; an API can be in one open product",
					api, k.c.Products[first].Name, k.line(list.item(first)))
				continue
			}
			open[api] = i
		}
	}
}

func (k *checker) developer(p *path, d *Developer) {
	k.email(p.field("email"), d.Email)
	if k.has(p.field("name")) {
		k.name(p.field("name"), d.Name)
	}
	k.members(p.field("groups"), d.Groups)
}

func (k *checker) subscription(p *path, s *Subscription) {
	if k.name(p.field("name"), s.Name) && strings.Trim(s.Name, "0123456789") == "" {
		k.on(p.field("name"), "must not be a number: subscriptions have numbers for ids, and one could be taken for the other")
	}
	k.refer(p.field("developer"), "developer", s.Developer, k.developers)
	k.subscriptionScope(p, s)
	k.oneOf(p.field("state"), s.State, states)
	k.expiry(p.field("expires_at"), s)
	for name, value := range s.Attributes {
		q := p.field("attributes").field(name)
		if fault := nameFault(name); fault != "" {
			k.on(q, "the name of an attribute %s", fault)
		}
		k.text(q, value, maxValue)
	}
	k.consumerKey(p.field("primary_key"), s.PrimaryKey)
	k.consumerKey(p.field("secondary_key"), s.SecondaryKey)
}

func (k *checker) subscriptionScope(p *path, s *Subscription) {
	var given []string
	for _, name := range []string{"product", "api", "all_apis"} {
		if k.has(p.field(name)) {
			given = append(given, name)
		}
	}
	if len(given) != 1 {
		what := "has none of them"
		if len(given) > 1 {
			what = "has " + listed(given)
		}
		k.on(p, "a subscription has exactly one of product, api and all_apis; this one %s", what)
		return
	}
	switch q := p.field(given[0]); given[0] {
	case "product":
		k.refer(q, "product", s.Product, k.products)
	case "api":
		k.refer(q, "API", s.API, k.apis)
	default:
		if !s.AllAPIs {
			k.on(q, "must be true, or left out")
		}
	}
}

// subscriptionsLimits refuses more subscriptions of a developer to a product than it allows.
// One that expires may have done so, and is left to who knows the time.
func (k *checker) subscriptionsLimits(list *path) {
	type holder struct{ developer, product string }
	counts := map[holder]int{}
	for i, s := range k.c.Subscriptions {
		at, ok := k.products.places[s.Product]
		if !ok || s.ExpiresAt != nil || !CountsToLimit(s.State) {
			continue
		}
		limit := k.c.Products[at].SubscriptionsLimit
		counts[holder{s.Developer, s.Product}]++
		if n := counts[holder{s.Developer, s.Product}]; limit > 0 && n > limit {
			k.on(list.item(i), "%s has %d subscriptions to the product %q, which allows each developer %d", s.Developer, n, s.Product, limit)
		}
	}
}

// CountsToLimit says whether a subscription in this state counts to Product.SubscriptionsLimit.
func CountsToLimit(state string) bool {
	return state == "submitted" || state == "active" || state == "suspended"
}

// expiry keeps within what wire.KeyRecord.Expires can say: whole seconds, 1 to 2^32-1.
func (k *checker) expiry(p *path, s *Subscription) {
	if s.ExpiresAt == nil {
		return
	}
	if s.ExpiresAt.Nanosecond() != 0 {
		k.on(p, "must be whole seconds")
		return
	}
	last := time.Unix(1<<32-1, 0).UTC()
	if s.ExpiresAt.Unix() < 1 || s.ExpiresAt.After(last) {
		k.on(p, "must be after 1970-01-01T00:00:00Z and not after %s; leave it out for a subscription that never expires", last.Format(time.RFC3339))
	}
}

// name checks a text that names something to people.
func (k *checker) name(p *path, name string) bool {
	fault := nameFault(name)
	if fault != "" {
		k.on(p, "%s", fault)
	}
	return fault == ""
}

// nameFault says what is wrong with a name; empty when nothing is.
func nameFault(name string) string {
	switch {
	case name == "":
		return "must not be empty"
	case strings.TrimSpace(name) != name:
		return "must not begin or end with a blank"
	case utf8.RuneCountInString(name) > maxName:
		return fmt.Sprintf("must have at most %d characters", maxName)
	}
	for _, c := range name {
		if !unicode.IsPrint(c) {
			return fmt.Sprintf("must have printable characters and single spaces only; U+%04X is neither", c)
		}
	}
	return lookFault(name)
}

func (k *checker) description(p *path, text string) { k.text(p, text, maxDescription) }

// text checks a text that may be empty and may have several lines.
func (k *checker) text(p *path, text string, longest int) {
	if utf8.RuneCountInString(text) > longest {
		k.on(p, "must have at most %d characters", longest)
		return
	}
	for _, c := range text {
		if escaped(c) && c != '\n' && c != '\t' && c != '\u2028' && c != '\u2029' || c == utf8.RuneError {
			k.on(p, "must not hold the character U+%04X", c)
			return
		}
	}
}

func (k *checker) email(p *path, address string) {
	if len(address) > maxEmail || !email.MatchString(address) {
		k.on(p, "must be an e-mail address, like ada@example.com")
	}
}

// labels checks a list of names without repetition.
func (k *checker) labels(p *path, labels []string) {
	seen := map[string]bool{}
	for i, label := range labels {
		if k.name(p.item(i), label) {
			k.once(p.item(i), label, label, seen)
		}
	}
}

// once reports what stands in a list a second time, by the form that counts.
func (k *checker) once(p *path, text, form string, seen map[string]bool) bool {
	twice := seen[form]
	seen[form] = true
	if twice {
		k.on(p, "%q stands twice", text)
	}
	return !twice
}

// oneOf reports a word that is not in the list.
func (k *checker) oneOf(p *path, word string, words []string) {
	if slices.Contains(words, word) {
		return
	}
	suggestion := ""
	if near, ok := nearest(word, words); ok {
		suggestion = fmt.Sprintf("; did you mean %q?", near)
	}
	k.on(p, "%q is none of %s%s", word, listed(words), suggestion)
}
