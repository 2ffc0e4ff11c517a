package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/ledger"
	"github.com/tollgate/tollgate/sidecar/store"
)

// Problem is an answer other than 2xx (RFC 9457). Code is stable.
type Problem struct {
	Title  string       `json:"title" doc:"The status in words."`
	Status int          `json:"status" doc:"The status."`
	Code   string       `json:"code" doc:"What is wrong, for programs: stable, snake_case."`
	Detail string       `json:"detail" doc:"What is wrong, for people, and what to do."`
	Errors []FieldError `json:"errors,omitempty" nullable:"false" doc:"Each mistake."`

	header http.Header
}

// FieldError is one mistake in a request.
type FieldError struct {
	Field   string `json:"field" doc:"Path of the field, like backend.url; query.limit of a parameter. Empty: the body as a whole."`
	Message string `json:"message" doc:"What is wrong, and what would be right."`
	Line    int    `json:"line,omitempty" doc:"Where it is in the file that was sent, from 1."`
}

func (p *Problem) Error() string { return p.Detail }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders implements huma.HeadersError.
func (p *Problem) GetHeaders() http.Header { return p.header }

// ContentType implements huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

func problem(status int, code, format string, args ...any) *Problem {
	return &Problem{Title: http.StatusText(status), Status: status, Code: code, Detail: fmt.Sprintf(format, args...)}
}

func bad(code, format string, args ...any) error {
	return problem(http.StatusBadRequest, code, format, args...)
}

// invalid is the problem that there are mistakes.
func invalid(mistakes []FieldError) *Problem {
	p := problem(http.StatusUnprocessableEntity, "invalid", "the request has mistakes")
	if len(mistakes) > 0 {
		p.Detail = strings.TrimPrefix(mistakes[0].Field+": "+mistakes[0].Message, ": ")
	}
	if more := len(mistakes) - 1; more > 0 {
		p.Detail += fmt.Sprintf(" (and %d more mistakes)", more)
	}
	p.Errors = mistakes
	return p
}

// invalidField is invalid with one mistake.
func invalidField(field, format string, args ...any) error {
	return invalid([]FieldError{{Field: field, Message: fmt.Sprintf(format, args...)}})
}

// fieldErrors are a catalog's mistakes. lines says whether they have lines that the caller
// can find: those of the file that was sent.
func fieldErrors(mistakes []catalog.Mistake, lines bool) []FieldError {
	list := make([]FieldError, len(mistakes))
	for i, m := range mistakes {
		list[i] = FieldError{Field: m.Field, Message: m.Message}
		if lines {
			list[i].Line = m.Line
		}
	}
	return list
}

// fromHuma makes huma's own errors problems: they are about parameters and bodies. It keeps
// no value, which may be a secret.
func fromHuma(status int, message string, errs ...error) huma.StatusError {
	if status == 0 { // huma looks at the type
		return &Problem{}
	}
	var mistakes []FieldError
	for _, err := range errs {
		var detail huma.ErrorDetailer
		if !errors.As(err, &detail) {
			continue
		}
		d := detail.ErrorDetail()
		mistake := FieldError{Field: strings.TrimPrefix(strings.TrimPrefix(d.Location, "body"), "."), Message: d.Message}
		switch {
		case strings.HasPrefix(d.Message, "json: "):
			mistake.Message = "does not fit its type"
		case d.Message == "unknown query parameter":
			mistake.Message = "there is no such parameter here"
		}
		mistakes = append(mistakes, mistake)
	}
	switch status {
	case http.StatusUnprocessableEntity:
		return invalid(mistakes)
	case http.StatusBadRequest:
		if len(mistakes) > 0 {
			return invalid(mistakes) // it was JSON, and did not fit
		}
		return problem(status, "bad_request", "%s", message)
	}
	return problem(status, "error", "%s", message)
}

// explained is problemOf for a handler's error.
func (s *Server) explained(ctx context.Context, err error) error { return s.problemOf(ctx, err) }

// problemOf alone maps errors to problems, and logs those that are no caller's fault.
func (s *Server) problemOf(ctx context.Context, err error) *Problem {
	if p := known(err); p != nil {
		return p
	}
	unavailable := problem(http.StatusServiceUnavailable, "unavailable", "the store cannot be read or written now; the sidecar's log says why")
	unavailable.header = http.Header{"Retry-After": {"1"}}
	switch {
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return unavailable // nobody reads it
	case errors.Is(err, ledger.ErrUnavailable):
		unavailable.Code, unavailable.Detail = "ledger_unavailable", "the ledger does not answer now; the sidecar's log says why"
	case !database.Unavailable(err):
		unavailable = problem(http.StatusInternalServerError, "internal", "the sidecar failed; its log says why")
	}
	s.log.Error("answering an administrator", "actor", calledBy(ctx).actor, "error", err)
	return unavailable
}

// known is the problem for an error that says what is wrong with the call; nil: it does not.
func known(err error) *Problem {
	var p *Problem
	var invalidSpec *store.InvalidError
	var managed *store.ManagedError
	var inUse *store.InUseError
	var state *store.StateError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &invalidSpec):
		return invalid(fieldErrors(invalidSpec.Mistakes, false))
	case errors.As(err, &managed):
		return problem(http.StatusConflict, "managed_elsewhere", "%s", managed)
	case errors.As(err, &inUse):
		return problem(http.StatusConflict, "in_use", "%s", inUse)
	case errors.As(err, &state):
		return problem(http.StatusConflict, state.Code, "%s", state)
	case errors.Is(err, store.ErrNotFound):
		return problem(http.StatusNotFound, "not_found", "there is none of that name")
	case errors.Is(err, store.ErrExists):
		return problem(http.StatusConflict, "exists", "there is one of that name already")
	case errors.Is(err, store.ErrMoved):
		return problem(http.StatusPreconditionFailed, "moved", "it was changed meanwhile: read it again, and try with its new ETag")
	case errors.Is(err, ledger.ErrInvalid): // it moved since it was looked at
		return problem(http.StatusConflict, "conflict", "%s", err)
	}
	return nil
}

// missing is the problem that there is no such thing; near its name are others of names that
// may have been meant.
func missing(code, what, name string, names []string) error {
	text := "there is no " + what
	if near := similar(name, names); len(near) > 0 {
		text += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return problem(http.StatusNotFound, code, "%s", text)
}

// named is a kind and a name for people.
func named(kind, name string) string {
	const most = 60 // bytes of it to repeat
	return fmt.Sprintf("%s %q", kind, strings.ToValidUTF8(name[:min(len(name), most)], ""))
}
