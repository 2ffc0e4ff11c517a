package filter

import (
	"encoding/binary"
	"strconv"
	"time"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"github.com/tollgate/tollgate/internal/gate"
	"github.com/tollgate/tollgate/internal/rows"
	"github.com/tollgate/tollgate/internal/wire"
)

// Envoy's filter statuses behind types.Action. On the request side everything stops, so
// that no body passes while a decision is awaited; on the response side only the head
// does (allow_on_headers_stop_iteration), because the body is what is waited for.
const (
	stopAll       types.Action = 4 // FilterHeadersStatus::StopAllIterationAndWatermark
	stopIteration              = types.ActionPause
)

// stream is one request and its response.
type stream struct {
	types.DefaultHttpContext
	plugin   *plugin
	exchange *gate.Exchange
	paused   bool // a callout is under way
	holding  bool // the response waits for its body, or for the record of it
	rows     *rows.Counter
}

func (s *stream) OnHttpRequestHeaders(int, bool) (action types.Action) {
	defer s.recovered(&action)
	pairs, err := proxywasm.GetHttpRequestHeaders()
	if err != nil {
		pairs = nil // no target: refused below
	}
	head := gate.ReadHead(pairs, sourceAddress)
	exchange, outcome := s.plugin.gate.Begin(head, time.Now())
	s.exchange = exchange
	provoke(&head)
	return s.request(outcome)
}

// request applies an outcome to the request, at once or after a pause.
func (s *stream) request(outcome gate.Outcome) types.Action {
	if err := edit(outcome.Edits, proxywasm.RemoveHttpRequestHeader, proxywasm.ReplaceHttpRequestHeader); err != nil {
		proxywasm.LogCritical("tollgate: changing request headers: " + err.Error())
		s.refuseBluntly()
		return stopAll
	}
	switch outcome.Step {
	case gate.Forward:
		s.identify()
		if s.paused {
			s.paused = false
			if err := proxywasm.ResumeHttpRequest(); err != nil {
				proxywasm.LogCritical("tollgate: resuming a request: " + err.Error())
			}
		}
		return types.ActionContinue
	case gate.Ask:
		message := wire.DecideRequest{
			Version: wire.Version, Store: outcome.Store, VM: s.plugin.name, Asks: []wire.Ask{*outcome.Ask},
			Settlements: outcome.Message.Settlements, Abandoned: outcome.Message.Abandoned,
		}
		return s.await(wire.PathDecide, writeDecideRequest(message), func(status string, body []byte) gate.Outcome {
			return s.answered(outcome.Message.ID, status, body)
		})
	case gate.Record:
		return s.await(wire.PathResources, writeResourceRequest(*outcome.Record), func(status string, _ []byte) gate.Outcome {
			return s.exchange.Intended(status == "200", time.Now())
		})
	default:
		s.reply(outcome.Reply)
		return stopAll
	}
}

// await sends a message and goes on with its answer.
func (s *stream) await(path string, message []byte, next func(status string, body []byte) gate.Outcome) types.Action {
	before := s.paused // by an earlier call of this request
	s.paused = true
	err := s.plugin.call("POST", path, message, callTimeoutMillis, func(status string, body []byte) {
		defer s.recovered(nil)
		s.request(next(status, body))
	})
	if err != nil {
		s.paused = before
		return s.request(next("", nil))
	}
	return stopAll
}

func (s *stream) answered(message uint64, status string, body []byte) gate.Outcome {
	reply, err := readDecideReply(body)
	if status != "200" || err != nil || reply.Version != wire.Version || len(reply.Answers) != 1 {
		return s.exchange.Unavailable(time.Now())
	}
	s.plugin.gate.Settled(message, reply.Settled)
	return s.exchange.Answered(reply.Answers[0], time.Now())
}

func (s *stream) OnHttpResponseHeaders(_ int, endOfStream bool) (action types.Action) {
	if s.exchange == nil {
		return types.ActionContinue
	}
	defer s.recovered(&action)
	if s.exchange.Waits() {
		s.exchange.Responded(time.Now())
	}
	status := 0
	if s.exchange.NeedsStatus() {
		if value, err := proxywasm.GetHttpResponseHeader(":status"); err == nil {
			status, _ = strconv.Atoi(value)
		}
	}
	outcome := s.exchange.ResponseHead(status)
	if err := edit(outcome.Edits, proxywasm.RemoveHttpResponseHeader, proxywasm.ReplaceHttpResponseHeader); err != nil {
		proxywasm.LogCritical("tollgate: changing response headers: " + err.Error())
	}
	if outcome.Step != gate.Hold {
		if s.exchange.CountsRows() && status < 400 {
			s.rows = rows.NewCounter()
		}
		return types.ActionContinue
	}
	s.holding = true
	if endOfStream {
		return s.response(s.exchange.Created(nil, time.Now()))
	}
	return stopIteration
}

func (s *stream) OnHttpResponseBody(size int, endOfStream bool) (action types.Action) {
	if !s.holding {
		s.countRows(size)
		return types.ActionContinue
	}
	defer s.recovered(&action)
	if s.paused || !endOfStream && size <= gate.BodyMax {
		return stopIteration
	}
	return s.created(size)
}

// countRows reads a piece of a response's body. That it cannot be read costs one row.
func (s *stream) countRows(size int) {
	if s.rows == nil || size == 0 {
		return
	}
	defer func() {
		if recover() != nil {
			s.rows = nil
		}
	}()
	if piece, err := proxywasm.GetHttpResponseBody(0, size); err == nil {
		s.rows.Write(piece)
	}
}

