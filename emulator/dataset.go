package emulator

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
)

// decodeTexts reads a .csv or .tsv data set whose one column is Col2, header first, a byte order mark allowed.
func decodeTexts(data []byte, extension string) ([]string, *Error) {
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\uFEFF"))))
	if extension == ".tsv" {
		r.Comma = '\t'
	}
	r.FieldsPerRecord = -1
	texts := []string{}
	for header := true; ; header = false {
		row, err := r.Read()
		switch {
		case errors.Is(err, io.EOF) && !header:
			return texts, nil
		case errors.Is(err, io.EOF):
			return nil, NewError("InputMismatchError")
		case err != nil:
			return nil, NewError("InputParseError", "the input is not well-formed")
		case header && (len(row) != 1 || row[0] != inputColumn):
			return nil, NewError("InputMismatchError")
		case header:
		case len(row) != 1:
			line, _ := r.FieldPos(0)
			return nil, NewError("InputParseError", fmt.Sprintf("line %d has %d columns, not 1", line, len(row)))
		default:
			texts = append(texts, row[0])
		}
	}
}

// encode writes the table as .csv, .tsv or .arff.
func (t table) encode(extension string) []byte {
	var b bytes.Buffer
	header := t.columns
	if extension == ".arff" {
		b.WriteString("@RELATION " + outputName + "\n\n")
		for i, column := range t.columns {
			fmt.Fprintf(&b, "@ATTRIBUTE %s %s\n", arffQuote(column), map[string]string{"String": "STRING", "Int32": "NUMERIC"}[t.types[i]])
		}
		b.WriteString("\n@DATA\n")
		for _, row := range t.rows {
			b.WriteString(arffQuote(row[0]) + "," + strings.Join(row[1:], ",") + "\n")
		}
		return b.Bytes()
	}
	w := csv.NewWriter(&b)
	if extension == ".tsv" {
		w.Comma = '\t'
	}
	_ = w.Write(header) // a bytes.Buffer takes everything
	_ = w.WriteAll(t.rows)
	return b.Bytes()
}

// arffQuote quotes a name or value for Weka's ARFF format.
func arffQuote(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(text) + "'"
}
