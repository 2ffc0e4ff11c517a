package rows_test

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/internal/rows"
)

func count(body string, piece int) int64 {
	c := rows.NewCounter()
	for len(body) > 0 {
		n := min(piece, len(body))
		c.Write([]byte(body[:n]))
		body = body[n:]
	}
	return c.Rows()
}

func TestRows(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		want int64
	}{
		"table":                      {`{"Results":{"output1":{"type":"table","value":{"ColumnNames":["A","B","C"],"Values":[["1","2","3"],["4","5","6"]]}}}}`, 2},
		"list of objects":            {`{"Results":{"output1":[{"A":"x"},{"A":"y"},{"A":"z"}]}}`, 3},
		"the longest of two outputs": {`{"Results":{"output1":[{"A":"x"}],"output2":[{"A":"x"},{"A":"y"}]}}`, 2},
		"modern":                     {`{"Results":[0.1,"b",null,[1,2],{"a":[1,2,3,4,5,6]}]}`, 5},
		"bare list":                  {`[1, 2 ,3]`, 3},
		"bare list of tables":        {`[[1,2],[3,4]]`, 2},
		"no rows":                    {`{"Results":{"output1":[]}}`, 0},
		"white space":                {" {\n\"Results\" : { \"o\" : [ 1 , 22 ] } } ", 2},
		"brackets in texts":          {`{"Results":{"a\"[":["[,","]\\","{"]}}`, 3},
		"names in texts":             {`{"x":"Results","y":[1,2]}`, 0},
		"elsewhere":                  {`{"Result":{"output1":[1,2]},"o":{"Results":{"o":[1,2,3]}}}`, 0},
		"an escaped name":            {`{"R\u0065sults":{"o":[1]}}`, 0},
		"deep":                       {`{"Results":{"o":{"value":{"Values":[[[[[1,2],[3]]]]]}}}}`, 1},
		"not JSON":                   {`<html>]]]}}}[1,2]</html>`, 0},
		"empty":                      {``, 0},
	} {
		t.Run(name, func(t *testing.T) {
			for _, piece := range []int{1, 2, 3, 7, 1000} {
				if got := count(c.body, piece); got != c.want {
					t.Errorf("%d rows in pieces of %d bytes, want %d", got, piece, c.want)
				}
			}
		})
	}
}

// Whatever the rows hold, they are counted.
func TestRowsOfAnyContent(t *testing.T) {
	value := rapid.Custom(func(t *rapid.T) any {
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0:
			return rapid.String().Draw(t, "text")
		case 1:
			return rapid.Float64Range(-1e9, 1e9).Draw(t, "number")
		case 2:
			return rapid.SliceOfN(rapid.String(), 0, 3).Draw(t, "list")
		case 3:
			return rapid.MapOfN(rapid.String(), rapid.SliceOfN(rapid.String(), 0, 2), 0, 3).Draw(t, "object")
		}
		return nil
	})
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(value, 0, 20).Draw(t, "rows")
		var results any = map[string]any{"output1": list}
		if rapid.Bool().Draw(t, "table") {
			results = map[string]any{"output1": map[string]any{"type": "table", "value": map[string]any{"ColumnNames": []string{"[", "a"}, "Values": list}}}
		}
		body, err := json.MarshalIndent(map[string]any{"Results": results}, "", strings.Repeat(" ", rapid.IntRange(0, 2).Draw(t, "indent")))
		if err != nil {
			t.Fatal(err)
		}
		if got := count(string(body), rapid.IntRange(1, 40).Draw(t, "piece")); got != int64(len(list)) {
			t.Fatalf("%d rows, want %d: %s", got, len(list), body)
		}
	})
}

func FuzzCounter(f *testing.F) {
	f.Add(`{"Results":{"output1":[[1],"]"]}}`, 3)
	f.Fuzz(func(t *testing.T, body string, piece int) {
		if got := count(body, max(1, piece)); got != count(body, len(body)+1) {
			t.Errorf("pieces of %d bytes change the count", piece)
		}
	})
}
