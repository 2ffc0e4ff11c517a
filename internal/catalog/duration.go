package catalog

import (
	"fmt"
	"time"
)

// String is d as Go writes it: "1m30s".
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText is how d stands in JSON and YAML.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what MarshalText writes, and every other spelling that Go knows.
func (d *Duration) UnmarshalText(text []byte) error {
	length, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("reading duration: %w", err)
	}
	*d = Duration(length)
	return nil
}
