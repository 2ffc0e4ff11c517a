// Command bes runs a batch job of an AzureML web service through a tollgate gateway: it uploads a CSV, submits and starts a job,
// asks for its status each second, downloads the result and deletes the job. Settings come from the environment; the README two
// folders up lists them. The submit body carries the storage account's key, as AzureML's interface has it: use an account for
// this purpose.
package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
)

const sample = "Col2\nThis is a good day\nI loved this book\n"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	for _, name := range []string{"GATEWAY", "KEY", "WORKSPACE", "SERVICE", "BLOB_CONNECTION"} {
		if os.Getenv(name) == "" {
			return fmt.Errorf("set %s; see README.md", name)
		}
	}
	container, name := cmp.Or(os.Getenv("CONTAINER"), "azureml"), rand.Text()
	input, output := name+"-in.csv", name+"-out.csv"
	if err := upload(ctx, container, input); err != nil {
		return fmt.Errorf("uploading the input: %w", err)
	}
	job, err := submit(ctx, "/"+container+"/"+input, "/"+container+"/"+output)
	if err != nil {
		return fmt.Errorf("submitting the job: %w", err)
	}
	fmt.Println("submitted job", job)
	defer func() {
		_, e := call(context.WithoutCancel(ctx), http.MethodDelete, "/jobs/"+job, nil)
		if e == nil {
			fmt.Println("deleted job", job)
		}
		err = errors.Join(err, e)
	}()
	if _, err := call(ctx, http.MethodPost, "/jobs/"+job+"/start", nil); err != nil {
		return fmt.Errorf("starting the job: %w", err)
	}
	location, err := wait(ctx, job)
	if err != nil {
		return fmt.Errorf("waiting for the job: %w", err)
	}
	return download(ctx, location, cmp.Or(os.Getenv("OUTPUT"), "result.csv"))
}

// upload puts the file $INPUT, or the sample, into the container, which is made if it is not there.
func upload(ctx context.Context, container, name string) error {
	data := []byte(sample)
	if path := os.Getenv("INPUT"); path != "" {
		var err error
		if data, err = os.ReadFile(path); err != nil {
			return err
		}
	}
	client, err := azblob.NewClientFromConnectionString(os.Getenv("BLOB_CONNECTION"), nil)
	if err != nil {
		return err
	}
	if _, err := client.CreateContainer(ctx, container, nil); err != nil && !bloberror.HasCode(err, bloberror.ContainerAlreadyExists) {
		return err
	}
	_, err = client.UploadBuffer(ctx, container, name, data, nil)
	return err
}

func submit(ctx context.Context, input, output string) (job string, err error) {
	type blob struct{ ConnectionString, RelativeLocation string }
	connection := os.Getenv("BLOB_CONNECTION")
	body, err := json.Marshal(struct {
		Input            blob
		Outputs          map[string]blob
		GlobalParameters struct{}
	}{Input: blob{connection, input}, Outputs: map[string]blob{"output1": {connection, output}}})
	if err != nil {
		return "", err
	}
	answer, err := call(ctx, http.MethodPost, "/jobs", body)
	if err != nil {
		return "", err
	}
	return job, json.Unmarshal(answer, &job)
}

// wait asks each second until the job has ended, and returns its result's URL.
func wait(ctx context.Context, job string) (location string, err error) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		answer, err := call(ctx, http.MethodGet, "/jobs/"+job, nil)
		if err != nil {
			return "", err
		}
		var status struct {
			StatusCode any // a name, or a number from 0 to 4
			Details    string
			Results    map[string]struct{ BaseLocation, RelativeLocation, SasBlobToken string }
		}
		if err := json.Unmarshal(answer, &status); err != nil {
			return "", err
		}
		fmt.Println("job is", status.StatusCode)
		switch status.StatusCode {
		case "Finished", 4.0:
			r := status.Results["output1"]
			return r.BaseLocation + r.RelativeLocation + r.SasBlobToken, nil
		case "Failed", 2.0, "Cancelled", 3.0:
			return "", fmt.Errorf("it is %v: %s", status.StatusCode, status.Details)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// download writes what is at location, a URL that carries its own permission and takes no key, to a file.
func download(ctx context.Context, location, path string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, location, nil)
	if err != nil {
		return errors.New("the result's location is not a URL")
	}
	data, err := send(request)
	if err != nil {
		return fmt.Errorf("downloading the result: %w", err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	fmt.Println("wrote", path)
	return nil
}

// call asks the service, behind the gateway's suffix or, when SUFFIX is empty, itself.
func call(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	suffix, ok := os.LookupEnv("SUFFIX")
	if !ok {
		suffix = "azureml-demo"
	}
	address := strings.TrimRight(os.Getenv("GATEWAY"), "/")
	header, key := "Authorization", "Bearer "+os.Getenv("KEY")
	if suffix = strings.Trim(suffix, "/"); suffix != "" {
		address += "/" + suffix
		header, key = "Ocp-Apim-Subscription-Key", os.Getenv("KEY")
	}
	address += "/workspaces/" + os.Getenv("WORKSPACE") + "/services/" + os.Getenv("SERVICE") + path + "?api-version=2.0"
	request, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	request.Header.Set(header, key)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	return send(request)
}

func send(request *http.Request) ([]byte, error) {
	response, err := (&http.Client{Timeout: time.Minute}).Do(request)
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // without the URL: a result's holds a signature
	}
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= 300 {
		return nil, explain(response, answer)
	}
	return answer, nil
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
