package emulator_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/emulator"
	"github.com/tollgate/tollgate/emulator/azurite"
)

// startStorage runs one Azurite for all tests of the package.
var (
	startStorage = sync.OnceValues(func() (*azurite.Process, error) { return azurite.Start(context.Background(), azurite.Options{}) })
	started      bool
)

func TestMain(m *testing.M) {
	code := m.Run()
	if p, err := startStorage(); started && err == nil {
		p.Close()
	}
	os.Exit(code)
}

// farFuture is when the tests' own SAS expire.
var farFuture = time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC)

// storage is a fresh container.
type storage struct {
	t          *testing.T
	connection string
	url        string
	container  string
	client     *azblob.Client
}

func blobs(t *testing.T) *storage {
	t.Helper()
	started = true
	p, err := startStorage()
	if err != nil {
		t.Fatal(err)
	}
	client, err := azblob.NewClientFromConnectionString(p.ConnectionString, nil)
	if err != nil {
		t.Fatal(err)
	}
	container := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	if _, err := client.CreateContainer(t.Context(), container, nil); err != nil {
		t.Fatal(err)
	}
	return &storage{t, p.ConnectionString, p.URL, container, client}
}

func (s *storage) put(name, content string) {
	s.t.Helper()
	if _, err := s.client.UploadBuffer(s.t.Context(), s.container, name, []byte(content), nil); err != nil {
		s.t.Fatal(err)
	}
}

// ref is a blob by connection string, as the guide's sample sends it.
func (s *storage) ref(name string) string {
	return fmt.Sprintf(`{"ConnectionString":%q,"RelativeLocation":"/%s/%s"}`, s.connection, s.container, name)
}

// sas is a blob by SAS with the permissions.
func (s *storage) sas(name, permissions string) string {
	credential, err := azblob.NewSharedKeyCredential(azurite.Account, azurite.AccountKey)
	if err != nil {
		s.t.Fatal(err)
	}
	token, err := sas.BlobSignatureValues{ExpiryTime: farFuture, Permissions: permissions, ContainerName: s.container, BlobName: name}.SignWithSharedKey(credential)
	if err != nil {
		s.t.Fatal(err)
	}
	return fmt.Sprintf(`{"ConnectionString":null,"RelativeLocation":"/%s/%s","BaseLocation":"%s/","SasBlobToken":"?%s"}`, s.container, name, s.url, token.Encode())
}

const (
	jobs     = base + "/jobs"
	version  = "?api-version=2.0"
	inputCSV = "Col2\nThis is a good day\n\"I loved, this book\"\n"
)

func (s *service) submit(input, output string) string {
	s.t.Helper()
	a := s.call("POST", jobs+version, `{"Input":`+input+`,"Outputs":{"output1":`+output+`},"GlobalParameters":{}}`)
	if a.status != 200 || len(a.body) != 34 || a.body[0] != '"' || a.body[33] != '"' || strings.Trim(a.body[1:33], "0123456789abcdef") != "" {
		s.t.Fatalf("submit: %d %q, want 32 hex digits in quotes and nothing more", a.status, a.body)
	}
	return a.body[1:33]
}

func (s *service) begin(job string) {
	s.t.Helper()
	if a := s.call("POST", jobs+"/"+job+"/start"+version, "", "Content-Type: "); a.status != 200 || a.body != "" {
		s.t.Fatalf("start: %d %q", a.status, a.body)
	}
}

type status struct {
	StatusCode string
	Results    map[string]map[string]*string
	Details    *string
}

func (s *service) state(job string) status {
	s.t.Helper()
	a := s.call("GET", jobs+"/"+job+version, "")
	var got status
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != 200 {
		s.t.Fatalf("status: %d %s (%v)", a.status, a.body, err)
	}
	return got
}

// end asks for the status until the job has ended; each question is a round trip, so this does not spin.
func (s *service) end(job string) status {
	s.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		if got := s.state(job); got.StatusCode != "NotStarted" && got.StatusCode != "Running" {
			return got
		}
	}
	s.t.Fatalf("job %s does not end", job)
	return status{}
}

