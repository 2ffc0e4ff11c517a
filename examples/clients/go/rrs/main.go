// Command rrs asks an AzureML web service for one answer through a tollgate gateway. Settings come from the environment; the
// README two folders up lists them.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

const body = `{"Inputs":{"input1":{"ColumnNames":["Col2"],"Values":[["This is a good day"]]}},"GlobalParameters":{}}`

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(out io.Writer) error {
	for _, name := range []string{"GATEWAY", "KEY", "WORKSPACE", "SERVICE"} {
		if os.Getenv(name) == "" {
			return fmt.Errorf("set %s; see README.md", name)
		}
	}
	request, err := http.NewRequest(http.MethodPost, serviceURL()+"/execute?api-version=2.0&details=true", strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("making the request: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	if suffix() == "" {
		request.Header.Set("Authorization", "Bearer "+os.Getenv("KEY"))
	} else {
		request.Header.Set("Ocp-Apim-Subscription-Key", os.Getenv("KEY"))
	}
	response, err := (&http.Client{Timeout: time.Minute}).Do(request)
	if err != nil {
		return fmt.Errorf("asking the service: %w", err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return explain(response, answer)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, answer, "", "  "); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	_, err = fmt.Fprintln(out, indented.String())
	return err
}

// suffix is the API's first path segment at the gateway; empty when there is no gateway.
func suffix() string {
	if value, ok := os.LookupEnv("SUFFIX"); ok {
		return strings.Trim(value, "/")
	}
	return "azureml-demo"
}

func serviceURL() string {
	gateway := strings.TrimRight(os.Getenv("GATEWAY"), "/")
	if suffix() != "" {
		gateway += "/" + suffix()
	}
	return gateway + "/workspaces/" + os.Getenv("WORKSPACE") + "/services/" + os.Getenv("SERVICE")
}

// explain reads an error answer in AzureML's form ({"error":{...}}) or the gateway's.
func explain(response *http.Response, body []byte) error {
	type fields struct {
		Code, Title, Message, Detail string
		Details                      []struct{ Code, Message string }
	}
	var answer struct {
		Error *fields
		fields
	}
	text := string(body)
	if json.Unmarshal(body, &answer) == nil {
		f := answer.fields
		if answer.Error != nil {
			f = *answer.Error
		}
		text = f.Message + f.Detail
		if code := f.Code + f.Title; code != "" {
			text = code + ": " + text
		}
		for _, d := range f.Details {
			text += " (" + d.Code + ": " + d.Message + ")"
		}
	}
	text = fmt.Sprintf("status %d: %s", response.StatusCode, text)
	if after := response.Header.Get("Retry-After"); after != "" {
		text += " Retry after " + after + " s."
	}
	return errors.New(text)
}
