package filter

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// equate treats absent, null and empty alike where a message does.
var equate = cmpopts.EquateEmpty()

// messages of any content: a struct tag that is misspelt here or there shows as a
// difference to encoding/json, and so does a field that was forgotten.
func TestReadingAgreesWithEncodingJSON(t *testing.T) {
	t.Run("snapshot", func(t *testing.T) { agreeOnReading(t, readSnapshot) })
	t.Run("decide reply", func(t *testing.T) { agreeOnReading(t, readDecideReply) })
}

func agreeOnReading[M any](t *testing.T, read func([]byte) (M, error)) {
	rapid.Check(t, func(t *rapid.T) {
		want := fill[M](t)
		body, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := read(body)
		if diff := cmp.Diff(want, got, equate); err != nil || diff != "" {
			t.Fatalf("reading %s: %v (-want +got):\n%s", body, err, diff)
		}
	})
}

func TestWritingAgreesWithEncodingJSON(t *testing.T) {
	t.Run("decide request", func(t *testing.T) { agreeOnWriting(t, writeDecideRequest) })
	t.Run("resource request", func(t *testing.T) { agreeOnWriting(t, writeResourceRequest) })
	t.Run("usage report", func(t *testing.T) { agreeOnWriting(t, writeUsageReport) })
}

func agreeOnWriting[M any](t *testing.T, write func(M) []byte) {
	rapid.Check(t, func(t *rapid.T) {
		want := fill[M](t)
		var got M
		body := write(want)
		err := json.Unmarshal(body, &got)
		if diff := cmp.Diff(want, got, equate); err != nil || diff != "" {
			t.Fatalf("writing %s: %v (-want +got):\n%s", body, err, diff)
		}
	})
}

// fill draws every exported field of a message, so that a new one is covered at once.
func fill[M any](t *rapid.T) M {
	var m M
	fillValue(t, reflect.ValueOf(&m).Elem())
	return m
}

func fillValue(t *rapid.T, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(rapid.StringN(0, 6, -1).Draw(t, "text"))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "flag"))
	case reflect.Int, reflect.Int64:
		v.SetInt(rapid.Int64Range(-1, 1<<52).Draw(t, "number"))
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(rapid.Uint32().Draw(t, "number")))
	case reflect.Uint8:
		v.SetUint(uint64(rapid.Byte().Draw(t, "byte")))
	case reflect.Struct:
		for i := range v.NumField() {
			fillValue(t, v.Field(i))
		}
	case reflect.Pointer:
		if rapid.Bool().Draw(t, "present") {
			v.Set(reflect.New(v.Type().Elem()))
			fillValue(t, v.Elem())
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), rapid.IntRange(0, 2).Draw(t, "length"), 2))
		for i := range v.Len() {
			fillValue(t, v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range rapid.IntRange(0, 2).Draw(t, "members") {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fillValue(t, key)
			fillValue(t, value)
			v.SetMapIndex(key, value)
		}
	default:
		t.Fatalf("no way to draw a %s", v.Type())
	}
}

func TestUnreadableMessages(t *testing.T) {
	for name, body := range map[string]string{
		"nothing": "", "not JSON": "<html>", "not an object": "[]", "null": "null", "cut short": `{"version":1,"answers":[`,
		"a number as text": `{"version":"1"}`, "text as a number": `{"version":1,"answers":[{"decision":7}]}`,
		"an object as a list": `{"version":1,"answers":{}}`, "a fraction": `{"version":1.5}`,
		"allow as text": `{"version":1,"answers":[{"allow":"true"}]}`, "answers of the wrong kind": `{"version":1,"answers":["allow"]}`,
	} {
		if reply, err := readDecideReply([]byte(body)); err == nil && (name != "answers of the wrong kind" || reply.Answers[0].Allow) {
			t.Errorf("%s: read as %+v", name, reply)
		}
	}
	if _, err := readSnapshot([]byte(`{"version":1}`)); err == nil {
		t.Error("a snapshot without a revision was read")
	}
}

func FuzzReadSnapshot(f *testing.F) {
	f.Add([]byte(`{"version":1,"revision":{"store":"s","number":1},"gateway":{},"policy":{"vary":[["resource"]]},"apis":[{"hosts":[1]}]}`))
	f.Fuzz(func(_ *testing.T, body []byte) {
		_, _ = readSnapshot(body)
		_, _ = readDecideReply(body)
	})
}
