// Package filter binds Envoy's callbacks to internal/gate: it reads from the host, calls
// one decision, and applies its outcome. Nothing is decided here.
//
// The host's rules that shape it (RATIONALE.md): no goroutines, no timers, no
// blocking; a panic must not leave a callback; memory never shrinks, so the collector is
// run after each snapshot and never per request.
package filter

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"strconv"
	"time"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"github.com/tollgate/tollgate/internal/gate"
	"github.com/tollgate/tollgate/internal/wire"
)

const (
	tickMillis          = 250
	callTimeoutMillis   = 2000
	watchTimeoutMillis  = (wire.WatchSeconds + 10) * 1000
	reportTimeoutMillis = 5000
	// badSnapshotPause keeps a worker from asking for a snapshot that it cannot take
	// again and again.
	badSnapshotPause = 5 * time.Second
)

// Config is the plugin's configuration, JSON in Envoy's bootstrap.
type Config struct {
	// Cluster, JSON "cluster", is Envoy's name of the sidecar's cluster; "tollgate"
	// where there is no configuration at all.
	Cluster string
}

// NewVM is the entry point for the SDK.
func NewVM() types.VMContext { return &vm{} }

type vm struct{ types.DefaultVMContext }

func (*vm) NewPluginContext(uint32) types.PluginContext { return &plugin{gate: gate.New()} }

// plugin is one worker: a gate, the watch that feeds it and the report of what it denied.
type plugin struct {
	types.DefaultPluginContext
	gate    *gate.Gate
	cluster string
	name    string // of this VM, in usage reports

	watching  bool
	nextWatch time.Time
	loading   *loading // a snapshot that lacks pages; nil: none
	fetching  bool     // some of them
	// fetched are pages of a snapshot that came too late for the rest: most of them serve
	// the next one as well.
	fetched wire.Pages

	report    *wire.UsageReport // sent, or to be sent, and not acknowledged
	reporting bool
	sequence  uint64

	rounding bool // the round of a tick is under way
}

func (p *plugin) OnPluginStart(size int) types.OnPluginStartStatus {
	config, err := readConfig(size)
	if err != nil {
		proxywasm.LogCritical("tollgate: " + err.Error())
		return types.OnPluginStartStatusFailed
	}
	p.cluster = config.Cluster
	p.name = strconv.FormatUint(rand.Uint64(), 36) + strconv.FormatUint(rand.Uint64(), 36)
	if err := proxywasm.SetTickPeriodMilliSeconds(tickMillis); err != nil {
		proxywasm.LogCritical("tollgate: setting the tick period: " + err.Error())
		return types.OnPluginStartStatusFailed
	}
	pace(0)
	runtime.GC()
	return types.OnPluginStartStatusOK
}

