package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Names of the two limits of the variant limits.
const (
	minuteLimit = "minute"
	weekLimit   = "week"
)

// productName is, in the demo's catalog, the product of the consumer's subscription.
const productName = "Unlimited"

// twoLimits are a rate and a quota that nothing here reaches, so that units are leased many
// at a time.
func twoLimits() []any {
	return []any{
		object{"name": minuteLimit, "kind": "rate", "amount": int64(1_000_000_000), "window": "1m"},
		object{"name": weekLimit, "kind": "quota", "amount": int64(1_000_000_000_000), "period": "7d"},
	}
}

// writeCatalog writes the demo's catalog with the two limits, and returns the file.
func (l *lane) writeCatalog() (string, error) {
	text, err := os.ReadFile(filepath.Join(l.rig.root, catalogFile))
	if err != nil {
		return "", fmt.Errorf("reading the catalog: %w", err)
	}
	var document object
	if err := yaml.Unmarshal(text, &document); err != nil {
		return "", fmt.Errorf("reading the catalog: %w", err)
	}
	found := false
	for _, p := range document["products"].([]any) {
		if product := p.(object); product["name"] == productName {
			product["limits"] = twoLimits()
			found = true
		}
	}
	if !found {
		return "", fmt.Errorf("the catalog has no product %s", productName)
	}
	if text, err = yaml.Marshal(document); err != nil {
		return "", err
	}
	file := l.path("tollgate.yaml")
	return file, os.WriteFile(file, text, 0o600)
}

// checkLimits says whether an answer tells of both limits: that they apply.
func (l *lane) checkLimits(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+l.address()+"/"+apiSuffix+requestPath+requestQuery, strings.NewReader(requestBody))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set(keyHeader, l.rig.keys.consumer)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	response.Body.Close()
	policy := strings.Join(response.Header.Values("RateLimit-Policy"), ", ")
	for _, name := range []string{minuteLimit, weekLimit} {
		if !strings.Contains(policy, strconv.Quote(name)) {
			return fmt.Errorf("an answer's RateLimit-Policy is %q: the limit %q does not apply", policy, name)
		}
	}
	return nil
}
