package emulator

import (
	"net/http"
	"strings"
)

// swagger is the service's description, Swagger 2.0, with what real clients read: info's title and description, an execute path
// with operationId "execute" that is the second one (the R client takes it by position), ExecutionRequest's example, and the
// items of input1 and output1 with required, type and format. host and path are those of the request for swagger.json itself.
func (s *Server) swagger(host, path string) response {
	return jsonResponse(http.StatusOK, object{
		{"swagger", "2.0"},
		{"info", object{
			{"version", "2.0"},
			{"title", "SimpleFeatureHashingExperiment"},
			{"description", "Counts the words and word pairs of a text in eight buckets."},
			{"x-endpoint-name", "default"},
		}},
		{"host", host},
		{"basePath", strings.TrimSuffix(path, "/swagger.json")},
		{"schemes", []string{"https"}},
		{"consumes", []string{"application/json"}},
		{"produces", []string{"application/json"}},
		{"securityDefinitions", object{{"Bearer", object{{"type", "apiKey"}, {"name", "Authorization"}, {"in", "header"}}}}},
		{"security", []object{{{"Bearer", []string{}}}}},
		{"paths", swaggerPaths()},
		{"definitions", s.definitions()},
	})
}

func swaggerPaths() object {
	job := object{{"name", "jobid"}, {"in", "path"}, {"required", true}, {"type", "string"}}
	return object{
		{"/swagger.json", object{{"get", operation("getSwaggerDocument", "The service's description", "")}}},
		{"/execute?api-version=2.0&format=swagger", object{
			{"post", operation("execute", "Execute the web service and get a response synchronously", "ExecutionRequest")}}},
		{"/jobs?api-version=2.0", object{{"post", operation("submitJob", "Submit a batch job", "BatchRequest")}}},
		{"/jobs/{jobid}/start?api-version=2.0", object{{"post", operation("startJob", "Start a batch job", "", job)}}},
		{"/jobs/{jobid}?api-version=2.0", object{
			{"get", operation("getJob", "A batch job's status and results", "", job)},
			{"delete", operation("deleteJob", "Cancel or delete a batch job", "", job)}}},
	}
}

func operation(id, summary, body string, parameters ...object) object {
	if parameters == nil {
		parameters = []object{}
	}
	if body != "" {
		parameters = append(parameters, object{{"name", "body"}, {"in", "body"}, {"required", true}, {"schema", reference(body)}})
	}
	success := object{{"description", "Success"}}
	if id == "execute" {
		success = append(success, member{"schema", reference("ExecutionResponse")})
	}
	return object{
		{"operationId", id},
		{"summary", summary},
		{"parameters", parameters},
		{"responses", object{{"200", success}, {"default", object{{"description", "Error"}, {"schema", reference("ErrorResponse")}}}}},
	}
}

func (s *Server) definitions() object {
	schema := s.experiment.schema()
	example := object{
		{"Inputs", object{{inputName, []object{{{inputColumn, "This is a good day"}}}}}},
		{"GlobalParameters", object{}},
	}
	request := objectSchema(object{{"Inputs", reference("ExecutionInputs")}, {"GlobalParameters", object{{"type", "object"}}}}, "Inputs")
	failure := objectSchema(object{
		{"code", textSchema()}, {"message", textSchema()},
		{"details", object{{"type", "array"}, {"items", objectSchema(object{{"code", textSchema()}, {"message", textSchema()}})}}},
	}, "code", "message")
	return object{
		{"ExecutionRequest", append(request, member{"example", example})},
		{"ExecutionInputs", objectSchema(object{{inputName, list("input1Item")}}, inputName)},
		{"input1Item", itemSchema(table{columns: schema.columns[:1], types: schema.types[:1]})},
		{"ExecutionResponse", objectSchema(object{{"Results", reference("ExecutionOutputs")}})},
		{"ExecutionOutputs", objectSchema(object{{outputName, list("output1Item")}})},
		{"output1Item", itemSchema(schema)},
		{"BatchRequest", objectSchema(object{
			{"Input", reference("Blob")},
			{"Inputs", objectSchema(object{{inputName, reference("Blob")}})},
			{"Outputs", objectSchema(object{{outputName, reference("Blob")}})},
			{"GlobalParameters", object{{"type", "object"}}},
		})},
		{"Blob", objectSchema(object{
			{"ConnectionString", textSchema()}, {"RelativeLocation", textSchema()},
			{"BaseLocation", textSchema()}, {"SasBlobToken", textSchema()},
		})},
		{"ErrorResponse", objectSchema(object{{"error", failure}})},
	}
}

// itemSchema describes a row. The scalars travel as strings; type and format are the column's own, as clients expect.
func itemSchema(t table) object {
	properties := object{}
	for i, column := range t.columns {
		properties = append(properties, member{column, map[string]object{
			"String": {{"type", "string"}, {"format", "string"}},
			"Int32":  {{"type", "integer"}, {"format", "int32"}},
		}[t.types[i]]})
	}
	return objectSchema(properties, t.columns...)
}

func objectSchema(properties object, required ...string) object {
	o := object{{"type", "object"}}
	if len(required) > 0 {
		o = append(o, member{"required", required})
	}
	return append(o, member{"properties", properties})
}

func textSchema() object { return object{{"type", "string"}} }

func reference(name string) object { return object{{"$ref", "#/definitions/" + name}} }

func list(item string) object { return object{{"type", "array"}, {"items", reference(item)}} }
