package emulator_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/emulator"
)

// The vectors of the guide's experiment: 8 columns, unigrams and bigrams.
func TestFeatureHashing(t *testing.T) {
	for text, want := range map[string]string{
		"This is a good day": "[1 1 2 2 0 2 0 1]",
		"I loved this book":  "[0 1 1 2 1 0 2 0]",
		"good":               "[0 1 0 0 0 0 0 0]",
		" good ":             "[0 1 0 0 0 0 0 0]",
		"":                   "[0 0 0 0 0 0 0 0]",
	} {
		got := fmt.Sprint(emulator.FeatureHashing{Bits: 3}.Counts(text))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Counts(%q) (-want +got):\n%s", text, diff)
		}
	}
	if got := fmt.Sprint(emulator.FeatureHashing{Bits: 3, NumericTokens: true}.Counts("13")); got != "[0 0 0 0 0 1 0 0]" {
		t.Errorf("Counts(13) with numeric tokens = %s, want bucket 13&7", got)
	}
}

func TestExecuteForms(t *testing.T) {
	s := serve(t, emulator.Config{})
	const columns = `"ColumnNames":["Col2","Col2_HashingFeature.0","Col2_HashingFeature.1","Col2_HashingFeature.2","Col2_HashingFeature.3",` +
		`"Col2_HashingFeature.4","Col2_HashingFeature.5","Col2_HashingFeature.6","Col2_HashingFeature.7"]`
	const types = `,"ColumnTypes":["String","Int32","Int32","Int32","Int32","Int32","Int32","Int32","Int32"]`
	const values = `,"Values":[["This is a good day","1","1","2","2","0","2","0","1"]]`
	const plain = `{"Results":{"output1":{"type":"table","value":{` + columns + values + `}}}}`
	const detailed = `{"Results":{"output1":{"type":"table","value":{` + columns + types + values + `}}}}`
	const list = `{"Results":{"output1":[{"Col2":"This is a good day","Col2_HashingFeature.0":"1","Col2_HashingFeature.1":"1",` +
		`"Col2_HashingFeature.2":"2","Col2_HashingFeature.3":"2","Col2_HashingFeature.4":"0","Col2_HashingFeature.5":"2",` +
		`"Col2_HashingFeature.6":"0","Col2_HashingFeature.7":"1"}]}}`
	const swaggerForm = `{"Inputs":{"input1":[{"Col2":"This is a good day"}]}}`
	for name, c := range map[string]struct{ path, body, want string }{
		"table":                    {base + "/execute?api-version=2.0", tableForm, plain},
		"details":                  {base + "/execute?api-version=2.0&details=true", tableForm, detailed},
		"details=false":            {base + "/execute?api-version=2.0&details=false", tableForm, plain},
		"swagger":                  {base + "/execute?api-version=2.0&format=swagger", swaggerForm, list},
		"both":                     {base + "/execute?api-version=2.0&details=true&format=swagger", swaggerForm, list},
		"newer form":               {newer + "/execute?details=true&api-version=2.0", tableForm, detailed},
		"swagger in, table out":    {base + "/execute?api-version=2.0", swaggerForm, plain},
		"words in upper case":      {strings.ToUpper(base[:12]) + base[12:] + "/execute?api-version=2.0", tableForm, ""},
		"service id in upper case": {base[:55] + strings.ToUpper(base[55:]) + "/execute?api-version=2.0", tableForm, plain},
	} {
		t.Run(name, func(t *testing.T) {
			a := s.call("POST", c.path, c.body)
			if c.want == "" { // only ids are GUIDs
				if got := outcome(t, a); got != "Not Found NotFound" {
					t.Errorf("outcome %q, want 404", got)
				}
				return
			}
			if a.status != 200 {
				t.Fatalf("status %d: %s", a.status, a.body)
			}
			if diff := cmp.Diff(c.want, a.body); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		})
	}
}

