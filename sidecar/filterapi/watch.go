package filterapi

import (
	"net/http"
	"strconv"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
)

// watch answers at once when the filter's revision is not the published one, else when
// another is published, else 304 after the watch's time. When the server ends, 503: the
// filter has no contact from then on.
func (s *Server) watch(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	version, err := strconv.Atoi(query.Get(wire.WatchVersion))
	if err != nil {
		version = 0
	}
	if err := checkVersion(version); err != nil {
		s.writeError(w, r, err)
		return
	}
	// The rest of the request is not read; the server notices a filter that leaves.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.watchTimeout + writeTimeout))
	s.metrics.watches.Inc()
	defer s.metrics.watches.Dec()
	timeout := time.NewTimer(s.watchTimeout)
	defer timeout.Stop()
	for held := query.Get(wire.WatchRevision); ; {
		st := s.state.Load()
		if st == nil {
			s.writeError(w, r, errNotReady)
			return
		}
		if held != st.revision.String() {
			body, err := st.snapshot(version)
			if err != nil {
				s.writeError(w, r, err)
				return
			}
			writeBody(w, http.StatusOK, body)
			return
		}
		select {
		case <-st.replaced:
		case <-timeout.C:
			w.WriteHeader(http.StatusNotModified)
			return
		case <-s.closing:
			s.writeError(w, r, errClosing)
			return
		case <-r.Context().Done():
			return
		}
	}
}

var errClosing = &fault{http.StatusServiceUnavailable, "closing", "the sidecar is going away"}
