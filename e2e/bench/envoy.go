package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/tollgate/tollgate/sidecar/bootstrap"
	"github.com/tollgate/tollgate/sidecar/xds"
)

// writeBootstrap fills in envoy.yaml and puts the variant's filter in the place of ours.
func (l *lane) writeBootstrap() error {
	template, err := os.ReadFile(filepath.Join(l.rig.root, "envoy.yaml"))
	if err != nil {
		return err
	}
	module := l.module
	if module == "" {
		module = filepath.Join(l.rig.root, pluginFile)
	}
	text, err := bootstrap.Fill(template, bootstrap.Values{
		Address: loopback, Port: l.port, AdminSocket: l.path("admin.sock"), SidecarSocket: l.path("sidecar.sock"),
		XDS: l.path("xds"), Plugin: module,
		AccessLog: os.DevNull, // lines are made as ever; a disk would only add noise
	})
	if err != nil {
		return err
	}
	if !l.filtered {
		if text, err = l.replaceFilter(text); err != nil {
			return err
		}
	}
	return os.WriteFile(l.path("envoy.yaml"), text, 0o600)
}

func (l *lane) replaceFilter(text []byte) ([]byte, error) {
	text, err := bootstrap.Without(text, bootstrap.WasmFilter)
	if err != nil || l.filter == nil {
		return text, err
	}
	var document object
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, fmt.Errorf("reading Envoy's bootstrap: %w", err)
	}
	resources := document["static_resources"].(object)
	chain := resources["listeners"].([]any)[0].(object)["filter_chains"].([]any)[0].(object)
	manager := chain["filters"].([]any)[0].(object)["typed_config"].(object)
	filters := manager["http_filters"].([]any)
	manager["http_filters"] = slices.Insert(filters, len(filters)-1, any(l.filter(l.rig))) // before the router
	if l.server != nil {
		resources["clusters"] = append(resources["clusters"].([]any), l.serverCluster())
	}
	return yaml.Marshal(document)
}

// writeRoutes writes what the sidecar would, for a variant that has none.
func (l *lane) writeRoutes() error {
	c, err := l.rig.catalog()
	if err != nil {
		return err
	}
	clusters, routes, err := xds.Files(c, xds.Options{})
	if err != nil {
		return err
	}
	if l.byPath {
		if routes, err = routesByPath(routes); err != nil {
			return err
		}
	}
	if err := os.WriteFile(l.path("xds/"+xds.ClustersFile), clusters, 0o600); err != nil {
		return err
	}
	return os.WriteFile(l.path("xds/"+xds.RoutesFile), routes, 0o600)
}

// routesByPath takes the condition out that a filter has named the API.
func routesByPath(text []byte) ([]byte, error) {
	var document object
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, fmt.Errorf("reading routes: %w", err)
	}
	host := document["resources"].([]any)[0].(object)["virtual_hosts"].([]any)[0].(object)
	for _, r := range host["routes"].([]any) {
		match := r.(object)["match"].(object)
		headers, _ := match["headers"].([]any) // the last route has none
		match["headers"] = slices.DeleteFunc(headers, func(h any) bool { return h.(object)["name"] == xds.APIHeader })
	}
	return yaml.Marshal(document)
}