// Output scalars are strings whatever the input's were.
func TestScalars(t *testing.T) {
	s := serve(t, emulator.Config{})
	a := s.call("POST", base+"/execute?api-version=2.0", `{"Inputs":{"input1":[{"Col2":null},{"Col2":1.50},{"Col2":true},{"Col2":"<&>\u00e9"}]}}`)
	var got struct {
		Results struct {
			Output1 struct{ Value struct{ Values [][]string } }
		}
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	var texts []string
	for _, row := range got.Results.Output1.Value.Values {
		texts = append(texts, row[0])
	}
	if diff := cmp.Diff([]string{"", "1.50", "true", "<&>é"}, texts); diff != "" {
		t.Errorf("texts (-want +got):\n%s", diff)
	}
	if !strings.Contains(a.body, "<&>é") {
		t.Errorf("escaped for HTML: %s", a.body)
	}
}

func TestExecuteBodies(t *testing.T) {
	s := serve(t, emulator.Config{})
	table := func(rest string) string { return `{"Inputs":{"input1":` + rest + `}}` }
	for name, c := range map[string]struct{ body, want string }{
		"no GlobalParameters":  {table(`{"ColumnNames":["Col2"],"Values":[["x"]]}`), "OK"},
		"null parameters":      {`{"Inputs":{"input1":[{"Col2":"x"}]},"GlobalParameters":null}`, "OK"},
		"no rows":              {table(`{"ColumnNames":["Col2"],"Values":[]}`), "OK"},
		"a number":             {table(`{"ColumnNames":["Col2"],"Values":[[7]]}`), "OK"},
		"null scalar":          {table(`{"ColumnNames":["Col2"],"Values":[[null]]}`), "OK"},
		"empty":                {``, "Bad Request BadArgument RequestBodyInvalid"},
		"not JSON":             {`Inputs`, "Bad Request BadArgument RequestBodyInvalid"},
		"null":                 {`null`, "Bad Request BadArgument RequestBodyInvalid"},
		"array":                {`[]`, "Bad Request BadArgument RequestBodyInvalid"},
		"more behind":          {tableForm + `{}`, "Bad Request BadArgument RequestBodyInvalid"},
		"not UTF-8":            {table("[{\"Col2\":\"\xff\"}]"), "Bad Request BadArgument RequestBodyInvalid"},
		"unknown member":       {`{"Inputs":{"input1":[]},"Extra":1}`, "Bad Request BadArgument UnexpectedParameter"},
		"lower case":           {`{"inputs":{"input1":[]}}`, "Bad Request BadArgument UnexpectedParameter"},
		"parameter":            {`{"Inputs":{"input1":[]},"GlobalParameters":{"a":1}}`, "Bad Request BadArgument UnexpectedParameter"},
		"parameters list":      {`{"Inputs":{"input1":[]},"GlobalParameters":[]}`, "Bad Request BadArgument RequestBodyInvalid"},
		"no Inputs":            {`{}`, "Bad Request BadArgument MissingRequestInput"},
		"empty Inputs":         {`{"Inputs":{}}`, "Bad Request BadArgument MissingRequestInput"},
		"null input":           {table(`null`), "Bad Request BadArgument MissingRequestInput"},
		"wrong name":           {`{"Inputs":{"input2":[]}}`, "Bad Request BadArgument InvalidInputNames"},
		"one name too many":    {`{"Inputs":{"input1":[],"input2":[]}}`, "Bad Request BadArgument InvalidInputNames"},
		"Inputs is a list":     {`{"Inputs":[]}`, "Bad Request BadArgument RequestBodyInvalid"},
		"input is a string":    {table(`"x"`), "Bad Request BadArgument RequestBodyInvalid"},
		"wrong column":         {table(`{"ColumnNames":["Col1"],"Values":[["x"]]}`), "Bad Request BadUserArgument InputMismatchError"},
		"column too many":      {table(`{"ColumnNames":["Col2","Col3"],"Values":[["x","y"]]}`), "Bad Request BadUserArgument InputMismatchError"},
		"no values":            {table(`{"ColumnNames":["Col2"]}`), "Bad Request BadUserArgument InputMismatchError"},
		"ragged row":           {table(`{"ColumnNames":["Col2"],"Values":[["x","y"]]}`), "Bad Request BadUserArgument InputParseError"},
		"empty row":            {table(`{"ColumnNames":["Col2"],"Values":[[]]}`), "Bad Request BadUserArgument InputParseError"},
		"nested value":         {table(`{"ColumnNames":["Col2"],"Values":[[["x"]]]}`), "Bad Request BadUserArgument InputParseError"},
		"swagger wrong column": {table(`[{"Col1":"x"}]`), "Bad Request BadUserArgument InputMismatchError"},
		"swagger more columns": {table(`[{"Col2":"x","Col3":"y"}]`), "Bad Request BadUserArgument InputMismatchError"},
		"swagger null row":     {table(`[null]`), "Bad Request BadUserArgument InputMismatchError"},
		"swagger nested value": {table(`[{"Col2":{}}]`), "Bad Request BadUserArgument InputParseError"},
	} {
		t.Run(name, func(t *testing.T) {
			a := s.call("POST", base+"/execute?api-version=2.0", c.body)
			if diff := cmp.Diff(c.want, outcome(t, a)); diff != "" {
				t.Errorf("outcome (-want +got):\n%s\n%s", diff, a.body)
			}
		})
	}
}

func TestQueriesAndPaths(t *testing.T) {
	s := serve(t, emulator.Config{})
	const other = "ffffffffffffffffffffffffffffffff"
	for name, c := range map[string]struct{ method, path, want string }{
		"no version":           {"POST", base + "/execute", "Bad Request BadArgument BadVersionCall"},
		"wrong version":        {"POST", base + "/execute?api-version=1.0", "Bad Request BadArgument BadVersionCall"},
		"unknown parameter":    {"POST", base + "/execute?api-version=2.0&verbose=1", "Bad Request BadArgument InvalidQueryParameter"},
		"details on a job":     {"GET", base + "/jobs/" + unknownJob + "?api-version=2.0&details=true", "Bad Request BadArgument InvalidQueryParameter"},
		"twice":                {"POST", base + "/execute?api-version=2.0&api-version=2.0", "Bad Request BadArgument InvalidQueryParameter"},
		"details=maybe":        {"POST", base + "/execute?api-version=2.0&details=maybe", "Bad Request BadArgument InvalidQueryParameter"},
		"format=xml":           {"POST", base + "/execute?api-version=2.0&format=xml", "Bad Request BadArgument InvalidQueryParameter"},
		"query not decodable":  {"POST", base + "/execute?api-version=2.0&%zz", "Bad Request BadArgument InvalidQueryParameter"},
		"root":                 {"GET", "/", "Not Found NotFound"},
		"unknown operation":    {"POST", base + "/score?api-version=2.0", "Not Found NotFound"},
		"start on its own":     {"POST", base + "/start?api-version=2.0", "Not Found NotFound"},
		"double slash":         {"POST", "/" + base + "/execute?api-version=2.0", "Not Found NotFound"},
		"escaped path":         {"POST", base + "/%65xecute?api-version=2.0", "Not Found NotFound"},
		"trailing slash":       {"POST", base + "/execute/?api-version=2.0", "Not Found NotFound"},
		"method":               {"GET", base + "/execute?api-version=2.0", "Method Not Allowed MethodNotAllowed"},
		"other workspace":      {"POST", "/workspaces/" + other + "/services/" + emulator.DefaultService + "/execute?api-version=2.0", "Not Found NotFound WorkspaceNotFound"},
		"other service":        {"POST", "/workspaces/" + emulator.DefaultWorkspace + "/services/" + other + "/execute?api-version=2.0", "Not Found NotFound WebServiceIdNotFoundInWorkspace"},
		"dashed service":       {"POST", "/workspaces/" + emulator.DefaultWorkspace + "/services/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0/execute?api-version=2.0", "Bad Request BadArgument WebServiceIdInvalid"},
		"other subscription":   {"POST", "/subscriptions/" + other + "/services/" + emulator.DefaultService + "/execute?api-version=2.0", "Not Found NotFound WebServiceNotFound"},
		"status without id":    {"GET", base + "/jobs?api-version=2.0", "Bad Request BadArgument MissingJobId"},
		"status, empty id":     {"GET", base + "/jobs/?api-version=2.0", "Bad Request BadArgument MissingJobId"},
		"start without id":     {"POST", base + "/jobs//start?api-version=2.0", "Bad Request BadArgument MissingJobId"},
		"delete without id":    {"DELETE", base + "/jobs?api-version=2.0", "Bad Request BadArgument MissingJobId"},
		"status, unknown job":  {"GET", base + "/jobs/" + unknownJob + "?api-version=2.0", "Not Found NotFound JobNotFound"},
		"start, unknown job":   {"POST", base + "/jobs/" + unknownJob + "/start?api-version=2.0", "Not Found NotFound JobNotFound"},
		"delete, unknown job":  {"DELETE", base + "/jobs/" + unknownJob + "?api-version=2.0", "Not Found NotFound JobNotFound"},
		"put on a job":         {"PUT", base + "/jobs/" + unknownJob + "?api-version=2.0", "Method Not Allowed MethodNotAllowed"},
		"swagger parameter":    {"GET", base + "/swagger.json?x=1", "Bad Request BadArgument InvalidQueryParameter"},
		"swagger of another":   {"GET", "/workspaces/" + other + "/services/" + emulator.DefaultService + "/swagger.json", "Not Found NotFound WorkspaceNotFound"},
		"swagger of the wrong": {"POST", base + "/swagger.json", "Method Not Allowed MethodNotAllowed"},
	} {
		t.Run(name, func(t *testing.T) {
			a := s.call(c.method, c.path, "")
			if diff := cmp.Diff(c.want, outcome(t, a)); diff != "" {
				t.Errorf("outcome (-want +got):\n%s\n%s", diff, a.body)
			}
		})
	}
}

func TestAuthorization(t *testing.T) {
	s := serve(t, emulator.Config{})
	const want401 = `{"error":{"code":"Unauthorized","message":"Request is unauthorized to access resource.",` +
		`"details":[{"code":"ScoreRequestUnauthorized","message":"Invalid credentials provided."}]}}`
	for name, c := range map[string]struct {
		value string
		want  int
	}{
		"primary":     {"Bearer " + primary, 200},
		"secondary":   {"Bearer " + secondary, 200},
		"lower case":  {"bearer " + primary, 200},
		"none":        {"", 401},
		"wrong key":   {"Bearer wrong", 401},
		"empty key":   {"Bearer ", 401},
		"scheme only": {"Bearer", 401},
		"no scheme":   {primary, 401},
		"basic":       {"Basic " + primary, 401},
		"with a tail": {"Bearer " + primary + " x", 401},
	} {
		t.Run(name, func(t *testing.T) {
			a := s.call("POST", base+"/execute?api-version=2.0", tableForm, "Authorization: "+c.value)
			if a.status != c.want {
				t.Errorf("status %d, want %d: %s", a.status, c.want, a.body)
			}
			if a.status == 401 && a.body != want401 {
				t.Errorf("401 body (-want +got):\n%s", cmp.Diff(want401, a.body))
			}
		})
	}
	t.Run("before existence", func(t *testing.T) { // who has no key learns nothing about what exists
		a := s.call("GET", base[:44]+"/services/x/jobs/1?api-version=9", "", "Authorization: ")
		if a.status != 401 {
			t.Errorf("status %d, want 401", a.status)
		}
	})
	t.Run("two headers", func(t *testing.T) {
		if a := s.raw("POST "+base+"/execute?api-version=2.0 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+primary+
			"\r\nAuthorization: Bearer "+primary+"\r\nContent-Length: 0\r\n\r\n", ""); a.status != 401 {
			t.Errorf("status %d, want 401", a.status)
		}
	})
}

// raw sends bytes as they are and reads one answer.
func (s *service) raw(head, body string) answer {
	s.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, head+body); err != nil {
		s.t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(data)}
}

