package admin_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/sidecar/admin"
)

const (
	echo = `{"name": "Echo", "suffix": "echo", "backend": {"url": "https://echo.example.org"}, "operations": [{"name": "Say", "method": "POST", "template": "/say"}]}`
	free = `{"name": "Free", "apis": ["Demo"]}`
)

func TestObjects(t *testing.T) {
	l := open(t).socket()
	for name, tc := range map[string]struct {
		path, spec, changed, unlike string
		name, kind, at, near        string
	}{
		"apis": {"/v1/apis", echo, strings.Replace(echo, "/say", "/tell", 1), `"template":"/tell"`, "Echo", "api", "/v1/apis/Echo", "/v1/apis/Ecco"},
		"products": {"/v1/products", free, `{"name": "Free", "apis": ["Demo"], "price": "0 EUR"}`, `"price":"0 EUR"`,
			"Free", "product", "/v1/products/Free", "/v1/products/free"},
		"groups": {"/v1/groups", `{"name": "R/D & co."}`, `{"name": "R/D & co.", "description": "research"}`, `"description":"research"`,
			"R/D & co.", "group", "/v1/groups/R%2FD%20&%20co.", "/v1/groups/R%2FD%20and%20co."},
		"developers": {"/v1/developers", `{"email": "ada@example.org"}`, `{"email": "ada@example.org", "name": "Ada"}`, `"name":"Ada"`,
			"ada@example.org", "developer", "/v1/developers/ada@example.org", "/v1/developers/ida@example.org"},
	} {
		t.Run(name, func(t *testing.T) {
			l := l
			l.t = t
			made := l.call("POST", tc.path, tc.spec)
			o := read[admin.Object](made, http.StatusCreated)
			if o.Name != tc.name || o.Kind != tc.kind || o.Source != "" || o.Revision == 0 || o.Created.IsZero() || o.Updated != o.Created {
				t.Errorf("made: %+v", o)
			}
			if at := made.header.Get("Location"); at != tc.at || made.header.Get("ETag") != etag(o.Revision) {
				t.Errorf("made at %q, ETag %q", at, made.header.Get("ETag"))
			}
			got := l.call("GET", tc.at, "")
			if diff := cmp.Diff(o, read[admin.Object](got, http.StatusOK)); diff != "" || got.header.Get("ETag") != etag(o.Revision) {
				t.Errorf("(-made +read), ETag %s:\n%s", got.header.Get("ETag"), diff)
			}
			l.call("POST", tc.path, tc.spec).problem(409, "exists", `"`+tc.name+`" already`)
			if near := l.call("GET", tc.near, "").problem(404, "not_found", "did you mean"); !strings.Contains(near.Detail, `"`+tc.name+`"`) {
				t.Errorf("a name that is near: %s", near.Detail)
			}

			first := etag(o.Revision)
			put := l.call("PUT", tc.at, tc.changed, "If-Match", first)
			second := put.header.Get("ETag")
			if changed := read[admin.Object](put, http.StatusOK); changed.Revision <= o.Revision || second != etag(changed.Revision) || !strings.Contains(string(changed.Spec), tc.unlike) {
				t.Errorf("replaced: %+v %s", changed, changed.Spec)
			}
			if same := read[admin.Object](l.call("PUT", tc.at, tc.changed), http.StatusOK); etag(same.Revision) != second {
				t.Errorf("the same again has the revision %d", same.Revision)
			}
			for _, other := range []string{first, `"0"`, `W/` + second, strings.Trim(second, `"`), `"x"`, `"0` + second[1:]} {
				l.call("PUT", tc.at, tc.spec, "If-Match", other).problem(412, "moved", "")
				l.call("DELETE", tc.at, "", "If-Match", other).problem(412, "moved", "")
			}
			l.call("PUT", tc.at, tc.changed, "If-None-Match", "*").problem(412, "moved", "only creates")
			l.call("PUT", tc.near, tc.changed).problem(404, "not_found", "")

			if gone := l.call("DELETE", tc.at, "", "If-Match", second).is(http.StatusNoContent); len(gone.body) != 0 {
				t.Errorf("deleted: %s", gone.body)
			}
			l.call("GET", tc.at, "").problem(404, "not_found", "")
			l.call("DELETE", tc.at, "").problem(404, "not_found", "")
			again := l.call("PUT", tc.at, tc.spec, "If-None-Match", "*").is(http.StatusCreated)
			if again.header.Get("Location") != tc.at {
				t.Errorf("made again at %q", again.header.Get("Location"))
			}
			l.call("DELETE", tc.at, "", "If-Match", "*").is(http.StatusNoContent)
			l.call("PUT", tc.near, tc.spec, "If-None-Match", "*").problem(422, "invalid", "as in the path")
		})
	}
}

