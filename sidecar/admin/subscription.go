package admin

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/store"
)

// OfSubscription is in the path of one subscription.
type OfSubscription struct {
	Subscription string `path:"subscription" maxLength:"512" doc:"The subscription's name or id."`
}

type (
	subscriptionsInput struct {
		Paging
		Developer string `query:"developer" maxLength:"512" doc:"Only this developer's."`
		Product   string `query:"product" maxLength:"512" doc:"Only those to this product."`
		API       string `query:"api" maxLength:"512" doc:"Only those to this API itself."`
		State     string `query:"state" enum:"submitted,active,suspended,rejected,cancelled,expired" doc:"Only those in this state now."`
	}
	newSubscriptionInput struct {
		Idempotent
		Body NewSubscription
	}
	changedSubscriptionInput struct {
		OfSubscription
		Matching
		Body SubscriptionChange
	}
	actInput struct {
		OfSubscription
		Matching
		Body *Act
	}
	removedSubscriptionInput struct {
		OfSubscription
		Matching
	}
	subscriptionOutput struct {
		Status   int
		ETag     string `header:"ETag"`
		Location string `header:"Location"`
		Body     Subscription
	}
	subscriptionList struct{ Body List[Subscription] }
)

// acts are what can be done to a subscription's state, by the last segment of the path.
var acts = []struct {
	name    string
	action  store.Action
	summary string
}{
	{"approve", store.Approve, "Approve a submitted subscription"},
	{"reject", store.Reject, "Reject a submitted subscription, for good"},
	{"suspend", store.Suspend, "Suspend an active subscription"},
	{"resume", store.Resume, "Resume a suspended subscription"},
	{"cancel", store.Cancel, "Cancel a subscription, for good"},
}

func (s *Server) subscriptionRoutes(rs *routes) {
	const all, one = "/v1/subscriptions", "/v1/subscriptions/{subscription}"
	tags := []string{"subscriptions"}
	add(rs, Route{Method: http.MethodGet, Path: all, Right: RightRead}, huma.Operation{Summary: "List subscriptions", Tags: tags}, s.listSubscriptions)
	add(rs, Route{Method: http.MethodPost, Path: all, Right: RightWrite, types: []string{typeJSON}, creates: true},
		huma.Operation{Summary: "Create a subscription, without keys", Tags: tags, DefaultStatus: http.StatusCreated}, s.createSubscription)
	add(rs, Route{Method: http.MethodGet, Path: one, Right: RightRead}, huma.Operation{Summary: "Read a subscription", Tags: tags},
		func(ctx context.Context, in *OfSubscription) (*subscriptionOutput, error) {
			sub, err := s.store.FindSubscription(ctx, in.Subscription)
			return s.subscriptionReply(ctx, in.Subscription, sub, err)
		})
	add(rs, Route{Method: http.MethodPatch, Path: one, Right: RightWrite, types: []string{typeJSON}},
		huma.Operation{Summary: "Change a subscription's expiry or attributes", Tags: tags}, s.changeSubscription)
	add(rs, Route{Method: http.MethodDelete, Path: one, Right: RightWrite}, huma.Operation{Summary: "Delete a subscription and its keys", Tags: tags},
		func(ctx context.Context, in *removedSubscriptionInput) (*struct{}, error) {
			w, err := in.write(ctx)
			if err == nil {
				err = s.aboutSubscription(ctx, in.Subscription, s.store.DeleteSubscription(ctx, in.Subscription, w))
			}
			return nil, err
		})
	for _, a := range acts {
		add(rs, Route{Method: http.MethodPost, Path: one + "/" + a.name, Right: RightWrite, types: []string{typeJSON}, optional: true},
			huma.Operation{Summary: a.summary, Tags: tags},
			func(ctx context.Context, in *actInput) (*subscriptionOutput, error) {
				w, err := in.write(ctx)
				if err != nil {
					return nil, err
				}
				note := ""
				if in.Body != nil {
					note = in.Body.Note
				}
				sub, err := s.store.Act(ctx, in.Subscription, a.action, note, w)
				return s.subscriptionReply(ctx, in.Subscription, sub, err)
			})
	}
}

// write is a change under the condition that the caller gave.
func (m *Matching) write(ctx context.Context) (store.Write, error) {
	revision, err := m.revision()
	w := written(ctx)
	w.Match, w.TakeOver = revision, m.TakeOver
	return w, err
}