// Header forms that real clients send (AZMLC, .NET, the Java and R samples), and those that nobody does.
func TestContentHeaders(t *testing.T) {
	s := serve(t, emulator.Config{MaxBodyBytes: 4096})
	for name, c := range map[string]struct {
		lines []string
		want  string
	}{
		"charset":        {[]string{"Content-Type: application/json; charset=utf-8"}, "OK"},
		".NET":           {[]string{"Content-Type: application/json; charset=us-ascii"}, "OK"},
		"R":              {[]string{"Content-Type: application/json;charset=UTF8"}, "OK"},
		"Java":           {[]string{"Content-Type: text/json", "Content-Encoding: UTF-8"}, "OK"},
		"typo":           {[]string{"Content-Type: applicaton/json"}, "OK"},
		"form":           {[]string{"Content-Type: application/x-www-form-urlencoded"}, "Bad Request BadArgument RequestBodyInvalid"},
		"none":           {[]string{"Content-Type: "}, "Bad Request BadArgument RequestBodyInvalid"},
		"PowerShell SDK": {[]string{"X-Aml-Sdk: powershell"}, "OK"},
	} {
		t.Run(name, func(t *testing.T) {
			a := s.call("POST", base+"/execute?api-version=2.0", tableForm, c.lines...)
			if diff := cmp.Diff(c.want, outcome(t, a)); diff != "" {
				t.Errorf("outcome (-want +got):\n%s\n%s", diff, a.body)
			}
		})
	}
	head := "POST " + base + "/execute?api-version=2.0 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer " + primary + "\r\n"
	for name, c := range map[string]struct{ head, body, want string }{
		"length":    {fmt.Sprintf("Content-Length: %d\r\n\r\n", len(tableForm)), tableForm, "OK"},
		"chunks":    {"Transfer-Encoding: chunked\r\n\r\n", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(tableForm), tableForm), "Length Required LengthRequired"},
		"no length": {"\r\n", "", "Length Required LengthRequired"},
		"zero":      {"Content-Length: 0\r\n\r\n", "", "Bad Request BadArgument RequestBodyInvalid"},
		"too large": {"Content-Length: 4097\r\n\r\n", strings.Repeat(" ", 4097), "Request Entity Too Large RequestEntityTooLarge"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, outcome(t, s.raw(head+c.head, c.body))); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
		})
	}
}