func TestTheOrganization(t *testing.T) {
	o := open(t)
	l := o.socket()
	const mine = `{"name": "Mine", "administrator": "me@example.org"}`
	l.call("PUT", "/v1/organization", mine).problem(409, "managed_elsewhere", "people.yaml")
	taken := l.call("PUT", "/v1/organization?take_over=true", mine).is(200)
	if got := read[admin.Object](taken, 200); got.Kind != "organization" || got.Name != "" || got.Source != "" {
		t.Errorf("taken over: %+v", got)
	}
	l.call("DELETE", "/v1/organization", "").problem(405, "method_unknown", "GET, HEAD, PUT")
	l.call("PUT", "/v1/organization", mine, "If-Match", `"1"`).problem(412, "moved", "")
}

func TestAnEmptyStore(t *testing.T) {
	o := bare(t)
	l := o.socket()
	l.call("GET", "/v1/organization", "").problem(404, "not_found", "PUT /v1/organization makes it")
	made := l.call("PUT", "/v1/organization", `{"name": "New", "administrator": "me@example.org"}`).is(201)
	if made.header.Get("Location") != "/v1/organization" || made.header.Get("ETag") != `"1"` {
		t.Errorf("made: %v", made.header)
	}
	l.call("PUT", "/v1/organization", `{"name": "New", "administrator": "me@example.org"}`, "If-None-Match", "*").problem(412, "moved", "")
	for _, path := range []string{"apis", "products", "groups", "developers", "subscriptions", "tokens"} {
		if text := string(l.call("GET", "/v1/"+path, "").is(200).body); text != `{"items":[]}`+"\n" {
			t.Errorf("%s: %s", path, text)
		}
	}
	text := l.call("GET", "/v1/catalog", "", "Accept", "application/yaml").is(200)
	if want := "organization:\n  name: New\n  administrator: me@example.org\n"; !strings.HasPrefix(string(text.body), want) {
		t.Errorf("export: %s", text.body)
	}
}

func TestMistakesInSpecs(t *testing.T) {
	l := open(t).socket()
	for name, tc := range map[string]struct{ path, spec, field, message string }{
		"unknown field":      {"/v1/apis", strings.Replace(echo, `"suffix"`, `"sufix"`, 1), "sufix", "suffix"},
		"a deep one":         {"/v1/apis", strings.Replace(echo, `"url"`, `"URL": "x", "url"`, 1), "backend.URL", ""},
		"wrong type":         {"/v1/apis", strings.Replace(echo, `"suffix": "echo"`, `"suffix": ["echo"]`, 1), "suffix", ""},
		"wrong type in list": {"/v1/apis", strings.Replace(echo, `"method": "POST"`, `"method": 1`, 1), "operations[0].method", ""},
		"not a mapping":      {"/v1/apis", `[]`, "", ""},
		"null":               {"/v1/developers", `null`, "", ""},
		"text":               {"/v1/developers", `"ada"`, "", ""},
		"no such API":        {"/v1/products", `{"name": "P", "apis": ["Dema"]}`, "apis[0]", "Demo"},
		"no such group":      {"/v1/developers", `{"email": "b@example.org", "groups": ["Gusts"]}`, "groups[0]", "no group"},
		"metadata service":   {"/v1/apis", strings.Replace(echo, "echo.example.org", "169.254.169.254", 1), "backend.url", ""},
		"invisible":          {"/v1/products", "{\"name\": \"Fr\\u200bee\", \"apis\": []}", "name", ""},
		"bidi":               {"/v1/products", "{\"name\": \"\\u202eeerF\", \"apis\": []}", "name", ""},
		"zero byte":          {"/v1/products", "{\"name\": \"Fr\\u0000ee\", \"apis\": []}", "name", ""},
		"half a character":   {"/v1/groups", "{\"name\": \"A\\ud83d\"}", "", ""},
		"mixed scripts":      {"/v1/products", `{"name": "Stаrter", "apis": []}`, "name", ""}, // a Cyrillic а
		"twice":              {"/v1/groups", `{"name": "A", "name": "B"}`, "name", ""},
	} {
		t.Run(name, func(t *testing.T) {
			l := l
			l.t = t
			l.call("POST", tc.path, tc.spec).field(tc.field, tc.message)
		})
	}
	// What only looks like another one, in one script.
	l.call("POST", "/v1/groups", `{"name": "ΑΒΕ"}`).is(201) // Greek
	l.call("POST", "/v1/groups", `{"name": "ABE"}`).field("name", "looks like")
	// JSON's way to write what is above U+FFFF.
	if o := read[admin.Object](l.call("POST", "/v1/groups", `{"name": "Fun", "description": "\ud83d\ude80 \\ud83d\\ude80"}`), 201); !strings.Contains(string(o.Spec), `"🚀 \\ud83d\\ude80"`) {
		t.Errorf("a pair of surrogates: %s", o.Spec)
	}
	l.call("POST", "/v1/groups", "name: A", "Content-Type", "text/plain").problem(415, "content_type", "must be application/json (")
	l.call("POST", "/v1/groups", "name=A", "Content-Type", "application/x-www-form-urlencoded").problem(415, "content_type", "")
	l.call("POST", "/v1/groups", "name: A", "Content-Type", "/").problem(415, "content_type", "")
	l.call("POST", "/v1/groups", `{"name": "A", "description": "`+strings.Repeat("x", 1<<20)+`"}`).problem(413, "too_large", "1048576")
	// An API may be larger, but for its fields.
	l.call("POST", "/v1/apis", strings.Replace(echo, `"name"`, `"description": "`+strings.Repeat("x", 1<<20)+`", "name"`, 1)).field("description", "")
	l.call("POST", "/v1/apis", strings.Replace(echo, `"name"`, `"description": "`+strings.Repeat("x", 4<<20)+`", "name"`, 1)).problem(413, "too_large", "4194304")
}

