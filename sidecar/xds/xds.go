// Package xds writes Envoy's routes and clusters from the catalog, as the two files that
// envoy.yaml watches. It decides where a checked request goes; whether it may go is the
// filter's business: every route to a backend matches on the header x-tollgate-api, which
// only the filter sets.
package xds

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/tollgate/tollgate/internal/catalog"
)

// Names of the files below the folder that Write is given.
const (
	RoutesFile   = "routes.yaml"
	ClustersFile = "clusters.yaml"
)

// Names that envoy.yaml uses.
const (
	// RouteConfiguration is the name of the one route table.
	RouteConfiguration = "tollgate"
	// SidecarCluster is the filter's way to the sidecar; no API's cluster has this name.
	SidecarCluster = "tollgate"
	// NoCluster is the name of a cluster that there never is: requests to it get 503.
	NoCluster = "unfiltered"
	// APIHeader carries the suffix of the API that the filter let the request into.
	APIHeader = "x-tollgate-api"
)

// Options is what the catalog does not say.
type Options struct {
	// TrustBundle is the PEM file of certificate authorities for https backends; empty:
	// the system's, see SystemTrustBundle.
	TrustBundle string
}

// Write brings the files in dir up to date with the catalog. A file is replaced in one
// rename, and only when its bytes would change, so Envoy never reads half a file and never
// reloads for nothing. On an error no file has been touched, except when a rename itself
// fails.
//
// Clusters go first: a route never names a cluster that Envoy has not been told of.
func Write(dir string, c *catalog.Catalog, o Options) error {
	clusters, routes, err := Files(c, o)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("writing routes and clusters: %w", err)
	}
	if err := replace(filepath.Join(dir, ClustersFile), clusters); err != nil {
		return fmt.Errorf("writing clusters: %w", err)
	}
	if err := replace(filepath.Join(dir, RoutesFile), routes); err != nil {
		return fmt.Errorf("writing routes: %w", err)
	}
	return nil
}

// Files is what Write writes: the same bytes for the same catalog and options.
func Files(c *catalog.Catalog, o Options) (clusters, routes []byte, err error) {
	var cs []proto.Message
	for _, api := range routed(c) {
		cluster, err := newCluster(api, o)
		if err != nil {
			return nil, nil, fmt.Errorf("making the cluster of API %q: %w", api.Name, err)
		}
		cs = append(cs, cluster)
	}
	table, err := newRoutes(routed(c))
	if err != nil {
		return nil, nil, fmt.Errorf("making routes: %w", err)
	}
	if clusters, err = response(cs...); err != nil {
		return nil, nil, fmt.Errorf("encoding clusters: %w", err)
	}
	if routes, err = response(table); err != nil {
		return nil, nil, fmt.Errorf("encoding routes: %w", err)
	}
	return clusters, routes, nil
}

// routed lists the APIs that Envoy routes here; those with route: external are routed by
// the mesh around us.
func routed(c *catalog.Catalog) []catalog.API {
	var apis []catalog.API
	for _, api := range c.APIs {
		if api.Route != "external" {
			apis = append(apis, api)
		}
	}
	return apis
}

// response wraps resources the way Envoy reads them from a file. The version is a hash of
// the resources: /config_dump shows which state a running Envoy holds.
func response(resources ...proto.Message) ([]byte, error) {
	message := &discovery.DiscoveryResponse{}
	hash := sha256.New()
	for _, r := range resources {
		if err := validate(r); err != nil {
			return nil, err
		}
		packed := &anypb.Any{}
		if err := anypb.MarshalFrom(packed, r, proto.MarshalOptions{Deterministic: true}); err != nil {
			return nil, err
		}
		hash.Write(packed.Value)
		message.Resources = append(message.Resources, packed)
	}
	message.VersionInfo = hex.EncodeToString(hash.Sum(nil)[:8])
	return toYAML(message)
}

// validate applies the constraints of Envoy's own protobuf files.
func validate(m proto.Message) error {
	v, ok := m.(interface{ ValidateAll() error })
	if !ok {
		return fmt.Errorf("%T has no constraints to check", m)
	}
	return v.ValidateAll()
}

// toYAML goes through JSON values, because protojson's own spacing is random on purpose.
func toYAML(m proto.Message) ([]byte, error) {
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	out.WriteString("# Written by the tollgate sidecar from the catalog; do not edit.\n")
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return out.Bytes(), encoder.Close()
}

// replace puts content in the place of file unless it is there already.
func replace(file string, content []byte) error {
	old, err := os.ReadFile(file)
	if err == nil && bytes.Equal(old, content) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) // fails once it is renamed, as it should
	if _, err := temp.Write(content); err != nil {
		return errors.Join(err, temp.Close())
	}
	// Envoy may run as another user; nothing in here is a secret.
	if err := temp.Chmod(0o644); err != nil {
		return errors.Join(err, temp.Close())
	}
	if err := temp.Close(); err != nil {
		return err
	}
	return os.Rename(temp.Name(), file)
}
