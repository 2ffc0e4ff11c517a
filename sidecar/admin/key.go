package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/store"
)

// OfSlot is in the path of one key.
type OfSlot struct {
	Slot string `path:"slot" enum:"primary,secondary" doc:"Which of the two keys."`
}

type (
	showKeysInput struct {
		OfSubscription
		Matching
		Idempotent
	}
	regenerateInput struct {
		OfSubscription
		OfSlot
		Matching
		Idempotent
		Body *Regenerate
	}
	revokeKeyInput struct {
		OfSubscription
		OfSlot
		Matching
	}
	issuedOutput    struct{ Body Issued }
	issuedKeyOutput struct{ Body IssuedKey }
)

func (s *Server) keyRoutes(rs *routes) {
	const keys = "/v1/subscriptions/{subscription}/keys"
	tags := []string{"keys"}
	add(rs, Route{Method: http.MethodPost, Path: keys + "/show-once", Right: RightWrite, creates: true, secret: true},
		huma.Operation{Summary: "Make both keys of a subscription and show them, once", Tags: tags},
		func(ctx context.Context, in *showKeysInput) (*issuedOutput, error) {
			w, err := in.write(ctx)
			if err != nil {
				return nil, err
			}
			issued, err := s.store.ShowKeys(ctx, in.Subscription, w)
			if err != nil {
				return nil, s.aboutSubscription(ctx, in.Subscription, err)
			}
			return &issuedOutput{Issued{Primary: issued.Primary, Secondary: issued.Secondary}}, nil
		})
	add(rs, Route{Method: http.MethodPost, Path: keys + "/{slot}/regenerate", Right: RightWrite, types: []string{typeJSON}, optional: true, creates: true, secret: true},
		huma.Operation{Summary: "Give a slot another key and show it, once", Tags: tags}, s.regenerateKey)
	add(rs, Route{Method: http.MethodDelete, Path: keys + "/{slot}", Right: RightWrite},
		huma.Operation{Summary: "Revoke the keys of a slot", Tags: tags},
		func(ctx context.Context, in *revokeKeyInput) (*struct{}, error) {
			w, err := in.write(ctx)
			if err == nil {
				err = s.aboutSubscription(ctx, in.Subscription, s.store.RevokeKey(ctx, in.Subscription, in.slot(), w))
			}
			return nil, err
		})
}

func (s *Server) regenerateKey(ctx context.Context, in *regenerateInput) (*issuedKeyOutput, error) {
	w, err := in.write(ctx)
	if err != nil {
		return nil, err
	}
	change := store.KeyChange{Slot: in.slot()}
	if in.Body != nil {
		change.Value = in.Body.Value
		if in.Body.Grace != "" {
			grace, err := catalog.ParseDuration(in.Body.Grace)
			if err != nil || grace < 0 {
				return nil, invalidField("grace", "must be a duration with its unit, like 30m, 24h or 7d")
			}
			change.Grace = time.Duration(grace)
		}
	}
	key, err := s.store.RegenerateKey(ctx, in.Subscription, change, w)
	if err != nil {
		return nil, s.aboutSubscription(ctx, in.Subscription, err)
	}
	return &issuedKeyOutput{IssuedKey{Slot: in.Slot, Key: key}}, nil
}

func (o *OfSlot) slot() wire.Slot {
	if o.Slot == slotName(wire.SlotSecondary) {
		return wire.SlotSecondary
	}
	return wire.SlotPrimary
}

func slotName(s wire.Slot) string {
	if s == wire.SlotSecondary {
		return "secondary"
	}
	return "primary"
}
