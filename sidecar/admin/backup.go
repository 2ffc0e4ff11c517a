package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/tollgate/tollgate/sidecar/backup"
)

// backupWork bounds a backup.
const backupWork = 30 * longWork

type backupOutput struct{ Body func(huma.Context) }

func (s *Server) backupRoutes(rs *routes) {
	add(rs, Route{Method: http.MethodPost, Path: "/v1/backup", Right: RightBackup, work: backupWork},
		huma.Operation{Summary: "Make a copy of the whole store", Tags: []string{"backup"}, Responses: map[string]*huma.Response{"200": {
			Description: "A SQLite file, for tollgate restore.",
			Content:     map[string]*huma.MediaType{"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}},
		}}},
		func(ctx context.Context, _ *struct{}) (*backupOutput, error) {
			return &backupOutput{func(c huma.Context) { s.sendBackup(ctx, c) }}, nil
		})
}

// sendBackup writes a backup. What fails after it began cuts the answer off, so that nobody
// takes the part for the whole.
func (s *Server) sendBackup(ctx context.Context, c huma.Context) {
	request, w := humago.Unwrap(c)
	out := &download{ResponseWriter: w}
	err := backup.Write(ctx, s.database, out)
	switch {
	case err == nil:
		out.begin()
	case out.begun:
		s.log.Error("sending a backup", "error", err)
		panic(http.ErrAbortHandler)
	default:
		s.refuse(w, request, err)
	}
}

// download is an answer that begins with its first byte.
type download struct {
	http.ResponseWriter
	begun bool
}

func (d *download) begin() {
	if !d.begun {
		d.begun = true
		d.Header().Set("Content-Type", "application/octet-stream")
		d.Header().Set("Content-Disposition", `attachment; filename="tollgate.backup"`)
		d.WriteHeader(http.StatusOK)
	}
}

func (d *download) Write(p []byte) (int, error) {
	d.begin()
	return d.ResponseWriter.Write(p)
}
