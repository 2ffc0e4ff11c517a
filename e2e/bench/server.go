package main

import (
	"context"
	"errors"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/cmd/process"
)

// Commands of this program, each a gRPC server that one of the Envoys asks. The rig runs
// them in processes of their own: their CPU time is their variant's.
const (
	authzCommand     = "authz"
	ratelimitCommand = "ratelimit"
)

// servers register what each command serves.
var servers = map[string]func(ctx context.Context, args []string, g *grpc.Server) error{
	authzCommand:     registerAuthz,
	ratelimitCommand: registerRateLimit,
}

// serveIfTold ends the process when its arguments were a server's: COMMAND ... SOCKET.
func serveIfTold() {
	if len(os.Args) < 2 {
		return
	}
	if register, ok := servers[os.Args[1]]; ok {
		exit(serve(register, os.Args[2:]))
	}
}

// serve serves until it is told to end.
func serve(register func(context.Context, []string, *grpc.Server) error, args []string) error {
	if len(args) == 0 {
		return errors.New("there is no socket to serve on")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	g := grpc.NewServer()
	last := len(args) - 1
	if err := register(ctx, args[:last], g); err != nil {
		return err
	}
	listener, err := net.Listen("unix", args[last])
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, g.Stop)
	return g.Serve(listener)
}

// serverCluster is what Envoy calls the variant's server.
const serverCluster = "server"

func (l *lane) startServer(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := append(l.server(l.rig), l.path("server.sock"))
	name := "the " + args[0] + " server"
	if err := l.run(process.Program{Name: name, Path: self, Env: l.rig.env(), Log: l.path("server.log"), Args: args}); err != nil {
		return err
	}
	return l.await(ctx, name, func() error { return dials("unix", l.path("server.sock")) })
}

// serverCluster is the part of Envoy's configuration that says where the server is.
func (l *lane) serverCluster() object {
	endpoint := object{"endpoint": object{"address": object{"pipe": object{"path": l.path("server.sock")}}}}
	return object{
		"name": serverCluster, "type": "STATIC", "connect_timeout": "1s",
		"load_assignment": object{"cluster_name": serverCluster, "endpoints": []any{object{"lb_endpoints": []any{endpoint}}}},
		"typed_extension_protocol_options": object{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": object{
			"@type":                "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
			"explicit_http_config": object{"http2_protocol_options": object{}},
		}},
	}
}

// serverGRPC is how a filter names the server.
func serverGRPC() object {
	return object{"envoy_grpc": object{"cluster_name": serverCluster}, "timeout": "5s"}
}

// authzServer is the command line of the server for ext_authz, but for the socket.
func authzServer(r *rig) []string {
	return []string{authzCommand, filepath.Join(r.root, catalogFile), r.backend.url()}
}

// ratelimitServer is that of the rate limit server.
func ratelimitServer(*rig) []string { return []string{ratelimitCommand} }
