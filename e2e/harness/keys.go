package harness

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/tollgate/tollgate/emulator"
)

// What the demo catalog declares.
const (
	DemoAPI       = "AzureML Demo API"
	DemoSuffix    = "azureml-demo"
	DemoWorkspace = emulator.DefaultWorkspace
	DemoService   = emulator.DefaultService
	// KeyHeader is where a consumer's key stands unless an API says otherwise.
	KeyHeader = "Ocp-Apim-Subscription-Key"
)

// Keys are the secrets of one gateway, random, so that a search for them finds only them.
// The sidecar gets them under the names that the demo catalog uses.
type Keys struct {
	Unlimited string // TOLLGATE_DEMO_KEY
	Starter   string // TOLLGATE_DEMO_STARTER_KEY
	Backend   string // AZUREML_API_KEY
}

func newKeys() Keys {
	return Keys{Unlimited: NewKey(), Starter: NewKey(), Backend: NewKey()}
}

// NewKey is a random key of 32 hex digits.
func NewKey() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

func (k Keys) consumers() []string { return []string{k.Unlimited, k.Starter} }

func (k Keys) env() []string {
	return []string{"TOLLGATE_DEMO_KEY=" + k.Unlimited, "TOLLGATE_DEMO_STARTER_KEY=" + k.Starter, "AZUREML_API_KEY=" + k.Backend}
}

// DemoCatalog is the text of the demo catalog.
func DemoCatalog(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(Root(), "examples/azureml-demo/tollgate.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Operation paths of the demo, below the gateway's URL.
const (
	demoServicePath = "/" + DemoSuffix + "/workspaces/" + DemoWorkspace + "/services/" + DemoService
	ExecutePath     = demoServicePath + "/execute?api-version=2.0&details=true"
	JobsPath        = demoServicePath + "/jobs?api-version=2.0"
)

// JobPath is the path of one job; action is "" or "/start".
func JobPath(id, action string) string {
	return demoServicePath + "/jobs/" + id + action + "?api-version=2.0"
}

// GoodDay is the demo experiment's request.
const GoodDay = `{"Inputs":{"input1":{"ColumnNames":["Col2"],"Values":[["This is a good day"]]}},"GlobalParameters":{}}`