func readConfig(size int) (Config, error) {
	config := Config{Cluster: "tollgate"}
	if size == 0 {
		return config, nil
	}
	data, err := proxywasm.GetPluginConfiguration()
	if err != nil {
		return config, errors.New("reading the plugin's configuration: " + err.Error())
	}
	o, err := parseObject(data)
	if err != nil {
		return config, errors.New("the plugin's configuration is not a JSON object")
	}
	if config.Cluster = o.text("cluster"); config.Cluster == "" {
		return config, errors.New("the plugin's configuration names no cluster")
	}
	return config, nil
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext { return &stream{plugin: p} }

func (p *plugin) OnTick() {
	defer p.recovered("tick")
	now := time.Now()
	switch {
	case p.watching || p.fetching || now.Before(p.nextWatch):
	case p.loading != nil:
		p.fetch()
	default:
		p.watch()
	}
	p.round(now)
	p.sendReport()
}

// round sends what a tick has to say to the ledger, and asks for what is about to run dry.
func (p *plugin) round(now time.Time) {
	if p.rounding {
		return
	}
	r, ok := p.gate.Tick(now)
	if !ok {
		return
	}
	body := writeDecideRequest(wire.DecideRequest{
		Version: wire.Version, Store: r.Store, VM: p.name, Asks: r.Asks,
		Settlements: r.Message.Settlements, Abandoned: r.Message.Abandoned,
	})
	p.rounding = true
	done := func(status string, body []byte) {
		defer p.recovered("round")
		p.rounding = false
		reply, err := readDecideReply(body)
		if status != "200" || err != nil {
			reply = wire.DecideReply{}
		}
		p.gate.Ticked(r, reply.Answers, reply.Settled, time.Now())
	}
	if err := p.call("POST", wire.PathDecide, body, callTimeoutMillis, done); err != nil {
		done("", nil)
	}
}

// settleNow says what others may be waiting for, from the callback of a stream that is over:
// nobody is left to hear the answer, so the next tick says it again.
func (p *plugin) settleNow() {
	revision, ok := p.gate.Revision()
	message := p.gate.Urgent()
	if !ok || len(message.Settlements) == 0 {
		return
	}
	body := writeDecideRequest(wire.DecideRequest{Version: wire.Version, Store: revision.Store, VM: p.name, Settlements: message.Settlements})
	_ = p.call("POST", wire.PathDecide, body, callTimeoutMillis, func(string, []byte) {})
}

// watch asks for the next snapshot and comes back with it, or empty-handed after
// wire.WatchSeconds, and asks again.
func (p *plugin) watch() {
	held := ""
	if revision, ok := p.gate.Revision(); ok {
		held = revision.String()
	}
	path := wire.PathWatch + "?" + wire.WatchVersion + "=" + strconv.Itoa(wire.Version) + "&" + wire.WatchRevision + "=" + held
	p.watching = p.call("GET", path, nil, watchTimeoutMillis, func(status string, body []byte) {
		defer p.recovered("watch")
		p.watching = false
		switch status {
		case "200":
			p.load(body)
		case "304":
			p.gate.Contact(time.Now())
			p.watch()
		default: // the tick tries again
		}
	}) == nil
}

// refresh asks for the hottest decisions again, in one call, after the policy has moved.
func (p *plugin) refresh(asks []wire.Ask) {
	asked := time.Now()
	revision, _ := p.gate.Revision()
	message := wire.DecideRequest{Version: wire.Version, Store: revision.Store, VM: p.name, Asks: asks}
	// Without an answer the next request of each asks for itself.
	_ = p.call("POST", wire.PathDecide, writeDecideRequest(message), callTimeoutMillis, func(status string, body []byte) {
		defer p.recovered("refresh")
		if reply, err := readDecideReply(body); status == "200" && err == nil {
			p.gate.Refreshed(asks, reply.Answers, asked)
		}
	})
}

// sendReport sends what was counted and denied, one report at a time, until it is acknowledged.
func (p *plugin) sendReport() {
	if p.reporting {
		return
	}
	if p.report == nil {
		report, ok := p.gate.Report()
		if !ok {
			return
		}
		p.sequence++
		report.VM, report.Sequence = p.name, p.sequence
		p.report = &report
	}
	p.reporting = p.call("POST", wire.PathUsage, writeUsageReport(*p.report), reportTimeoutMillis, func(status string, _ []byte) {
		defer p.recovered("report")
		p.reporting = false
		switch status {
		case "200":
		case "400", "409", "413": // what it cannot take it will never take
			p.gate.Refused(*p.report)
		default:
			return // the tick tries again
		}
		p.report = nil
		if p.gate.Behind() {
			p.sendReport()
		}
	}) == nil
}

// call sends one request to the sidecar from the active context. done gets an empty
// status when there was no answer; an error means that it will not be called.
func (p *plugin) call(method, path string, body []byte, timeoutMillis uint32, done func(status string, body []byte)) error {
	return p.dispatch(method, path, body, timeoutMillis, func(status string, size int) {
		var answer []byte
		if size > 0 {
			var err error
			if answer, err = proxywasm.GetHttpCallResponseBody(0, size); err != nil {
				status = ""
			}
		}
		done(status, answer)
	})
}

// dispatch is call for an answer whose body, of size bytes, done reads itself.
func (p *plugin) dispatch(method, path string, body []byte, timeoutMillis uint32, done func(status string, size int)) error {
	headers := [][2]string{{":method", method}, {":path", path}, {":authority", "tollgate"}, {"accept", "application/json"}}
	if body != nil {
		headers = append(headers, [2]string{"content-type", "application/json"})
	}
	_, err := proxywasm.DispatchHttpCall(p.cluster, headers, body, nil, timeoutMillis, func(numHeaders, size, _ int) {
		done(answerStatus(numHeaders), size)
	})
	return err
}

// answerStatus is empty where there was no answer.
func answerStatus(numHeaders int) string {
	if numHeaders == 0 {
		return ""
	}
	headers, err := proxywasm.GetHttpCallResponseHeaders()
	if err != nil {
		return ""
	}
	for _, header := range headers {
		if header[0] == ":status" {
			return header[1]
		}
	}
	return ""
}

// recovered ends a panic in a callback without a stream.
func (p *plugin) recovered(callback string) {
	if reason := recover(); reason != nil {
		proxywasm.LogCritical("tollgate: " + callback + " panicked: " + cause(reason))
	}
}

// cause names a panic of the runtime; the value of any other may be made of a request's
// bytes.
func cause(reason any) string {
	if err, ok := reason.(runtime.Error); ok {
		return err.Error()
	}
	return "not a runtime error"
}