func (s *Server) listSubscriptions(ctx context.Context, in *subscriptionsInput) (*subscriptionList, error) {
	q := store.SubscriptionQuery{Developer: in.Developer, Product: in.Product, API: in.API, State: in.State, After: in.After}
	found, err := withNext(in.Limit, func(last *store.Subscription, limit int) ([]store.Subscription, error) {
		if last != nil {
			q.After = last.Name
		}
		q.Limit = limit
		return s.reader.ListSubscriptions(ctx, q)
	})
	if err != nil {
		return nil, err
	}
	return &subscriptionList{page(found, in.Limit, func(sub *store.Subscription) string { return sub.Name }, s.shownSubscription)}, nil
}

func (s *Server) createSubscription(ctx context.Context, in *newSubscriptionInput) (*subscriptionOutput, error) {
	b := in.Body
	sub, err := s.store.CreateSubscription(ctx, catalog.Subscription{
		Name: b.Name, Developer: b.Developer, Product: b.Product, API: b.API, AllAPIs: b.AllAPIs, ExpiresAt: b.ExpiresAt, Attributes: b.Attributes,
	}, written(ctx))
	if errors.Is(err, store.ErrExists) {
		return nil, problem(http.StatusConflict, "exists", "there is a subscription %q already", b.Name)
	}
	if err != nil {
		return nil, err
	}
	out, err := s.subscriptionReply(ctx, b.Name, sub, nil)
	out.Status, out.Location = http.StatusCreated, Path("subscriptions", sub.Name)
	return out, err
}

func (s *Server) changeSubscription(ctx context.Context, in *changedSubscriptionInput) (*subscriptionOutput, error) {
	w, err := in.write(ctx)
	if err != nil {
		return nil, err
	}
	if in.Body.NoExpiry && in.Body.ExpiresAt != nil {
		return nil, invalidField("no_expiry", "does not go together with expires_at")
	}
	sub, err := s.store.ChangeSubscription(ctx, in.Subscription, store.SubscriptionChange{
		Expires: in.Body.ExpiresAt, NoExpiry: in.Body.NoExpiry, Attributes: in.Body.Attributes,
	}, w)
	return s.subscriptionReply(ctx, in.Subscription, sub, err)
}

// subscriptionReply answers with a subscription that was named so.
func (s *Server) subscriptionReply(ctx context.Context, name string, sub store.Subscription, err error) (*subscriptionOutput, error) {
	if err != nil {
		return nil, s.aboutSubscription(ctx, name, err)
	}
	return &subscriptionOutput{Status: http.StatusOK, ETag: etag(uint64(sub.Revision)), Body: s.shownSubscription(&sub)}, nil
}

// aboutSubscription says more of an error that says that a subscription is not there.
func (s *Server) aboutSubscription(ctx context.Context, name string, err error) error {
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return s.unknownSubscription(ctx, "not_found", name)
}

func (s *Server) unknownSubscription(ctx context.Context, code, name string) error {
	found, err := s.store.ListSubscriptions(ctx, store.SubscriptionQuery{Limit: catalog.MaxSuggestCandidates})
	if err != nil {
		return err
	}
	names := make([]string, len(found))
	for i := range found {
		names[i] = found[i].Name
	}
	return missing(code, named("subscription", name), name, names)
}

// shownSubscription is a subscription as this API shows it.
func (s *Server) shownSubscription(sub *store.Subscription) Subscription {
	c := sub.Catalog()
	shown := Subscription{
		Kind: "subscription", ID: sub.ID, Name: sub.Name, State: store.StateName(sub.StateAt(s.now())), Source: sub.Source, Revision: uint64(sub.Revision),
		Created: sub.Started.UTC(), Updated: sub.Updated.UTC(), Note: sub.Note, KeysShown: sub.Shown, Keys: []Key{},
		Spec: SubscriptionSpec{Name: c.Name, Developer: c.Developer, Product: c.Product, API: c.API, AllAPIs: c.AllAPIs,
			State: c.State, ExpiresAt: c.ExpiresAt, Attributes: c.Attributes},
	}
	for _, k := range sub.Keys {
		one := Key{Slot: slotName(k.Slot), Source: k.Source, Created: k.Created.UTC(), Used: moment(k.Used)}
		if k.Expires != 0 {
			one.Expires = moment(time.Unix(int64(k.Expires), 0))
		}
		shown.Keys = append(shown.Keys, one)
	}
	return shown
}

// moment is a time, or nil for none.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return new(t.UTC())
}
