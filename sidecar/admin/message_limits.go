package admin

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/ledger"
)

// Limits is the state of counters at one moment, sorted by subscription, limit and key.
type Limits struct {
	Now      time.Time `json:"now"` // by the sidecar's clock
	Counters []Counter `json:"counters"`
	// Cut says that there are more, which are not shown.
	Cut bool `json:"cut,omitempty"`
}

// Counter is what one limit's counter holds.
type Counter struct {
	ID               int64  `json:"id"`
	Subscription     uint32 `json:"subscription,omitempty"` // 0: nobody's
	SubscriptionName string `json:"subscription_name,omitempty"`
	wire.Limit
	// Period is the number of a quota's period, from 0.
	Period int64 `json:"period,omitempty"`
	// Used is spent, Leased may be spent by workers, Left is what is neither of Amount and
	// Raised; below 0 when overdrawn.
	Used   int64 `json:"used"`
	Leased int64 `json:"leased"`
	Left   int64 `json:"left"`
	Raised int64 `json:"raised,omitempty"` // for this period, beside the amount
	// Reset is when more will be left; absent where nothing is used, and where never.
	Reset *time.Time `json:"reset,omitempty"`
}

// Adjustments are changes by administrators.
type Adjustments struct {
	Adjustments []Adjustment `json:"adjustments"`
	Cut         bool         `json:"cut,omitempty"`
}

// Adjustment is a change of one counter, as audited.
type Adjustment struct {
	Time             time.Time `json:"time"`
	Actor            string    `json:"actor"`  // "alice (uid 1000)"
	Action           string    `json:"action"` // limit.reset or limit.raise
	Counter          int64     `json:"counter"`
	Subscription     uint32    `json:"subscription,omitempty"` // 0: nobody's
	SubscriptionName string    `json:"subscription_name,omitempty"`
	Units            int64     `json:"units,omitempty"` // of a raise
	// Before and After are what the counter held.
	Before ledger.State `json:"before"`
	After  ledger.State `json:"after"`
}

// Events are limits that reached a part of their amount.
type Events struct {
	Events []Event `json:"events"`
	Cut    bool    `json:"cut,omitempty"`
}

// Event is made once per window and percentage.
type Event struct {
	Time             time.Time `json:"time"`
	Counter          int64     `json:"counter"`
	Subscription     uint32    `json:"subscription,omitempty"`
	SubscriptionName string    `json:"subscription_name,omitempty"`
	wire.Limit
	Percent int   `json:"percent"`
	Used    int64 `json:"used"`
}

// Reset asks for the counters of a subscription to be as if nothing was used: of one limit,
// or all.
type Reset struct {
	Subscription string `json:"subscription"` // name or id
	Limit        string `json:"limit,omitempty"`
	Key          string `json:"key,omitempty"`
}

// Raise adds units to a quota of a subscription, for its current period.
type Raise struct {
	Subscription string `json:"subscription"` // name or id
	Limit        string `json:"limit"`
	Key          string `json:"key,omitempty"` // needed where several have the name
	Units        int64  `json:"units"`         // at least 1
}

// shownAdjustments are for people.
func shownAdjustments(done []ledger.Adjustment, names map[uint32]string) []Adjustment {
	list := make([]Adjustment, 0, len(done))
	for _, a := range done {
		one := Adjustment{Time: a.Time.UTC(), Actor: a.Actor, Action: a.Action, Counter: a.Counter, Subscription: a.Subscription,
			SubscriptionName: names[a.Subscription], Units: a.Units}
		// The ledger's own JSON. A member that another release wrote otherwise stays empty.
		_ = json.Unmarshal([]byte(a.Before), &one.Before)
		_ = json.Unmarshal([]byte(a.After), &one.After)
		list = append(list, one)
	}
	return list
}

// counters are for people: sorted, and with names.
func counters(found []ledger.Counter, names map[uint32]string) []Counter {
	list := make([]Counter, 0, len(found))
	for _, c := range found {
		one := Counter{ID: c.ID, Subscription: c.Subscription, SubscriptionName: names[c.Subscription], Limit: c.Limit, Period: c.Period,
			Used: c.Used, Leased: c.Leased, Left: c.Left, Raised: c.Raised}
		if !c.Reset.IsZero() {
			one.Reset = new(c.Reset.UTC())
		}
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b Counter) int {
		return cmp.Or(cmp.Compare(a.Subscription, b.Subscription), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Key, b.Key), cmp.Compare(a.ID, b.ID))
	})
	return list
}
