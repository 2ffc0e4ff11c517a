package emulator

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// execute runs the experiment on an RRS body. With both details and format=swagger the answer is the bare list.
func (s *Server) execute(body []byte, o options) (response, *Error) {
	texts, e := parseExecution(body)
	if e != nil {
		return response{}, e
	}
	out := s.experiment.run(texts)
	var result any
	switch {
	case o.swagger:
		result = out.objects()
	case o.details:
		result = object{{"type", "table"}, {"value", object{{"ColumnNames", out.columns}, {"ColumnTypes", out.types}, {"Values", out.rows}}}}
	default:
		result = object{{"type", "table"}, {"value", object{{"ColumnNames", out.columns}, {"Values", out.rows}}}}
	}
	return jsonResponse(http.StatusOK, object{{"Results", object{{outputName, result}}}}), nil
}

// objects is the table as a list of rows by column name.
func (t table) objects() []object {
	list := make([]object, 0, len(t.rows))
	for _, row := range t.rows {
		o := make(object, 0, len(row))
		for i, value := range row {
			o = append(o, member{t.columns[i], value})
		}
		list = append(list, o)
	}
	return list
}

// parseExecution reads an RRS body, in table or swagger form, into the texts of column Col2.
func parseExecution(body []byte) ([]string, *Error) {
	request, e := members(body, "Inputs", "GlobalParameters")
	if e != nil {
		return nil, e
	}
	if e := noParameters(request["GlobalParameters"]); e != nil {
		return nil, e
	}
	input, e := onlyInput(request["Inputs"])
	if e != nil {
		return nil, e
	}
	if input == nil {
		return nil, NewError("MissingRequestInput")
	}
	switch input[0] {
	case '{':
		return parseTable(input)
	case '[':
		return parseRows(input)
	default:
		return nil, NewError("RequestBodyInvalid")
	}
}

// onlyInput returns the value of input1, nil when there is none, and refuses other names.
func onlyInput(value json.RawMessage) (json.RawMessage, *Error) {
	if value == nil {
		return nil, nil
	}
	var inputs map[string]json.RawMessage
	if err := json.Unmarshal(value, &inputs); err != nil {
		return nil, NewError("RequestBodyInvalid")
	}
	var unknown []string
	for _, name := range sortedKeys(inputs) {
		if name != inputName {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		return nil, NewError("InvalidInputNames", strings.Join(unknown, ", "))
	}
	if string(inputs[inputName]) == "null" {
		return nil, nil
	}
	return inputs[inputName], nil
}

// parseTable reads {"ColumnNames":["Col2"],"Values":[["..."]]}.
func parseTable(input json.RawMessage) ([]string, *Error) {
	var in map[string]json.RawMessage
	var columns []string
	var rows [][]json.RawMessage
	if json.Unmarshal(input, &in) != nil || json.Unmarshal(orNull(in["ColumnNames"]), &columns) != nil ||
		json.Unmarshal(orNull(in["Values"]), &rows) != nil {
		return nil, NewError("RequestBodyInvalid")
	}
	if len(in) != 2 || len(columns) != 1 || columns[0] != inputColumn || rows == nil {
		return nil, NewError("InputMismatchError")
	}
	texts := make([]string, 0, len(rows))
	for i, row := range rows {
		if len(row) != 1 {
			return nil, NewError("InputParseError", fmt.Sprintf("row %d has %d columns, not 1", i, len(row)))
		}
		text, ok := scalar(row[0])
		if !ok {
			return nil, NewError("InputParseError", fmt.Sprintf("row %d, column %s is not a scalar", i, inputColumn))
		}
		texts = append(texts, text)
	}
	return texts, nil
}

// parseRows reads [{"Col2":"..."}].
func parseRows(input json.RawMessage) ([]string, *Error) {
	var rows []map[string]json.RawMessage
	if json.Unmarshal(input, &rows) != nil {
		return nil, NewError("RequestBodyInvalid")
	}
	texts := make([]string, 0, len(rows))
	for i, row := range rows {
		value, ok := row[inputColumn]
		if !ok || len(row) != 1 {
			return nil, NewError("InputMismatchError")
		}
		text, ok := scalar(value)
		if !ok {
			return nil, NewError("InputParseError", fmt.Sprintf("row %d, column %s is not a scalar", i, inputColumn))
		}
		texts = append(texts, text)
	}
	return texts, nil
}

// scalar is a JSON scalar as text: clients send numbers where a column is a string. Null is empty.
func scalar(value json.RawMessage) (string, bool) {
	switch value[0] {
	case '"':
		var text string
		return text, json.Unmarshal(value, &text) == nil
	case '{', '[':
		return "", false
	case 'n':
		return "", true
	default:
		return string(value), true
	}
}

func orNull(value json.RawMessage) json.RawMessage {
	if value == nil {
		return json.RawMessage("null")
	}
	return value
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