// download fetches a result as any client does: the three parts glued together, plain GET.
func (s status) download(t *testing.T) string {
	t.Helper()
	r := s.Results["output1"]
	if r == nil || r["BaseLocation"] == nil || r["RelativeLocation"] == nil || r["SasBlobToken"] == nil || r["ConnectionString"] != nil {
		t.Fatalf("results %v", s.Results)
	}
	response, err := http.Get(*r["BaseLocation"] + *r["RelativeLocation"] + *r["SasBlobToken"])
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != 200 {
		t.Fatalf("fetching the result: %d %v", response.StatusCode, err)
	}
	return string(data)
}

const header = "Col2,Col2_HashingFeature.0,Col2_HashingFeature.1,Col2_HashingFeature.2,Col2_HashingFeature.3,Col2_HashingFeature.4," +
	"Col2_HashingFeature.5,Col2_HashingFeature.6,Col2_HashingFeature.7\n"

func TestBatchJobFromSubmitToDelete(t *testing.T) {
	b := blobs(t)
	b.put("in.csv", inputCSV)
	running, leave := make(chan string), make(chan struct{})
	s := serve(t, emulator.Config{Running: func(_ context.Context, job string) { running <- job; <-leave }})

	job := s.submit(b.ref("in.csv"), b.ref("results/out 1.csv"))
	if diff := cmp.Diff(status{StatusCode: "NotStarted"}, s.state(job)); diff != "" {
		t.Errorf("submitted (-want +got):\n%s", diff)
	}
	if a := s.call("GET", jobs+"/"+job+version, ""); a.body != `{"StatusCode":"NotStarted","Results":null,"Details":null}` {
		t.Errorf("status body %s", a.body)
	}
	s.begin(job)
	if got := <-running; got != job {
		t.Errorf("job %q runs, want %q", got, job)
	}
	if diff := cmp.Diff(status{StatusCode: "Running"}, s.state(job)); diff != "" {
		t.Errorf("started (-want +got):\n%s", diff)
	}
	if got := outcome(t, s.call("POST", jobs+"/"+job+"/start"+version, "")); got != "Bad Request InvalidOperation CannotStartJob" {
		t.Errorf("second start: %q", got)
	}
	close(leave)
	finished := s.end(job)
	if finished.StatusCode != "Finished" || finished.Details != nil {
		t.Fatalf("ended as %+v", finished)
	}
	want := header + "This is a good day,1,1,2,2,0,2,0,1\n\"I loved, this book\",1,0,1,0,2,0,3,0\n"
	if diff := cmp.Diff(want, finished.download(t)); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	if base := *finished.Results["output1"]["BaseLocation"]; base != b.url+"/" {
		t.Errorf("BaseLocation %q, want %q", base, b.url+"/")
	}
	if relative := *finished.Results["output1"]["RelativeLocation"]; relative != b.container+"/results/out%201.csv" {
		t.Errorf("RelativeLocation %q: not escaped, or with a second slash", relative)
	}
	token := *finished.Results["output1"]["SasBlobToken"]
	if !strings.HasPrefix(token, "?") || !strings.Contains(token, "&sp=r&") || strings.Contains(token, azurite.AccountKey) {
		t.Error("the token is not a read-only SAS")
	}
	if got := outcome(t, s.call("POST", jobs+"/"+job+"/start"+version, "")); got != "Bad Request InvalidOperation CannotStartJob" {
		t.Errorf("start when finished: %q", got)
	}
	if a := s.call("DELETE", jobs+"/"+strings.ToUpper(job)+version, ""); a.status != 200 || a.body != "" { // a GUID, in either case
		t.Errorf("delete: %d %q", a.status, a.body)
	}
	if got := outcome(t, s.call("GET", jobs+"/"+job+version, "")); got != "Not Found NotFound JobNotFound" {
		t.Errorf("after the delete: %q", got)
	}
}