// OnHttpStreamDone ends the exchange: answered, reset, or gone while it waited.
func (s *stream) OnHttpStreamDone() {
	if s.exchange == nil || !s.exchange.Counted() {
		return
	}
	defer s.plugin.recovered("stream's end")
	end, now := gate.End{RequestBytes: number(requestSize), ResponseBytes: number(responseSize)}, time.Now()
	if s.exchange.Unfinished() {
		var scored int64
		if s.exchange.CountsRows() && s.rows != nil {
			scored = max(1, s.rows.Rows())
		}
		if s.exchange.Done(end.RequestBytes+end.ResponseBytes, scored, now) {
			s.plugin.settleNow()
		}
	}
	if s.exchange.Status() == 0 {
		end.Status = int(number(responseCode))
	}
	s.exchange.Ended(end, now)
}

// What Envoy knows of a stream that is over.
var (
	requestSize  = []string{"request", "total_size"}
	responseSize = []string{"response", "total_size"}
	responseCode = []string{"response", "code"}
)

// number reads a property of Envoy's that is 64 bits, little endian; 0 where there is none.
func number(path []string) int64 {
	value, err := proxywasm.GetProperty(path)
	if err != nil || len(value) != 8 {
		return 0
	}
	return int64(binary.LittleEndian.Uint64(value))
}

// OnHttpResponseTrailers ends a body that came without its end.
func (s *stream) OnHttpResponseTrailers(int) (action types.Action) {
	if !s.holding {
		return types.ActionContinue
	}
	defer s.recovered(&action)
	if s.paused {
		return stopIteration
	}
	return s.created(gate.BodyMax)
}

func (s *stream) created(size int) types.Action {
	var body []byte
	if size > 0 && size <= gate.BodyMax {
		body, _ = proxywasm.GetHttpResponseBody(0, size) // none: refused as unreadable
	}
	return s.response(s.exchange.Created(body, time.Now()))
}

// response applies an outcome to a held response.
func (s *stream) response(outcome gate.Outcome) types.Action {
	switch outcome.Step {
	case gate.Record:
		s.paused = true
		err := s.plugin.call("POST", wire.PathResources, writeResourceRequest(*outcome.Record), callTimeoutMillis, func(status string, _ []byte) {
			defer s.recovered(nil)
			s.response(s.exchange.Recorded(status == "200", time.Now()))
		})
		if err != nil {
			return s.response(s.exchange.Recorded(false, time.Now()))
		}
		return stopIteration
	case gate.Forward:
		s.holding, s.paused = false, false
		if err := proxywasm.ResumeHttpResponse(); err != nil {
			proxywasm.LogCritical("tollgate: resuming a response: " + err.Error())
		}
		return types.ActionContinue
	default:
		s.holding = false
		s.reply(outcome.Reply)
		return stopIteration
	}
}

func (s *stream) reply(r gate.Response) {
	s.paused = false
	s.identify()
	if err := proxywasm.SendHttpResponse(uint32(r.Status), r.Headers, r.Body, -1); err != nil {
		proxywasm.LogCritical("tollgate: answering: " + err.Error())
	}
}

// recovered turns a panic into a refusal; action is nil where none is returned.
func (s *stream) recovered(action *types.Action) {
	reason := recover()
	if reason == nil {
		return
	}
	proxywasm.LogCritical("tollgate: a request's callback panicked: " + cause(reason))
	if action != nil {
		*action = stopAll
	}
	s.holding = false
	if s.exchange == nil {
		s.refuseBluntly()
		return
	}
	s.reply(s.exchange.Crashed(time.Now()).Reply)
}

// refuseBluntly answers when not even an exchange is to be had.
func (s *stream) refuseBluntly() {
	s.reply(gate.Response{Status: 500, Body: []byte(`{ "statusCode": 500, "message": "Internal server error" }`)})
}

func edit(edits gate.Edits, remove func(string) error, replace func(name, value string) error) error {
	for _, name := range edits.Remove {
		if err := remove(name); err != nil {
			return err
		}
	}
	for _, header := range edits.Set {
		if err := replace(header[0], header[1]); err != nil {
			return err
		}
	}
	return nil
}

// identify writes who was served what to filter state, as wasm.tollgate.NAME, for Envoy's
// access logs and tracing. Each costs microseconds: what is not known is left out, and so is
// the reason of a request that was let pass.
func (s *stream) identify() {
	if s.exchange == nil {
		return
	}
	identity := s.exchange.Identity()
	setState("tollgate.api", identity.API)
	setState("tollgate.operation", identity.Operation)
	setState("tollgate.decision", identity.Decision)
	if identity.Subscription != 0 {
		setState("tollgate.subscription", strconv.FormatUint(uint64(identity.Subscription), 10))
	}
	if identity.Reason != gate.Allowed {
		setState("tollgate.reason", identity.Reason)
	}
}

// setState writes one fact. Without it a log line says less; the request is served all
// the same.
func setState(name, value string) {
	if value != "" {
		_ = proxywasm.SetProperty([]string{name}, []byte(value))
	}
}

func sourceAddress() string {
	address, err := proxywasm.GetProperty([]string{"source", "address"})
	if err != nil {
		return ""
	}
	return string(address)
}
