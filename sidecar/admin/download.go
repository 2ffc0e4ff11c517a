package admin

import (
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// downloadOutput is an answer that is written while it is made.
type downloadOutput struct{ Body func(huma.Context) }

// send answers with what write writes. What fails after it began cuts the answer off, so that
// nobody takes the part for the whole; before, it is a problem.
func (s *Server) send(c huma.Context, kind, doing string, write func(io.Writer) error) {
	request, w := humago.Unwrap(c)
	ends, _ := request.Context().Deadline()
	out := &download{ResponseWriter: w, kind: kind, ends: ends}
	err := write(out)
	switch {
	case err == nil:
		out.begin()
	case out.begun:
		s.log.Error(doing, "error", err)
		panic(http.ErrAbortHandler)
	default:
		w.Header().Del("Content-Disposition")
		s.refuse(w, request, err)
	}
}

// download is an answer that begins with its first byte, and ends when nobody reads it: what
// it is made of is held as long.
type download struct {
	http.ResponseWriter
	kind  string
	ends  time.Time // when the time for the work is over
	begun bool
}

func (d *download) begin() {
	if !d.begun {
		d.begun = true
		d.Header().Set("Content-Type", d.kind)
		d.WriteHeader(http.StatusOK)
	}
}

func (d *download) Write(p []byte) (int, error) {
	d.begin()
	until := time.Now().Add(2 * ioTimeout)
	if last := d.ends.Add(2 * ioTimeout); until.After(last) {
		until = last
	}
	if err := http.NewResponseController(d.ResponseWriter).SetWriteDeadline(until); err != nil {
		return 0, err
	}
	return d.ResponseWriter.Write(p)
}
