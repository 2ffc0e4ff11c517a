package catalog_test

import (
	"math"
	"testing"
	"time"

	"github.com/tollgate/tollgate/internal/catalog"
)

func TestParseDuration(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "+0": 0, "60s": time.Minute, "1m30s": 90 * time.Second, "1.5h": 90 * time.Minute, ".5s": time.Second / 2,
		"0d": 0, "7d": 7 * day, "1d12h": 36 * time.Hour, "007d": 7 * day, "1d0.5s": day + time.Second/2, "1d48h": 3 * day, "1d0s": day,
		"-7d": -7 * day, "+7d": 7 * day, "-1d12h": -36 * time.Hour, "106751d": 106751 * day,
		"106751d23h47m16.854775807s": math.MaxInt64, "2562047h47m16.854775807s": math.MaxInt64,
	} {
		got, err := catalog.ParseDuration(text)
		if err != nil || time.Duration(got) != want {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
			continue
		}
		var again catalog.Duration
		written, err := got.MarshalText()
		if err != nil || again.UnmarshalText(written) != nil || again != got {
			t.Errorf("%q is written as %s, which reads as %v", text, written, again)
		}
		if _, err := time.ParseDuration(got.String()); err != nil {
			t.Errorf("%q is written as %s, which Go does not read: %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "d", "s", "7", "7 d", " 7d", "7d ", "1.5d", "1,5d", "7D", "1h7d", "1d2d", "1dd", "1d-12h", "1d+12h", "--7d", "+-7d", "1d12", "1d0", "1d12x", "x1d", "0x1d", "1_0d",
		"106752d", "106751d23h47m16.854775808s", "106751d24h", "4294967296d", "99999999999999999999d",
	} {
		if got, err := catalog.ParseDuration(text); err == nil || got != 0 {
			t.Errorf("%q is %v, %v; want an error", text, got, err)
		}
	}
}

func FuzzParseDuration(f *testing.F) {
	for _, text := range []string{"7d", "1d12h", "-1d1h", "0", "106751d23h47m16.854775807s", "1d-1h"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := catalog.ParseDuration(text)
		if plain, wrong := time.ParseDuration(text); wrong == nil && (err != nil || time.Duration(got) != plain) {
			t.Errorf("%q is %v, %v; to Go it is %v", text, got, err, plain)
		}
		if err != nil {
			return
		}
		var again catalog.Duration
		written, err := got.MarshalText()
		if err != nil || again.UnmarshalText(written) != nil || again != got {
			t.Errorf("%q is written as %s, which reads as %v", text, written, again)
		}
	})
}