func TestResponseHeaders(t *testing.T) {
	guid := regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	s := serve(t, emulator.Config{})
	for _, path := range []string{base + "/execute?api-version=2.0", "/nowhere"} {
		a := s.call("POST", path, tableForm)
		if id := a.header.Get("X-Ms-Request-Id"); !guid.MatchString(id) {
			t.Errorf("%s: x-ms-request-id %q, want a GUID", path, id)
		}
		if got := a.header.Get("Content-Type"); got != "application/json; charset=utf-8" || a.header.Get("Date") == "" {
			t.Errorf("%s: content type %q, date %q", path, got, a.header.Get("Date"))
		}
	}
	without := serve(t, emulator.Config{NoRequestID: true})
	if a := without.call("POST", "/nowhere", ""); a.header.Get("X-Ms-Request-Id") != "" {
		t.Error("x-ms-request-id is there although it was switched off")
	}
}

func TestThrottlingIs503(t *testing.T) {
	inside, leave := make(chan struct{}), make(chan struct{})
	s := serve(t, emulator.Config{Concurrency: 1, Fault: func(*http.Request) *emulator.Error {
		inside <- struct{}{}
		<-leave
		return nil
	}})
	first := make(chan answer)
	go func() { first <- s.call("POST", base+"/execute?api-version=2.0", tableForm) }()
	<-inside
	a := s.call("POST", base+"/execute?api-version=2.0", tableForm)
	if got := outcome(t, a); got != "Service Unavailable ServiceUnavailable RequestThrottled" {
		t.Errorf("second call: %q", got)
	}
	if want := "Request was throttled for default endpoint. The maximum concurrency for the endpoint is 1."; !strings.Contains(a.body, want) {
		t.Errorf("body %s lacks %q", a.body, want)
	}
	close(leave)
	if a := <-first; a.status != 200 {
		t.Errorf("first call: status %d", a.status)
	}
}