func TestWhatIsInUseStays(t *testing.T) {
	l := open(t).socket()
	l.call("POST", "/v1/apis", echo).is(201)
	l.call("POST", "/v1/products", `{"name": "P", "apis": ["Echo"]}`).is(201)
	l.call("DELETE", "/v1/apis/Echo", "").problem(409, "in_use", `product`)
	l.call("DELETE", "/v1/developers/a@example.org?take_over=true", "").problem(409, "in_use", `subscription`)
	l.call("DELETE", "/v1/developers/a@example.org", "").problem(409, "managed_elsewhere", "people.yaml")
}

// etag is that of a revision.
func etag(revision uint64) string { return fmt.Sprintf(`"%d"`, revision) }

func TestOperations(t *testing.T) {
	l := open(t).socket()
	l.call("POST", "/v1/apis", echo).is(201)
	const at = "/v1/apis/Echo/operations"
	made := l.call("POST", at, `{"name": "Ask why", "method": "GET", "template": "/ask"}`)
	o := read[admin.Object](made, 201)
	if o.Kind != "operation" || o.Name != "Ask why" || o.API != "Echo" || made.header.Get("ETag") != etag(o.Revision) || made.header.Get("Location") != at+"/Ask%20why" {
		t.Errorf("made: %+v, %v", o, made.header)
	}
	if got := read[admin.Object](l.call("GET", at+"/Ask%20why", ""), 200); cmp.Diff(o, got) != "" {
		t.Errorf("(-made +read):\n%s", cmp.Diff(o, got))
	}
	l.call("POST", at, `{"name": "Ask why", "method": "GET", "template": "/why"}`).problem(409, "exists", "")
	l.call("GET", at+"/Ask", "").problem(404, "not_found", `there is no operation "Ask" of the API "Echo"; did you mean "Ask why"?`)
	l.call("GET", "/v1/apis/Ecko/operations", "").problem(404, "not_found", `there is no API "Ecko"; did you mean "Echo"?`)

	l.call("POST", at, `{"name": "Bad", "method": "GET", "template": "/bad", "methd": "GET"}`).field("methd", "method")
	l.call("POST", at, `{"name": "Bad", "method": "FETCH", "template": "/bad"}`).field("method", "")
	l.call("POST", at, `{"method": "GET", "template": "/bad"}`).field("name", "")
	l.call("POST", at, `[1]`).field("", "mapping")
	l.call("POST", at, `{"name": "Twin", "method": "GET", "template": "/ask"}`).problem(422, "invalid", "")

	put := l.call("PUT", at+"/Ask%20why", `{"name": "Ask why", "method": "GET", "template": "/why"}`, "If-Match", etag(o.Revision))
	if changed := read[admin.Object](put, 200); changed.Revision <= o.Revision || !strings.Contains(string(changed.Spec), `"/why"`) {
		t.Errorf("replaced: %+v %s", changed, changed.Spec)
	}
	l.call("PUT", at+"/Ask%20why", `{"name": "Ask why", "method": "GET", "template": "/y"}`, "If-Match", etag(o.Revision)).problem(412, "moved", "")
	l.call("PUT", at+"/Ask%20why", `{"name": "Ask", "method": "GET", "template": "/y"}`).field("name", "as in the path")
	l.call("PUT", at+"/New", `{"name": "New", "method": "GET", "template": "/new"}`).problem(404, "not_found", "")
	l.call("PUT", at+"/New", `{"name": "New", "method": "GET", "template": "/new"}`, "If-None-Match", "*").is(201)
	l.call("PUT", at+"/New", `{"name": "New", "method": "GET", "template": "/new"}`, "If-None-Match", "*").problem(412, "moved", "")

	list := read[admin.List[admin.Object]](l.call("GET", at+"?limit=2", ""), 200)
	if len(list.Items) != 2 || list.Items[0].Name != "Ask why" || list.Items[1].Name != "New" || list.Next != "New" {
		t.Errorf("the first page: %+v", list)
	}
	list = read[admin.List[admin.Object]](l.call("GET", at+"?limit=2&after=New", ""), 200)
	if len(list.Items) != 1 || list.Items[0].Name != "Say" || list.Next != "" {
		t.Errorf("the second page: %+v", list)
	}
	l.call("DELETE", at+"/New", "", "If-Match", `"1"`).problem(412, "moved", "")
	for _, name := range []string{"New", "Ask%20why"} {
		l.call("DELETE", at+"/"+name, "").is(204)
	}
	l.call("DELETE", at+"/New", "").problem(404, "not_found", "")
	l.call("PUT", "/v1/apis/Demo/operations/Call", `{"name": "Call", "method": "GET", "template": "/call"}`).problem(409, "managed_elsewhere", "")
	l.call("PUT", "/v1/apis/Demo/operations/Call?take_over=true", `{"name": "Call", "method": "GET", "template": "/call"}`).is(200)
}

