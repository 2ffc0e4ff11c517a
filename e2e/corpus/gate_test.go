package corpus_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/e2e/corpus"
	"github.com/tollgate/tollgate/internal/gate"
	"github.com/tollgate/tollgate/internal/wire"
)

const requestID = "5bf9ac9c-40bd-4cc7-8344-95eadf25db52"

// The decisions alone, without a filter around them.
func TestGate(t *testing.T) {
	v := values("http://127.0.0.1:9")
	e := &gateExecutor{sidecar: newSidecar(t, v), gate: gate.New()}
	status, body := e.call("GET", fmt.Sprintf("%s?%s=%d", wire.PathWatch, wire.WatchVersion, wire.Version), nil)
	var snapshot wire.Snapshot
	if err := json.Unmarshal(body, &snapshot); err != nil {
		t.Fatalf("the watch answered %d %s: %v", status, body, err)
	}
	pages := wire.Pages{}
	for _, digest := range e.gate.Missing(snapshot, nil) {
		_, page := e.call("GET", wire.PathPages+"?"+wire.PagesDigest+"="+digest.String(), nil)
		pages.Add(page[4:]) // after its length
	}
	_, err := e.gate.Load(snapshot, pages, time.Now())
	must(t, err)
	run(t, e, v)
}

type gateExecutor struct {
	*sidecar
	gate *gate.Gate
	reached
}

func (e *gateExecutor) send(t *testing.T, r corpus.Request) response {
	pairs := headerPairs(r)
	x, outcome := e.gate.Begin(gate.ReadHead(pairs, nil), time.Now())
	defer func() { x.Done(0, 0, time.Now()) }()
	for {
		pairs = edited(pairs, outcome.Edits)
		switch outcome.Step {
		case gate.Forward:
			return e.respond(t, x, e.backendAnswers(pairs))
		case gate.Reply:
			return reply(outcome.Reply)
		case gate.Ask:
			_, body := e.call("POST", wire.PathDecide, marshal(t, wire.DecideRequest{
				Version: wire.Version, Store: outcome.Store, VM: "gate", Asks: []wire.Ask{*outcome.Ask},
				Settlements: outcome.Message.Settlements, Abandoned: outcome.Message.Abandoned,
			}))
			var decided wire.DecideReply
			must(t, json.Unmarshal(body, &decided))
			e.gate.Settled(outcome.Message.ID, decided.Settled)
			outcome = x.Answered(decided.Answers[0], time.Now())
		case gate.Record:
			status, _ := e.call("POST", wire.PathResources, marshal(t, outcome.Record))
			outcome = x.Intended(status == 200, time.Now())
		}
	}
}

func (e *gateExecutor) respond(t *testing.T, x *gate.Exchange, r response) response {
	outcome := x.ResponseHead(r.status)
	for _, field := range outcome.Edits.Set {
		r.header.Set(field[0], field[1])
	}
	if outcome.Step == gate.Hold {
		outcome = x.Created([]byte(r.body), time.Now())
	}
	if outcome.Step == gate.Record {
		status, _ := e.call("POST", wire.PathResources, marshal(t, outcome.Record))
		outcome = x.Recorded(status == 200, time.Now())
	}
	if outcome.Step == gate.Reply {
		return reply(outcome.Reply)
	}
	return r
}

func reply(r gate.Response) response {
	header := http.Header{}
	for _, h := range r.Headers {
		header.Add(h[0], h[1])
	}
	return response{r.Status, header, string(r.Body)}
}

// reached stands for Envoy's route and the backend behind it.
type reached struct {
	behind backend
}

func (e *reached) backend() *http.Request    { return e.behind.take() }
func (e *reached) requestID(response) string { return requestID }

// backendAnswers routes a request as Envoy would: by x-tollgate-api, the suffix taken off.
func (e *reached) backendAnswers(pairs [][2]string) response {
	header := http.Header{}
	method, target, api := "", "", ""
	for _, pair := range pairs {
		switch pair[0] {
		case ":method":
			method = pair[1]
		case ":path":
			target = pair[1]
		case gate.RouteHeader:
			api = pair[1]
		case ":authority", ":scheme":
		default:
			header.Add(pair[0], pair[1])
		}
	}
	target, routed := strings.CutPrefix(target, "/"+api)
	if api == "" || !routed {
		return response{503, http.Header{}, "no route"}
	}
	if api == "pass" {
		target = "/base" + target
	}
	r := httptest.NewRequest(method, target, nil)
	r.Header = header
	w := httptest.NewRecorder()
	e.behind.ServeHTTP(w, r)
	return response{w.Code, w.Result().Header, w.Body.String()}
}

func headerPairs(r corpus.Request) [][2]string {
	pairs := [][2]string{{":authority", "gw.example"}, {":path", r.Target}, {":method", r.Method}, {":scheme", "http"}, {"x-request-id", requestID}}
	for _, header := range r.Headers {
		name, value, _ := strings.Cut(header, ": ")
		pairs = append(pairs, [2]string{strings.ToLower(name), value})
	}
	return pairs
}

func edited(pairs [][2]string, edits gate.Edits) [][2]string {
	without := func(name string) {
		pairs = slices.DeleteFunc(slices.Clone(pairs), func(p [2]string) bool { return p[0] == name })
	}
	for _, name := range edits.Remove {
		without(name)
	}
	for _, header := range edits.Set {
		without(header[0])
		pairs = append(pairs, header)
	}
	return pairs
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	body, err := json.Marshal(v)
	must(t, err)
	return body
}
