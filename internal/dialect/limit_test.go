package dialect_test

import (
	"encoding/json"
	"math"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/dialect"
	"github.com/tollgate/tollgate/internal/wire"
)

var (
	minute      = wire.Limit{Name: "minute", Key: "k", Kind: wire.KindRate, Unit: wire.UnitCalls, Amount: 5, WindowMillis: 60_000}
	week        = wire.Limit{Name: "week", Key: "k", Kind: wire.KindQuota, Unit: wire.UnitCalls, Amount: 100, WindowMillis: 604_800_000}
	life        = wire.Limit{Name: "life", Key: "k", Kind: wire.KindQuota, Unit: wire.UnitCalls, Amount: 1000}
	bandwidth   = wire.Limit{Name: "bandwidth", Key: "k", Kind: wire.KindQuota, Unit: wire.UnitBytes, Amount: 65535, WindowMillis: 86_400_000}
	rows        = wire.Limit{Name: "rows", Key: "k", Kind: wire.KindQuota, Unit: wire.UnitRows, Amount: 10, WindowMillis: 86_400_000}
	concurrency = wire.Limit{Name: "flight", Key: "k", Kind: wire.KindConcurrency, Unit: wire.UnitCalls, Amount: 3}
)

func changed(l wire.Limit, change func(*wire.Limit)) wire.Limit {
	change(&l)
	return l
}

// The strings of API Management, byte for byte, and those of its kind.
func TestExhaustedMessage(t *testing.T) {
	const day, most = 86400, math.MaxInt64
	for name, c := range map[string]struct {
		limit wire.Limit
		retry int64
		want  string
	}{
		"a rate":              {minute, 57, "Rate limit is exceeded. Try again in 57 seconds."},
		"one second":          {minute, 1, "Rate limit is exceeded. Try again in 1 seconds."},
		"a rate of nothing":   {minute, -1, "Rate limit is exceeded."},
		"a rate of bytes":     {changed(minute, func(l *wire.Limit) { l.Unit = wire.UnitBytes }), 3600, "Rate limit is exceeded. Try again in 3600 seconds."},
		"a quota":             {week, 22*day + 14*3600 + 18*60 + 12, "Out of call volume quota. Quota will be replenished in 22.14:18:12."},
		"a second":            {week, 1, "Out of call volume quota. Quota will be replenished in 00:00:01."},
		"below a day":         {week, day - 1, "Out of call volume quota. Quota will be replenished in 23:59:59."},
		"a day":               {week, day, "Out of call volume quota. Quota will be replenished in 1.00:00:00."},
		"years":               {week, 1000 * day, "Out of call volume quota. Quota will be replenished in 1000.00:00:00."},
		"as long as can be":   {week, most, "Out of call volume quota. Quota will be replenished in 106751991167300.15:30:07."},
		"a quota for life":    {life, -1, "Out of call volume quota."},
		"a quota of bytes":    {bandwidth, 14*3600 + 18*60 + 12, "Out of bandwidth quota. Quota will be replenished in 14:18:12."},
		"bytes for life":      {bandwidth, -1, "Out of bandwidth quota."},
		"a quota of rows":     {rows, 60, "Out of row volume quota. Quota will be replenished in 00:01:00."},
		"concurrency":         {concurrency, 1, "Too many calls at once. Try again in 1 seconds."},
		"concurrency of none": {concurrency, -1, "Too many calls at once."},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, dialect.ExhaustedMessage(c.limit, c.retry)); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRetrySeconds(t *testing.T) {
	for millis, want := range map[int64]int64{
		-1: -1, math.MinInt64: -1, 0: 1, 1: 1, 999: 1, 1000: 1, 1001: 2, 57_000: 57, 57_001: 58, math.MaxInt64: 9223372036854776,
	} {
		if got := dialect.RetrySeconds(millis); got != want {
			t.Errorf("RetrySeconds(%d) = %d, want %d", millis, got, want)
		}
	}
}

// Each dialect of an exhausted limit, whole.
func TestExhausted(t *testing.T) {
	exhausted := func(l wire.Limit, status int, reason string, retry int64) dialect.Error {
		return dialect.Error{Status: status, Reason: reason, RequestID: "r1", Message: dialect.ExhaustedMessage(l, retry),
			RetryAfterSeconds: int(retry), Violated: []string{l.Name}}
	}
	const problem = `{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Request cannot be satisfied as assigned quota has been exceeded",`
	rate, quota, never := exhausted(minute, 429, "rate_limited", 57), exhausted(week, 403, "quota_exceeded", 1952292), exhausted(life, 403, "quota_exceeded", -1)
	for name, c := range map[string]struct {
		dialect wire.Dialect
		err     dialect.Error
		retry   string // Retry-After
		want    string
	}{
		"apim, rate":     {wire.DialectAPIM, rate, "57", `{ "statusCode": 429, "message": "Rate limit is exceeded. Try again in 57 seconds." }`},
		"apim, quota":    {wire.DialectAPIM, quota, "1952292", `{ "statusCode": 403, "message": "Out of call volume quota. Quota will be replenished in 22.14:18:12." }`},
		"apim, for life": {wire.DialectAPIM, never, "", `{ "statusCode": 403, "message": "Out of call volume quota." }`},
		"apim, concurrency": {wire.DialectAPIM, exhausted(concurrency, 429, "concurrency_limited", 1), "1",
			`{ "statusCode": 429, "message": "Too many calls at once. Try again in 1 seconds." }`},
		"azureml, rate": {wire.DialectAzureML, rate, "57",
			`{"error":{"code":"TooManyRequests","message":"Too many requests.","details":[{"code":"RequestThrottled","message":"Rate limit is exceeded. Try again in 57 seconds."}]}}`},
		"azureml, quota": {wire.DialectAzureML, quota, "1952292",
			`{"error":{"code":"Forbidden","message":"Request is not allowed.","details":[{"code":"Forbidden","message":"Out of call volume quota. Quota will be replenished in 22.14:18:12."}]}}`},
		"problem, rate": {wire.DialectProblem, rate, "57",
			problem + `"status":429,"detail":"Rate limit is exceeded. Try again in 57 seconds.","reason":"rate_limited","request_id":"r1","violated-policies":["minute"]}`},
		"problem, quota": {wire.DialectProblem, quota, "1952292",
			problem + `"status":403,"detail":"Out of call volume quota. Quota will be replenished in 22.14:18:12.","reason":"quota_exceeded","request_id":"r1","violated-policies":["week"]}`},
		"problem, two": {wire.DialectProblem, dialect.Error{Status: 429, Message: "m", Violated: []string{"minute", "hour"}}, "",
			problem + `"status":429,"detail":"m","reason":"","request_id":"","violated-policies":["minute","hour"]}`},
	} {
		t.Run(name, func(t *testing.T) {
			headers, body := dialect.Render(c.dialect, c.err)
			if diff := cmp.Diff(c.want, string(body)); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			if !json.Valid(body) {
				t.Errorf("not JSON: %s", body)
			}
			retry := ""
			for _, h := range headers {
				if h[0] == "retry-after" {
					retry = h[1]
				}
			}
			if retry != c.retry {
				t.Errorf("Retry-After %q, want %q", retry, c.retry)
			}
		})
	}
	if _, body := dialect.Render(wire.DialectAPIM, rate); len(body) != 84 {
		t.Errorf("%q has %d bytes, want 84", body, len(body))
	}
}

func TestRateLimitPolicy(t *testing.T) {
	for name, c := range map[string]struct {
		limits []wire.Limit
		want   string
	}{
		"none":          {nil, ""},
		"Starter":       {[]wire.Limit{minute, week}, `"minute";q=5;w=60,"week";q=100;w=604800`},
		"for life":      {[]wire.Limit{life}, `"life";q=1000`},
		"bytes":         {[]wire.Limit{bandwidth}, `"bandwidth";q=65535;qu="content-bytes";w=86400`},
		"concurrency":   {[]wire.Limit{concurrency}, `"flight";q=3;qu="concurrent-requests"`},
		"nothing left":  {[]wire.Limit{rows, changed(minute, func(l *wire.Limit) { l.ReportOnly = true })}, ""},
		"one left":      {[]wire.Limit{rows, minute, rows, week}, `"minute";q=5;w=60,"week";q=100;w=604800`},
		"nothing":       {[]wire.Limit{changed(minute, func(l *wire.Limit) { l.Amount = 0 })}, `"minute";q=0;w=60`},
		"the most":      {[]wire.Limit{changed(minute, func(l *wire.Limit) { l.Amount = 999_999_999_999_999 })}, `"minute";q=999999999999999;w=60`},
		"more than fit": {[]wire.Limit{changed(minute, func(l *wire.Limit) { l.Amount = math.MaxInt64 })}, `"minute";q=999999999999999;w=60`},
	} {
		t.Run(name, func(t *testing.T) {
			got := dialect.RateLimitPolicy(c.limits)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("policy (-want +got):\n%s", diff)
			}
			checkList(t, got)
		})
	}
}