// Operations of one API that are made at once are all there.
func TestOperationsMadeAtOnce(t *testing.T) {
	l := open(t).socket()
	l.call("POST", "/v1/apis", echo).is(201)
	const many = 4
	var group sync.WaitGroup
	for i := range many {
		group.Go(func() {
			l.call("POST", "/v1/apis/Echo/operations", fmt.Sprintf(`{"name": "At %d", "method": "GET", "template": "/at/%d"}`, i, i))
		})
	}
	group.Wait()
	var spec struct{ Operations []json.RawMessage }
	if err := json.Unmarshal(read[admin.Object](l.call("GET", "/v1/apis/Echo", ""), 200).Spec, &spec); err != nil || len(spec.Operations) != 1+many {
		t.Errorf("%d operations, want %d: %v", len(spec.Operations), 1+many, err)
	}
}

func TestPages(t *testing.T) {
	l := open(t).socket()
	want := map[string]bool{"a@example.org": true}
	for i := range 249 {
		email := fmt.Sprintf("d%03d@example.org", i)
		want[email] = true
		l.call("POST", "/v1/developers", `{"email": "`+email+`"}`).is(201)
	}
	sizes, after, got := []int{}, "", map[string]bool{}
	for {
		path := "/v1/developers"
		if after != "" {
			path += "?after=" + after
		}
		list := read[admin.List[admin.Object]](l.call("GET", path, ""), 200)
		sizes = append(sizes, len(list.Items))
		for _, o := range list.Items {
			if got[o.Name] {
				t.Errorf("%s is there twice", o.Name)
			}
			got[o.Name] = true
		}
		if after = list.Next; after == "" {
			break
		}
	}
	if diff := cmp.Diff([]int{100, 100, 50}, sizes); diff != "" {
		t.Errorf("sizes of pages (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("all developers (-want +got):\n%s", diff)
	}
	if list := read[admin.List[admin.Object]](l.call("GET", "/v1/developers?limit=250", ""), 200); len(list.Items) != 250 || list.Next != "" {
		t.Errorf("a page of all: %d, then %q", len(list.Items), list.Next)
	}
	for _, limit := range []string{"0", "-1", "1001", "x", "1.5", "99999999999999999999"} {
		l.call("GET", "/v1/developers?limit="+limit, "").problem(422, "invalid", "query.limit")
	}
}
