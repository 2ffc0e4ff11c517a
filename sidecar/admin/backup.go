package admin

import (
	"context"
	"io"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tollgate/tollgate/sidecar/backup"
)

// backupWork bounds a backup.
const backupWork = 30 * longWork

const typeBytes = "application/octet-stream"

func (s *Server) backupRoutes(rs *routes) {
	add(rs, Route{Method: http.MethodPost, Path: "/v1/backup", Right: RightBackup, work: backupWork},
		huma.Operation{Summary: "Make a copy of the whole store", Tags: []string{"backup"}, Responses: map[string]*huma.Response{"200": {
			Description: "A SQLite file, for tollgate restore.",
			Content:     map[string]*huma.MediaType{typeBytes: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}},
		}}},
		func(ctx context.Context, _ *struct{}) (*downloadOutput, error) {
			return &downloadOutput{func(c huma.Context) {
				c.SetHeader("Content-Disposition", `attachment; filename="tollgate.backup"`)
				s.send(c, typeBytes, "sending a backup", func(w io.Writer) error { return backup.Write(ctx, s.database, w) })
			}}, nil
		})
}