func TestBatchForms(t *testing.T) {
	b := blobs(t)
	b.put("in.csv", "\uFEFFCol2\r\ngood\r\n")
	b.put("in.tsv", "Col2\ngood,\n")
	b.put("empty.csv", "Col2\n")
	s := serve(t, emulator.Config{Storage: b.connection, StorageContainer: b.container, StartStatus: 204, DeleteStatus: 204})
	const row = "good,0,1,0,0,0,0,0,0\n"
	multi := func(in, outputs string) string {
		return `{"Input":null,"Inputs":{"input1":` + in + `},"Outputs":` + outputs + `,"GlobalParameters":null}`
	}
	out := func(ref string) string { return `{"output1":` + ref + `}` }
	for name, c := range map[string]struct{ body, want string }{
		"Inputs":        {multi(b.ref("in.csv"), out(b.ref("a.csv"))), header + row},
		"input by SAS":  {multi(b.sas("in.csv", "r"), out(b.ref("b.csv"))), header + row},
		"output by SAS": {multi(b.ref("in.csv"), out(b.sas("c.csv", "rcw"))), header + row},
		"no override":   {multi(b.ref("in.csv"), `null`), header + row},
		"tsv":           {multi(b.ref("in.tsv"), out(b.ref("d.TSV"))), strings.ReplaceAll(header, ",", "\t") + "good,\t0\t0\t1\t0\t0\t0\t0\t0\n"},
		"no rows":       {multi(b.ref("empty.csv"), out(b.ref("e.csv"))), header},
		"arff": {multi(b.ref("in.csv"), out(b.ref("f.arff"))), "@RELATION output1\n\n@ATTRIBUTE 'Col2' STRING\n" +
			"@ATTRIBUTE 'Col2_HashingFeature.0' NUMERIC\n@ATTRIBUTE 'Col2_HashingFeature.1' NUMERIC\n@ATTRIBUTE 'Col2_HashingFeature.2' NUMERIC\n" +
			"@ATTRIBUTE 'Col2_HashingFeature.3' NUMERIC\n@ATTRIBUTE 'Col2_HashingFeature.4' NUMERIC\n@ATTRIBUTE 'Col2_HashingFeature.5' NUMERIC\n" +
			"@ATTRIBUTE 'Col2_HashingFeature.6' NUMERIC\n@ATTRIBUTE 'Col2_HashingFeature.7' NUMERIC\n\n@DATA\n'good',0,1,0,0,0,0,0,0\n"},
	} {
		t.Run(name, func(t *testing.T) {
			a := s.call("POST", newer+"/jobs"+version, c.body)
			if a.status != 200 {
				t.Fatalf("submit: %d %s", a.status, a.body)
			}
			job := strings.Trim(a.body, `"`)
			if a := s.call("POST", jobs+"/"+job+"/start"+version, "{}"); a.status != 204 {
				t.Fatalf("start: %d %s", a.status, a.body)
			}
			if diff := cmp.Diff(c.want, s.end(job).download(t)); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
			if a := s.call("DELETE", jobs+"/"+job+version, ""); a.status != 204 {
				t.Errorf("delete: %d %s", a.status, a.body)
			}
		})
	}
}

