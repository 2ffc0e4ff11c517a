package emulator

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// submitLimit is how long a submit waits for the input's storage account.
const submitLimit = 10 * time.Second

// submit checks a batch request and records a job that is NotStarted. The body carries storage keys: no error repeats any of it
// but the names of inputs, outputs and blobs.
func (s *Server) submit(ctx context.Context, body []byte) (response, *Error) {
	request, e := members(body, "Input", "Inputs", "Outputs", "GlobalParameters")
	if e != nil {
		return response{}, e
	}
	if e := noParameters(request["GlobalParameters"]); e != nil {
		return response{}, e
	}
	if request["Input"] != nil && request["Inputs"] != nil {
		return response{}, NewError("DuplicateInputInBatchCall")
	}
	source := request["Input"]
	if source == nil {
		if source, e = onlyInput(request["Inputs"]); e != nil {
			return response{}, e
		}
	}
	if source == nil {
		return response{}, NewError("BatchJobInputsNotSpecified", inputName)
	}
	in, e := parseBlob(inputName, source, inputExtensions)
	if e != nil {
		return response{}, e
	}
	id := newID()
	out, e := s.output(request["Outputs"], id)
	if e != nil {
		return response{}, e
	}
	ctx, cancel := context.WithTimeout(ctx, submitLimit)
	defer cancel()
	if err := in.exists(ctx); err != nil {
		return response{}, NewError("BlobNotFound", inputName, storageCode(err))
	}
	if !s.jobs.add(id, in, out) {
		return response{}, NewError("NoMoreResources")
	}
	return jsonResponse(http.StatusOK, id), nil
}

// output is where output1 goes: the override of the submit body, else a blob named after the job in the service's own storage.
func (s *Server) output(value json.RawMessage, job string) (*blobRef, *Error) {
	overrides := map[string]json.RawMessage{}
	if value != nil && json.Unmarshal(value, &overrides) != nil {
		return nil, NewError("RequestBodyInvalid")
	}
	for _, name := range sortedKeys(overrides) {
		if name != outputName {
			return nil, NewError("InvalidOutputOverrideName", name)
		}
	}
	override, named := overrides[outputName]
	if named && string(override) != "null" {
		return parseBlob(outputName, override, outputExtensions)
	}
	if named || s.storage == nil {
		return nil, NewError("MissingOutputOverrideSpecification", outputName)
	}
	return s.storage.blob(outputName, s.config.StorageContainer, job+"/"+outputName+".csv")
}

// start queues a job. Its body is empty or empty JSON.
func (s *Server) start(id string, body []byte) (response, *Error) {
	switch body = bytes.TrimSpace(body); string(body) {
	case "", "{}", "null":
	default:
		return response{}, NewError("RequestBodyInvalid")
	}
	if e := s.jobs.start(id, s.work); e != nil {
		return response{}, s.jobError(e)
	}
	return response{status: s.config.StartStatus}, nil
}

func (s *Server) status(id string) (response, *Error) {
	v, e := s.jobs.status(id)
	if e != nil {
		return response{}, s.jobError(e)
	}
	var results, explanation any
	if v.result != nil {
		results = object{{outputName, object{
			{"ConnectionString", nil},
			{"RelativeLocation", v.result.relative},
			{"BaseLocation", v.result.base},
			{"SasBlobToken", v.result.token},
		}}}
	}
	if v.failure != "" {
		explanation = v.failure
	}
	return jsonResponse(http.StatusOK, object{{"StatusCode", v.state}, {"Results", results}, {"Details", explanation}}), nil
}

// cancel is DELETE: a job that has not ended becomes Cancelled and can still be asked about; one that has ended is gone.
func (s *Server) cancel(id string) (response, *Error) {
	if e := s.jobs.remove(id); e != nil {
		return response{}, s.jobError(e)
	}
	return response{status: s.config.DeleteStatus}, nil
}

// jobError turns the jobs' "no such job" into the configured 404.
func (s *Server) jobError(e *Error) *Error {
	if e == errNoJob {
		e = NewError("NotFound")
		e.Details = []Detail{*s.config.UnknownJob}
	}
	return e
}

// work is what a running job does: read, hash, write, sign. Its failure is a job's Details.
func (s *Server) work(ctx context.Context, id string, in, out *blobRef) (*location, *Error) {
	if s.config.Running != nil {
		s.config.Running(ctx, id)
	}
	if s.config.RunDuration > 0 {
		timer := time.NewTimer(s.config.RunDuration)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	data, err := in.read(ctx, s.config.MaxBlobBytes)
	if err != nil {
		return nil, NewError("BlobNotFound", inputName, storageCode(err))
	}
	texts, e := decodeTexts(data, in.extension())
	if e != nil {
		return nil, e
	}
	if err := out.write(ctx, s.experiment.run(texts).encode(out.extension())); err != nil {
		return nil, NewError("BlobNotFound", outputName, storageCode(err))
	}
	result, err := out.result(time.Now().Add(s.config.ResultLifetime))
	if err != nil {
		return nil, NewError("InternalError")
	}
	return result, nil
}

// explain is an error as one string, the form of a status's Details.
func explain(e *Error) string {
	text := []string{e.Message}
	for _, d := range e.Details {
		text = append(text, d.Code+": "+d.Message)
	}
	return strings.Join(text, " ")
}
