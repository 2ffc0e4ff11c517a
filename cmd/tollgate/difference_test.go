package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/sidecar/admin"
)

func TestPrintDifference(t *testing.T) {
	for name, c := range map[string]struct {
		change admin.PlannedChange
		want   string
	}{
		"created": {admin.PlannedChange{Action: "create", Kind: "product", Name: "Starter", After: json.RawMessage(`{"apis":["Demo"],"name":"Starter","published":true}`)},
			"--- (none)\n+++ product/Starter (t.yaml)\n+ name: \"Starter\"\n+ apis[0]: \"Demo\"\n+ published: true\n"},
		"deleted": {admin.PlannedChange{Action: "delete", Kind: "group", Name: "P", Before: json.RawMessage(`{"name":"P"}`)},
			"--- group/P (store)\n+++ (none)\n- name: \"P\"\n"},
		"changed": {admin.PlannedChange{Action: "update", Kind: "product", Name: "Starter",
			Before: json.RawMessage(`{"name":"Starter","limits":[{"name":"minute","amount":5},{"name":"week","amount":100}],"terms":"a & b"}`),
			After:  json.RawMessage(`{"name":"Starter","limits":[{"name":"day","amount":9},{"name":"minute","amount":10},{"name":"week","amount":100}],"groups":[]}`)},
			"--- product/Starter (store)\n+++ product/Starter (t.yaml)\n" +
				"- limits[\"minute\"].amount: 5\n+ limits[\"minute\"].amount: 10\n- terms: \"a & b\"\n" +
				"+ groups: []\n+ limits[\"day\"].name: \"day\"\n+ limits[\"day\"].amount: 9\n"},
		"order only": {admin.PlannedChange{Action: "update", Kind: "api", Name: "D",
			Before: json.RawMessage(`{"operations":[{"name":"a"},{"name":"b"}]}`), After: json.RawMessage(`{"operations":[{"name":"b"},{"name":"a"}]}`)},
			"--- api/D (store)\n+++ api/D (t.yaml)\n# only the order of lists is another\n"},
		"the organization, large numbers, odd names": {admin.PlannedChange{Action: "update", Kind: "organization",
			Before: json.RawMessage(`{"a b":{"n":999999999999999}}`), After: json.RawMessage(`{"a b":{"n":999999999999998}}`)},
			"--- organization (store)\n+++ organization (t.yaml)\n- [\"a b\"].n: 999999999999999\n+ [\"a b\"].n: 999999999999998\n"},
		"two of a name": {admin.PlannedChange{Action: "update", Kind: "api", Name: "D",
			Before: json.RawMessage(`{"p":[{"name":"a","in":"path"},{"name":"a","in":"query"}]}`), After: json.RawMessage(`{"p":[{"name":"a","in":"path"},{"name":"a","in":"header"}]}`)},
			"--- api/D (store)\n+++ api/D (t.yaml)\n- p[1].in: \"query\"\n+ p[1].in: \"header\"\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := printDifference(&b, c.change, "t.yaml"); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, b.String()); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}