func TestSubmitRefuses(t *testing.T) {
	b := blobs(t)
	b.put("in.csv", inputCSV)
	b.put("in.xlsx", "")
	s := serve(t, emulator.Config{})
	in, out := b.ref("in.csv"), b.ref("out.csv")
	one := func(in, out string) string { return `{"Input":` + in + `,"Outputs":{"output1":` + out + `}}` }
	const otherKey = "ZmFrZSBrZXkgZm9yIGEgdGVzdA=="
	for name, c := range map[string]struct{ body, want string }{
		"empty":                  {``, "RequestBodyInvalid"},
		"unknown member":         {`{"Input":` + in + `,"Output":` + out + `}`, "UnexpectedParameter"},
		"parameters":             {`{"Input":` + in + `,"GlobalParameters":{"a":"b"}}`, "UnexpectedParameter"},
		"no input":               {`{"Input":null,"Inputs":null,"Outputs":{"output1":` + out + `}}`, "BatchJobInputsNotSpecified"},
		"both":                   {`{"Input":` + in + `,"Inputs":{"input1":` + in + `}}`, "DuplicateInputInBatchCall"},
		"wrong input name":       {`{"Inputs":{"input2":` + in + `}}`, "InvalidInputNames"},
		"wrong output name":      {`{"Input":` + in + `,"Outputs":{"output2":` + out + `}}`, "InvalidOutputOverrideName"},
		"no output anywhere":     {`{"Input":` + in + `}`, "MissingOutputOverrideSpecification"},
		"null output":            {one(in, `null`), "MissingOutputOverrideSpecification"},
		"output extension":       {one(in, b.ref("out.txt")), "InvalidBlobExtension"},
		"model as data":          {one(in, b.ref("out.ilearner")), "InvalidBlobExtension"},
		"no extension":           {one(in, b.ref("out")), "InvalidBlobExtension"},
		"input extension":        {one(b.ref("in.xlsx"), out), "InvalidBlobExtension"},
		"missing blob":           {one(b.ref("missing.csv"), out), "BlobNotFound"},
		"wrong account key":      {one(strings.Replace(in, azurite.AccountKey, otherKey, 1), out), "BlobNotFound"},
		"wrong SAS":              {one(strings.Replace(b.sas("in.csv", "r"), "sig=", "sig=A", 1), out), "BlobNotFound"},
		"key not base64":         {one(strings.Replace(in, azurite.AccountKey, "not base64!", 1), out), "InvalidBlobConnectionString"},
		"no account key":         {one(strings.Replace(in, "AccountKey", "Key", 1), out), "InvalidBlobConnectionString"},
		"development storage":    {one(`{"ConnectionString":"UseDevelopmentStorage=true","RelativeLocation":"/abc/in.csv"}`, out), "InvalidBlobConnectionString"},
		"output connection":      {one(in, `{"ConnectionString":"nonsense","RelativeLocation":"/abc/out.csv"}`), "InvalidBlobConnectionString"},
		"no location":            {one(`{"ConnectionString":"x=y"}`, out), "InvalidBlob"},
		"container only":         {one(`{"ConnectionString":"x=y","RelativeLocation":"/abc"}`, out), "InvalidBlob"},
		"dots in the location":   {one(`{"ConnectionString":"x=y","RelativeLocation":"/abc/../def/in.csv"}`, out), "InvalidBlob"},
		"nothing but a location": {one(`{"RelativeLocation":"/abc/in.csv"}`, out), "InvalidBlob"},
		"both forms":             {one(strings.Replace(b.sas("in.csv", "r"), "null", `"x=y"`, 1), out), "InvalidBlob"},
		"not a URL":              {one(`{"BaseLocation":"file:///etc/","RelativeLocation":"/abc/in.csv","SasBlobToken":"?sig=x"}`, out), "InvalidBlob"},
		"no signature":           {one(`{"BaseLocation":"http://127.0.0.1/","RelativeLocation":"/abc/in.csv","SasBlobToken":"?sv=x"}`, out), "InvalidBlob"},
		"member of the blob":     {one(`{"ConnectionString":"x=y","RelativeLocation":"/abc/in.csv","Container":"abc"}`, out), "UnexpectedParameter"},
	} {
		t.Run(name, func(t *testing.T) {
			a := s.call("POST", jobs+version, c.body)
			if diff := cmp.Diff("Bad Request BadArgument "+c.want, outcome(t, a)); diff != "" {
				t.Errorf("outcome (-want +got):\n%s\n%s", diff, a.body)
			}
			for _, secret := range []string{azurite.AccountKey, otherKey, "sig=", "AccountKey"} {
				if strings.Contains(a.body, secret) {
					t.Errorf("the answer repeats %q: %s", secret, a.body)
				}
			}
		})
	}
}

func TestFailedJobs(t *testing.T) {
	b := blobs(t)
	b.put("column.csv", "Col1\nx\n")
	b.put("columns.csv", "Col2,Col3\nx,y\n")
	b.put("ragged.csv", "Col2\nx,y\n")
	b.put("quote.csv", "Col2\n\"x\n")
	b.put("nothing.csv", "")
	b.put("large.csv", "Col2\n"+strings.Repeat("x", 1024))
	b.put("good.csv", inputCSV)
	s := serve(t, emulator.Config{MaxBlobBytes: 512})
	nowhere := strings.Replace(b.ref("out.csv"), "/"+b.container+"/", "/no-such-container/", 1)
	for input, c := range map[string]struct{ output, want string }{
		"column.csv":  {b.ref("out.csv"), "InputMismatchError"},
		"columns.csv": {b.ref("out.csv"), "InputMismatchError"},
		"nothing.csv": {b.ref("out.csv"), "InputMismatchError"},
		"ragged.csv":  {b.ref("out.csv"), "line 2 has 2 columns, not 1"},
		"quote.csv":   {b.ref("out.csv"), "InputParseError"},
		"large.csv":   {b.ref("out.csv"), "RequestBodyTooLarge"},
		"good.csv":    {nowhere, "output1. Azure error message: ContainerNotFound"},
	} {
		t.Run(input, func(t *testing.T) {
			job := s.submit(b.ref(input), c.output)
			s.begin(job)
			got := s.end(job)
			if got.StatusCode != "Failed" || got.Results != nil || got.Details == nil || !strings.Contains(*got.Details, c.want) {
				t.Errorf("ended as %s, results %v, details %q; want Failed with %q", got.StatusCode, got.Results, deref(got.Details), c.want)
			}
			if a := s.call("DELETE", jobs+"/"+job+version, ""); a.status != 200 {
				t.Errorf("delete: %d", a.status)
			}
		})
	}
}

