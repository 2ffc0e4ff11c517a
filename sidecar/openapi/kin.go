package openapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
	"github.com/getkin/kin-openapi/openapi3"
)

var errFetch = errors.New("nothing is fetched")

// loader resolves references within a document alone.
func loader() *openapi3.Loader {
	l := openapi3.NewLoader()
	l.ReadFromURIFunc = func(*openapi3.Loader, *url.URL) ([]byte, error) { return nil, errFetch }
	return l
}

// guarded turns a panic of the library into an error: it reads what strangers wrote.
func guarded(f func() error) (err error) {
	defer func() {
		if problem := recover(); problem != nil {
			err = fmt.Errorf("the document is malformed: %v", problem)
		}
	}()
	return f()
}

// converted is a document of version 2.0 as one of 3.0.
func converted(doc map[string]any) (three map[string]any, err error) {
	err = guarded(func() error {
		data, err := encoded(doc)
		if err != nil {
			return err
		}
		var two openapi2.T
		if err := json.Unmarshal(data, &two); err != nil {
			return err
		}
		t, err := openapi2conv.ToV3WithLoader(&two, loader(), nil)
		if err != nil {
			return err
		}
		tree, err := ordinary(t)
		three = mapping(tree)
		return err
	})
	return three, err
}

// faults says what is not valid in a document of version 3; empty where it is.
func faults(doc map[string]any) string {
	err := guarded(func() error {
		data, err := encoded(doc)
		if err != nil {
			return err
		}
		t, err := loader().LoadFromData(data)
		if err != nil {
			return err
		}
		// Examples and defaults are data for people: whether they fit is not our business.
		options := []openapi3.ValidationOption{openapi3.DisableExamplesValidation(), openapi3.DisableSchemaDefaultsValidation(),
			openapi3.DisableSchemaPatternValidation()}
		if !strings.HasPrefix(text(doc["openapi"]), "3.0") {
			// The library does not know that 3.1 has these.
			options = append(options, openapi3.IsOpenAPI31OrLater(), openapi3.AllowExtraSiblingFields("pathItems"))
		}
		return t.Validate(context.Background(), options...)
	})
	if err == nil {
		return ""
	}
	message, _, _ := strings.Cut(err.Error(), "\n")
	return shortened(message, 300)
}
