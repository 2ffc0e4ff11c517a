package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/admin"
	"github.com/tollgate/tollgate/sidecar/secret"
)

const (
	// defaultAdmin is where serve is administered and the tools look for it.
	defaultAdmin = ".tollgate/admin-api.sock"
	// adminTimeout bounds one call to a sidecar.
	adminTimeout = 30 * time.Second

	serverVariable = "TOLLGATE_SERVER"
	tokenVariable  = "TOLLGATE_TOKEN"
)

func environmentTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "environment",
		Short: "The environment variables that commands read",
		Long: `The commands that talk to a sidecar read these:

  TOLLGATE_SERVER  where it is, as --server: unix:PATH, http://HOST:PORT or https://HOST:PORT;
                   unix:` + defaultAdmin + ` unless given
  TOLLGATE_TOKEN   a token of the admin API, unless --token-file names a file with one; it is
                   not sent over a Unix socket, where the user is known

` + "`tollgate serve` and `tollgate apply` read as well the variables that a catalog names.",
	}
}

// connection is how a command reaches a sidecar.
type connection struct {
	server, tokenFile, ca string
	socket                string // --admin
}

func (o *connection) register(f *pflag.FlagSet) {
	f.StringVar(&o.server, "server", "", "the sidecar: unix:PATH, http://HOST:PORT or https://HOST:PORT (default $"+serverVariable+", or unix:"+defaultAdmin+")")
	f.StringVar(&o.tokenFile, "token-file", "", "file with a token of the admin API (default: the token in $"+tokenVariable+")")
	f.StringVar(&o.ca, "ca", "", "PEM file with the certificates to trust in place of the system's")
}

// registerAdmin adds --admin, which is older than --server.
func (o *connection) registerAdmin(f *pflag.FlagSet) {
	o.register(f)
	f.StringVar(&o.socket, "admin", "", "PATH; the same as --server unix:PATH")
}

// client makes a client. Its calls take at most timeout.
func (o *connection) client(timeout time.Duration) (*admin.Client, error) {
	if o.server != "" && o.socket != "" {
		return nil, misusef("--admin PATH is --server unix:PATH: give one of them")
	}
	server := cmp.Or(o.server, os.Getenv(serverVariable), "unix:"+defaultAdmin)
	if o.socket != "" {
		server = "unix:" + o.socket
	}
	token, err := o.token(server)
	if err != nil {
		return nil, err
	}
	client, err := admin.NewClient(server, admin.Options{Token: token, CA: o.ca, Timeout: timeout})
	if err != nil {
		return nil, misuse{fmt.Errorf("reaching the sidecar: %w", err)}
	}
	return client, nil
}

// token is what to send to a server; empty for none.
func (o *connection) token(server string) (string, error) {
	token := ""
	switch socket := strings.HasPrefix(server, "unix:"); {
	case o.tokenFile != "":
		var err error
		if token, err = (secret.Reader{}).Read(catalog.Secret{File: o.tokenFile}); err != nil {
			return "", misuse{fmt.Errorf("reading the token: %w", err)}
		}
	case !socket:
		token = strings.TrimSpace(os.Getenv(tokenVariable))
	}
	if token != "" && inClear(server) {
		return "", misusef("the token would go to %s in clear: use https://", server)
	}
	return token, nil
}

// inClear says whether what is sent to a server can be read on the way.
func inClear(server string) bool {
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "http" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback())
}

// unreachable says whether no sidecar could be asked at all.
func unreachable(err error) bool {
	var dial *net.OpError
	var name *net.DNSError
	return errors.Is(err, admin.ErrNobody) || errors.As(err, &name) || errors.As(err, &dial) && dial.Op == "dial"
}

// pageSize is how many items are asked for at once, the most that the admin API gives.
const pageSize = 1000

// pages returns the items of a list from its first page on, at most limit of them; 0: all.
func pages[Item any](ctx context.Context, client *admin.Client, path string, query url.Values, limit int) ([]Item, error) {
	items := []Item{}
	asked := url.Values{}
	for name, values := range query {
		asked[name] = values
	}
	for {
		size := pageSize
		if limit > 0 {
			size = min(size, limit-len(items))
		}
		asked.Set("limit", fmt.Sprint(size))
		page, _, err := admin.Call[admin.List[Item]](ctx, client, admin.Request{Path: path, Query: asked})
		if err != nil {
			return nil, err
		}
		items = append(items, page.Items...)
		if page.Next == "" || limit > 0 && len(items) >= limit {
			return items, nil
		}
		asked.Set("after", page.Next)
	}
}
