package database

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// errUnreadable stands for every mistake in a URL: what is wrong may be a part of a password
// that was not escaped, so nothing of the text is shown.
var errUnreadable = errors.New(`the URL cannot be read, and is not shown as it may hold a password: it is postgres://user@host:5432/database, and ` +
	`a password's special characters are percent-encoded (@ is %40, # is %23, / is %2F)`)

func isPostgres(source string) bool {
	scheme, _, ok := strings.Cut(source, "://")
	return ok && (strings.EqualFold(scheme, "postgres") || strings.EqualFold(scheme, "postgresql"))
}

// postgresURL reads a URL that is certain to have its password where a password stands.
func postgresURL(source string) (*url.URL, error) {
	u, err := url.Parse(source)
	if err != nil {
		return nil, errUnreadable
	}
	_, rest, _ := strings.Cut(source, "://")
	if i := strings.IndexAny(rest, "/?#"); i >= 0 && strings.ContainsAny(rest[i:], "@#") {
		return nil, errUnreadable
	}
	u.Scheme = "postgres" // whatever its letters were: pgx knows no other
	return u, nil
}

// Redacted is a source as it may be shown: of a URL the user, the hosts and the database.
func Redacted(source string) string {
	if !isPostgres(source) {
		if strings.Contains(source, "://") {
			return "(a URL)"
		}
		return source
	}
	u, err := postgresURL(source)
	if err != nil {
		return "postgres://..."
	}
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	if name := u.User.Username(); name != "" {
		shown.User = url.User(name)
	}
	keep := url.Values{}
	for _, name := range []string{"host", "port", "dbname", "user", "search_path"} {
		if value := u.Query().Get(name); value != "" {
			keep.Set(name, value)
		}
	}
	shown.RawQuery = strings.ReplaceAll(keep.Encode(), "%2F", "/")
	return shown.String()
}

// postgresConfig is the configuration of one connection, before what a session sets.
func postgresConfig(c Config) (*pgx.ConnConfig, error) {
	u, err := postgresURL(c.Source)
	if err != nil {
		return nil, err
	}
	config, err := pgx.ParseConfig(u.String())
	if err != nil {
		// The driver's message has the whole URL first, between backquotes.
		text := err.Error()
		return nil, fmt.Errorf("the URL is not valid%s", text[strings.LastIndexByte(text, '`')+1:])
	}
	config.RuntimeParams["client_encoding"] = "UTF8"
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "tollgate"
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = max(2*c.Busy, time.Second)
	}
	return config, nil
}