func TestAppendRateLimit(t *testing.T) {
	var b []byte
	for _, step := range []struct {
		name             string
		remaining, reset int64
		want             string
	}{
		{"minute", 4, 30, `"minute";r=4;t=30`},
		{"week", -3, 0, `,"week";r=0;t=0`},
		{"life", 12, -1, `,"life";r=12`},
		{"much", math.MaxInt64, math.MaxInt64, `,"much";r=999999999999999;t=999999999999999`},
		{"least", math.MinInt64, math.MinInt64, `,"least";r=0`},
	} {
		before := len(b)
		b = dialect.AppendRateLimit(b, step.name, step.remaining, step.reset)
		if got := string(b[before:]); got != step.want {
			t.Errorf("appended %s, want %s", got, step.want)
		}
	}
	checkList(t, string(b))
}

// item is what RFC 9651 makes of a string with integer and string parameters.
var item = regexp.MustCompile(`^"[ !#-\[\]-~]*"(;[a-z]+=(-?[0-9]{1,15}|"[ !#-\[\]-~]*"))*$`)

func checkList(t *testing.T, list string) {
	t.Helper()
	if list == "" {
		return
	}
	for part := range strings.SplitSeq(list, ",") {
		if !item.MatchString(part) {
			t.Errorf("%s is no item of a structured field", part)
		}
	}
}

func TestAdvertised(t *testing.T) {
	for name, c := range map[string]struct {
		limit wire.Limit
		want  bool
	}{
		"calls": {minute, true}, "bytes": {bandwidth, true}, "rows": {rows, false}, "concurrency": {concurrency, true},
		"reported only": {changed(week, func(l *wire.Limit) { l.ReportOnly = true }), false},
	} {
		if got := dialect.Advertised(c.limit); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