func TestFault(t *testing.T) {
	for code, want := range map[string]string{
		"BackendScoreTimeout":         "Gateway Timeout GatewayTimeout BackendScoreTimeout",
		"InitializingContainers":      "Service Unavailable InitializingContainers",
		"ModelOutputMetadataMismatch": "Conflict Conflict ModelOutputMetadataMismatch",
		"OutOfMemoryLimit":            "Request Entity Too Large MemoryQuotaViolation OutOfMemoryLimit",
		"InternalError":               "Internal Server Error InternalError",
		"ScoreRequestTimeout":         "Request Timeout RequestTimeout ScoreRequestTimeout",
	} {
		s := serve(t, emulator.Config{Fault: func(*http.Request) *emulator.Error { return emulator.NewError(code) }})
		if diff := cmp.Diff(want, outcome(t, s.call("POST", base+"/execute?api-version=2.0", tableForm))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", code, diff)
		}
	}
}

// What the R and Python clients take out of swagger.json; they send no Authorization.
func TestSwagger(t *testing.T) {
	s := serve(t, emulator.Config{})
	for _, form := range []string{base, newer} {
		a := s.call("GET", form+"/swagger.json", "", "Authorization: ")
		if a.status != 200 {
			t.Fatalf("status %d: %s", a.status, a.body)
		}
		if first := strings.Index(a.body, `"/swagger.json":`); first < 0 || first > strings.Index(a.body, `"/execute?`) ||
			strings.Index(a.body, `"/execute?`) > strings.Index(a.body, `"/jobs?`) {
			t.Error("the execute path is not the second one")
		}
		type item struct {
			Required   []string
			Properties map[string]struct{ Type, Format string }
		}
		type ports struct {
			Properties map[string]struct {
				Items map[string]string
			}
		}
		var doc struct {
			BasePath    string
			Info        struct{ Title, Description string }
			Paths       map[string]map[string]struct{ OperationID string }
			Definitions struct {
				ExecutionRequest                  struct{ Example json.RawMessage }
				ExecutionInputs, ExecutionOutputs ports
				Input1Item, Output1Item           item
			}
		}
		if err := json.Unmarshal([]byte(a.body), &doc); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{
			"base path": doc.BasePath,
			"execute":   doc.Paths["/execute?api-version=2.0&format=swagger"]["post"].OperationID,
			"example":   string(doc.Definitions.ExecutionRequest.Example),
			"input":     doc.Definitions.ExecutionInputs.Properties["input1"].Items["$ref"],
			"output":    doc.Definitions.ExecutionOutputs.Properties["output1"].Items["$ref"],
			"in item":   fmt.Sprint(doc.Definitions.Input1Item),
			"out names": fmt.Sprint(doc.Definitions.Output1Item.Required[:2], len(doc.Definitions.Output1Item.Required)),
			"out type":  fmt.Sprint(doc.Definitions.Output1Item.Properties["Col2_HashingFeature.7"]),
		}
		want := map[string]string{
			"base path": form,
			"execute":   "execute",
			"example":   `{"Inputs":{"input1":[{"Col2":"This is a good day"}]},"GlobalParameters":{}}`,
			"input":     "#/definitions/input1Item",
			"output":    "#/definitions/output1Item",
			"in item":   "{[Col2] map[Col2:{string string}]}",
			"out names": "[Col2 Col2_HashingFeature.0] 9",
			"out type":  "{integer int32}",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("swagger (-want +got):\n%s", diff)
		}
		if doc.Info.Title == "" || doc.Info.Description == "" {
			t.Error("info lacks a title or description")
		}
		example := s.call("POST", form+"/execute?api-version=2.0&format=swagger", string(doc.Definitions.ExecutionRequest.Example))
		if example.status != 200 {
			t.Errorf("the example itself is refused: %s", example.body)
		}
	}
}

// Whatever the body, the answer is a result or an envelope, and a result's every scalar is a string.
func FuzzExecute(f *testing.F) {
	for _, seed := range []string{tableForm, `{"Inputs":{"input1":[{"Col2":"x"}]}}`, `{"Inputs":{"input1":{"ColumnNames":["Col2"],"Values":[[1e9],[null]]}}}`, `{`, `[]`, `{"Inputs":null}`} {
		f.Add([]byte(seed))
	}
	s, err := emulator.New(emulator.Config{PrimaryKey: primary})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r := httptest.NewRequest("POST", base+"/execute?api-version=2.0", strings.NewReader(string(body)))
		r.Header.Set("Authorization", "Bearer "+primary)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Content-Length", fmt.Sprint(len(body)))
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		a := answer{w.Code, w.Header(), w.Body.String()}
		switch a.status {
		case 400:
			outcome(t, a)
		case 200:
			var result struct {
				Results struct {
					Output1 struct{ Value struct{ Values [][]string } }
				}
			}
			if err := json.Unmarshal(w.Body.Bytes(), &result); err != nil {
				t.Errorf("result %s: %v", a.body, err)
			}
		default:
			t.Errorf("status %d: %s", a.status, a.body)
		}
	})
}
