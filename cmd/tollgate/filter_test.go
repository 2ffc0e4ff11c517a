package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
)

// filter is the little of a worker that limits need.
type filter struct {
	socket string
	vm     string // "w" unless given
	held   wire.Snapshot
}

// call asks for one call, takes what it is granted, and settles that as spent.
func (f *filter) call(subscription uint32, n int) (wire.Answer, error) {
	if f.held.Revision.Store == "" {
		query := url.Values{wire.WatchVersion: {fmt.Sprint(wire.Version)}}
		if err := f.exchange(http.MethodGet, wire.PathWatch+"?"+query.Encode(), nil, &f.held); err != nil {
			return wire.Answer{}, err
		}
	}
	take := uint64(time.Now().UnixNano())
	reply, err := f.decide(wire.DecideRequest{Asks: []wire.Ask{{Call: fmt.Sprint("call-", n), Policy: f.held.Policy.Revision, Subscription: subscription,
		API: f.held.APIs[0].Name, Operation: f.held.APIs[0].Operations[0].Name, Take: &wire.Take{ID: take, Waiting: true}}}})
	if err != nil {
		return wire.Answer{}, err
	}
	a := reply.Answers[0]
	var spent []wire.Settlement
	for _, l := range a.Leases {
		spent = append(spent, wire.Settlement{Take: take, Counter: l.Counter, Spent: 1, AgeMillis: 1})
	}
	if len(spent) > 0 {
		reply, err = f.decide(wire.DecideRequest{Settlements: spent})
		if err == nil && !reply.Settled {
			err = fmt.Errorf("call %d is not settled", n)
		}
	}
	return a, err
}

func (f *filter) decide(r wire.DecideRequest) (reply wire.DecideReply, err error) {
	r.Version, r.Store, r.VM = wire.Version, f.held.Revision.Store, f.vm
	if r.VM == "" {
		r.VM = "w"
	}
	return reply, f.exchange(http.MethodPost, wire.PathDecide, r, &reply)
}

func (f *filter) exchange(method, path string, message, into any) error {
	text, err := json.Marshal(message)
	if err != nil {
		return err
	}
	r, err := http.NewRequest(method, "http://sidecar"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", f.socket)
		}}}
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s %s", method, path, response.Status, body)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}
