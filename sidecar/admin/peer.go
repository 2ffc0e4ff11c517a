package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"strconv"
)

// peer is who is at the other end of a connection, or why that is not known.
type peer struct {
	uid uint32
	err error
}

type peerKey struct{}

func withPeer(ctx context.Context, c net.Conn) context.Context {
	var p peer
	if unix, ok := c.(*net.UnixConn); ok {
		p.uid, p.err = peerUID(unix)
	} else {
		p.err = errors.New("the connection is not one of a Unix socket")
	}
	return context.WithValue(ctx, peerKey{}, p)
}

// admitted says whether the caller is the user that this process runs as, or root. The
// socket's mode lets no one else connect; this holds where somebody changed the mode.
func admitted(ctx context.Context) error {
	p, ok := ctx.Value(peerKey{}).(peer)
	switch {
	case !ok:
		return errors.New("the caller is not known")
	case p.err != nil:
		return p.err
	case p.uid != 0 && int(p.uid) != os.Geteuid():
		return fmt.Errorf("user %d is neither root nor the sidecar's own", p.uid)
	}
	return nil
}

// actor is the caller in the audit: "alice (uid 1000)", or "uid 1000" without a name.
func actor(ctx context.Context) string {
	p, _ := ctx.Value(peerKey{}).(peer)
	uid := strconv.FormatUint(uint64(p.uid), 10)
	if u, err := user.LookupId(uid); err == nil && u.Username != "" {
		return u.Username + " (uid " + uid + ")"
	}
	return "uid " + uid
}
