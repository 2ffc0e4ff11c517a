package corpus_test

import (
	"io"
	"log"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/proxytest"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"github.com/tollgate/tollgate/e2e/corpus"
	"github.com/tollgate/tollgate/e2e/harness"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/plugin/filter"
)

// The filter as Go code.
func TestNative(t *testing.T) { testFilter(t, filter.NewVM()) }

// The filter as the compiled module, under wazero.
func TestModule(t *testing.T) {
	module, err := os.ReadFile(harness.Plugin(t))
	must(t, err)
	vm, err := proxytest.NewWasmVMContext(module)
	must(t, err)
	t.Cleanup(func() { must(t, vm.Close()) })
	testFilter(t, vm)
}

func testFilter(t *testing.T, vm types.VMContext) {
	log.SetOutput(io.Discard) // the emulated host prints every callout
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	v := values("http://127.0.0.1:9")
	host, reset := proxytest.NewHostEmulator(proxytest.NewEmulatorOption().WithVMContext(vm).WithPluginConfiguration([]byte(`{"cluster":"tollgate"}`)))
	t.Cleanup(reset)
	e := &filterExecutor{sidecar: newSidecar(t, v), host: host, answered: map[uint32]int{}}
	if host.StartVM() != types.OnVMStartStatusOK || host.StartPlugin() != types.OnPluginStartStatusOK {
		t.Fatal("the filter did not start")
	}
	if got := e.send(t, corpus.Request{Method: "POST", Target: "/demo/execute/m"}); got.status != 503 || got.header.Get("retry-after") != "1" {
		t.Errorf("without a snapshot: %d, retry-after %q", got.status, got.header.Get("retry-after"))
	}
	host.Tick()
	for e.answer(proxytest.PluginContextID) && !e.watches() {
	}
	run(t, e, v)
}

type filterExecutor struct {
	*sidecar
	reached
	host     proxytest.HostEmulator
	answered map[uint32]int // callouts answered, by context
}

// answer brings the sidecar's answer to the next callout of a context, if there is one.
func (e *filterExecutor) answer(contextID uint32) bool {
	callouts := e.host.GetCalloutAttributesFromContext(contextID)
	if e.answered[contextID] == len(callouts) {
		return false
	}
	callout := callouts[e.answered[contextID]]
	e.answered[contextID]++
	header := map[string]string{}
	for _, h := range callout.Headers {
		header[h[0]] = h[1]
	}
	status, body := e.call(header[":method"], header[":path"], callout.Body)
	e.host.CallOnHttpCallResponse(callout.CalloutID, [][2]string{{":status", strconv.Itoa(status)}}, nil, body)
	return true
}

// watches says whether the next callout waits for another snapshot.
func (e *filterExecutor) watches() bool {
	callouts := e.host.GetCalloutAttributesFromContext(proxytest.PluginContextID)[e.answered[proxytest.PluginContextID]:]
	return len(callouts) > 0 && slices.ContainsFunc(callouts[0].Headers, func(h [2]string) bool {
		return h[0] == ":path" && strings.HasPrefix(h[1], wire.PathWatch)
	})
}

func (e *filterExecutor) send(t *testing.T, r corpus.Request) response {
	stream := e.host.InitializeHttpContext()
	defer e.host.CompleteHttpContext(stream)
	e.host.CallOnRequestHeaders(stream, headerPairs(r), true)
	for e.answer(stream) {
	}
	if sent := e.host.GetSentLocalResponse(stream); sent != nil {
		return localReply(sent)
	}
	if action := e.host.GetCurrentHttpStreamAction(stream); action != types.ActionContinue {
		t.Fatalf("the request neither goes on nor is answered: action %v", action)
	}
	return e.respond(t, stream, e.backendAnswers(e.host.GetCurrentRequestHeaders(stream)))
}

func (e *filterExecutor) respond(t *testing.T, stream uint32, r response) response {
	pairs := [][2]string{{":status", strconv.Itoa(r.status)}}
	for name := range r.header {
		pairs = append(pairs, [2]string{name, r.header.Get(name)})
	}
	if held := e.host.CallOnResponseHeaders(stream, pairs, false); held != types.ActionContinue {
		half := len(r.body) / 2 // in two pieces, as it may come
		e.host.CallOnResponseBody(stream, []byte(r.body[:half]), false)
		e.host.CallOnResponseBody(stream, []byte(r.body[half:]), true)
		if e.host.GetCurrentHttpStreamAction(stream) == types.ActionContinue {
			t.Fatal("a job's id went on before it was recorded")
		}
		for e.answer(stream) {
		}
	}
	if sent := e.host.GetSentLocalResponse(stream); sent != nil {
		return localReply(sent)
	}
	if action := e.host.GetCurrentHttpStreamAction(stream); action != types.ActionContinue {
		t.Fatalf("the response neither goes on nor is answered: action %v", action)
	}
	r.header = http.Header{}
	for _, h := range e.host.GetCurrentResponseHeaders(stream) {
		r.header.Add(h[0], h[1])
	}
	return r
}

func localReply(sent *proxytest.LocalHttpResponse) response {
	header := http.Header{}
	for _, h := range sent.Headers {
		header.Add(h[0], h[1])
	}
	return response{int(sent.StatusCode), header, string(sent.Data)}
}
