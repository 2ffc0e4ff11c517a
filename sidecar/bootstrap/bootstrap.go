// Package bootstrap fills in envoy.yaml: ports, sockets and files. It knows where they
// stand in that file and nothing else about Envoy; comments and order stay as they are.
package bootstrap

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/tollgate/tollgate/sidecar/socket"
	"github.com/tollgate/tollgate/sidecar/xds"
)

// FilterState is the prefix of the keys under which the filter's properties tollgate.* show
// up in Envoy's filter state, and so in the access log.
const FilterState = "wasm.tollgate."

// Names of the HTTP filters in envoy.yaml.
const (
	CORSFilter = "envoy.filters.http.cors"
	WasmFilter = "envoy.filters.http.wasm"
)

// Values is what envoy.yaml leaves open. Every field is needed. Paths should be absolute,
// for Envoy takes them relative to its own working folder; those of sockets are at most 107
// bytes long (Linux, unix(7)).
type Values struct {
	Address       string // where to listen, a literal address
	Port          int    // 1 to 65535
	AdminSocket   string
	SidecarSocket string
	XDS           string // the folder that xds.Write writes to
	Plugin        string // the compiled filter
	AccessLog     string // a file
}

// Fill returns envoy.yaml with v in its places. It fails when a place is missing, so a
// restructured envoy.yaml is found out at once, and when v is incomplete.
func Fill(template []byte, v Values) ([]byte, error) {
	if err := v.check(); err != nil {
		return nil, fmt.Errorf("filling in Envoy's bootstrap: %w", err)
	}
	document := &yaml.Node{}
	if err := yaml.Unmarshal(template, document); err != nil {
		return nil, fmt.Errorf("reading Envoy's bootstrap: %w", err)
	}
	for _, p := range v.places() {
		if err := set(document, p.value, p.path); err != nil {
			return nil, fmt.Errorf("filling in Envoy's bootstrap: %s: %w", strings.Join(p.path, "."), err)
		}
	}
	return encode(document)
}

// Without returns a bootstrap without the HTTP filter of this name: for tests of what
// happens then.
func Without(bootstrap []byte, filter string) ([]byte, error) {
	document := &yaml.Node{}
	if err := yaml.Unmarshal(bootstrap, document); err != nil {
		return nil, fmt.Errorf("reading Envoy's bootstrap: %w", err)
	}
	filters, err := find(document, append(manager(), "http_filters"))
	if err != nil {
		return nil, fmt.Errorf("removing filter %s: %w", filter, err)
	}
	for i, f := range filters.Content {
		if name := member(f, "name"); name != nil && name.Value == filter {
			filters.Content = append(filters.Content[:i:i], filters.Content[i+1:]...)
			return encode(document)
		}
	}
	return nil, fmt.Errorf("removing filter %s: there is none", filter)
}

func (v Values) check() error {
	if v.Port < 1 || v.Port > 65535 {
		return fmt.Errorf("port %d is not in 1 to 65535", v.Port)
	}
	for name, value := range map[string]string{
		"address": v.Address, "folder for routes and clusters": v.XDS, "plugin": v.Plugin, "access log": v.AccessLog,
	} {
		if value == "" {
			return fmt.Errorf("the %s is missing", name)
		}
	}
	for _, path := range []string{v.AdminSocket, v.SidecarSocket} {
		if path == "" {
			return errors.New("the path of a socket is missing")
		}
		if len(path) > socket.MaxPath {
			return fmt.Errorf("the socket's path %s has %d bytes; a socket's path has at most %d, use a folder with a shorter name",
				path, len(path), socket.MaxPath)
		}
	}
	return nil
}

// place is a scalar in envoy.yaml. A step of its path is a key of a mapping, or in a
// sequence the name of an element, or its number.
type place struct {
	value string
	path  []string
}

func manager() []string {
	return []string{"static_resources", "listeners", "gateway", "filter_chains", "0", "filters",
		"envoy.filters.network.http_connection_manager", "typed_config"}
}

func (v Values) places() []place {
	under := func(parent []string, steps ...string) []string {
		return append(parent[:len(parent):len(parent)], steps...)
	}
	listen := []string{"static_resources", "listeners", "gateway", "address", "socket_address"}
	cds := []string{"dynamic_resources", "cds_config", "path_config_source"}
	rds := under(manager(), "rds", "config_source", "path_config_source")
	return []place{
		{v.AdminSocket, []string{"admin", "address", "pipe", "path"}},
		{filepath.Join(v.XDS, xds.ClustersFile), under(cds, "path")},
		{v.XDS, under(cds, "watched_directory", "path")},
		{v.Address, under(listen, "address")},
		{strconv.Itoa(v.Port), under(listen, "port_value")},
		{v.AccessLog, under(manager(), "access_log", "envoy.access_loggers.file", "typed_config", "path")},
		{filepath.Join(v.XDS, xds.RoutesFile), under(rds, "path")},
		{v.XDS, under(rds, "watched_directory", "path")},
		{v.Plugin, under(manager(), "http_filters", WasmFilter, "typed_config", "config", "vm_config", "code", "local", "filename")},
		{v.SidecarSocket, []string{"static_resources", "clusters", xds.SidecarCluster, "load_assignment", "endpoints", "0",
			"lb_endpoints", "0", "endpoint", "address", "pipe", "path"}},
	}
}

// set replaces the scalar at path with one of the same type: a name stays a name where it
// is made of digits.
func set(document *yaml.Node, value string, path []string) error {
	node, err := find(document, path)
	if err != nil {
		return err
	}
	if node.Kind != yaml.ScalarNode {
		return errors.New("not a single value")
	}
	if node.ShortTag() == "!!str" {
		node.SetString(value)
	} else {
		node.Value = value
	}
	return nil
}

func find(node *yaml.Node, path []string) (*yaml.Node, error) {
	if node.Kind == yaml.DocumentNode && len(node.Content) == 1 {
		node = node.Content[0]
	}
	for _, step := range path {
		var next *yaml.Node
		switch node.Kind {
		case yaml.MappingNode:
			next = member(node, step)
		case yaml.SequenceNode:
			next = element(node, step)
		}
		if next == nil {
			return nil, fmt.Errorf("there is no %q", step)
		}
		node = next
	}
	return node, nil
}

func member(mapping *yaml.Node, key string) *yaml.Node {
	for i := 0; mapping.Kind == yaml.MappingNode && i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return nil
}

func element(sequence *yaml.Node, step string) *yaml.Node {
	if n, err := strconv.Atoi(step); err == nil && n >= 0 && n < len(sequence.Content) {
		return sequence.Content[n]
	}
	for _, e := range sequence.Content {
		if name := member(e, "name"); name != nil && name.Value == step {
			return e
		}
	}
	return nil
}

func encode(document *yaml.Node) ([]byte, error) {
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(document); err != nil {
		return nil, fmt.Errorf("writing Envoy's bootstrap: %w", err)
	}
	if err := encoder.Close(); err != nil {
		return nil, fmt.Errorf("writing Envoy's bootstrap: %w", err)
	}
	return out.Bytes(), nil
}