func deref(s *string) string {
	if s == nil {
		return "<null>"
	}
	return *s
}

func TestDeleteCancels(t *testing.T) {
	b := blobs(t)
	b.put("in.csv", inputCSV)
	running := make(chan struct{})
	s := serve(t, emulator.Config{Jobs: 1, Running: func(ctx context.Context, _ string) { running <- struct{}{}; <-ctx.Done() }})
	submit := func() string { return s.submit(b.ref("in.csv"), b.ref("out.csv")) }

	waiting, first, queued := submit(), submit(), submit()
	s.begin(first)
	<-running
	s.begin(queued)
	if got := s.state(queued); got.StatusCode != "NotStarted" {
		t.Errorf("the second job of one at once: %s", got.StatusCode)
	}
	a := s.call("POST", jobs+"/"+queued+"/start"+version, "")
	if outcome(t, a) != "Bad Request InvalidOperation CannotStartJob" || !strings.Contains(a.body, "it is in Queued state") {
		t.Errorf("second start of a queued job: %s", a.body)
	}
	for name, job := range map[string]string{"not started": waiting, "queued": queued, "running": first} {
		if a := s.call("DELETE", jobs+"/"+job+version, ""); a.status != 200 {
			t.Errorf("%s: delete: %d", name, a.status)
		}
		if diff := cmp.Diff(status{StatusCode: "Cancelled"}, s.state(job)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		a := s.call("POST", jobs+"/"+job+"/start"+version, "")
		if outcome(t, a) != "Bad Request InvalidOperation CannotStartJob" || !strings.Contains(a.body, "it is in Cancelled state") {
			t.Errorf("%s: start when cancelled: %s", name, a.body)
		}
		if a := s.call("DELETE", jobs+"/"+job+version, ""); a.status != 200 {
			t.Errorf("%s: second delete: %d", name, a.status)
		}
		if a := s.call("GET", jobs+"/"+job+version, ""); a.status != 404 {
			t.Errorf("%s: after the second delete: %d", name, a.status)
		}
	}
	next := submit() // the slot is free again
	s.begin(next)
	<-running
	if err := s.Close(); err != nil { // does not wait for the job to end by itself
		t.Fatal(err)
	}
	if got := s.state(next); got.StatusCode != "Cancelled" {
		t.Errorf("after Close: %s", got.StatusCode)
	}
}

func TestStartBodies(t *testing.T) {
	s := serve(t, emulator.Config{})
	b := blobs(t)
	b.put("in.csv", inputCSV)
	for body, want := range map[string]int{"": 200, "{}": 200, " null\n": 200, `{"a":1}`: 400, "x": 400} {
		job := s.submit(b.ref("in.csv"), b.ref("out.csv"))
		if a := s.call("POST", jobs+"/"+job+"/start"+version, body); a.status != want {
			t.Errorf("start with body %q: %d, want %d", body, a.status, want)
		}
	}
	job := s.submit(b.ref("in.csv"), b.ref("out.csv"))
	if a := s.call("POST", jobs+"/"+job+"/start"+version, "{}", "Authorization: "); a.status != 401 {
		t.Errorf("start without a key: %d", a.status)
	}
	if got := s.state(job); got.StatusCode != "NotStarted" {
		t.Errorf("after a refused start: %s", got.StatusCode)
	}
}
