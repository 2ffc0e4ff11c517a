package database

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"
)

// Unavailable says whether err is the database's state rather than a mistake: it is full,
// locked, busy, read-only, out of memory, shutting down or gone, and the same call may
// succeed later. A deadline that passed counts, a call that was cancelled does not.
func Unavailable(err error) bool {
	if err == nil {
		return false
	}
	if is(err, errOccupied, errClosed, errStalled, context.DeadlineExceeded, driver.ErrBadConn, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed,
		pgconn.ErrConnClosed, syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE,
		syscall.ECONNRESET, syscall.ECONNREFUSED, syscall.EPIPE) {
		return true
	}
	if full := new(sqlite.Error); errors.As(err, &full) {
		return slices.Contains(passing, full.Code()&0xff)
	}
	if told := new(pgconn.PgError); errors.As(err, &told) {
		return unavailableState(told.Code)
	}
	var gone *pgconn.ConnectError
	var network net.Error
	if errors.As(err, &gone) || errors.As(err, &network) {
		return !errors.Is(err, context.Canceled)
	}
	return pgconn.Timeout(err) || pgconn.SafeToRetry(err)
}

// passing are the primary result codes of SQLite that later may be others.
var passing = []int{codes.SQLITE_FULL, codes.SQLITE_BUSY, codes.SQLITE_LOCKED, codes.SQLITE_IOERR, codes.SQLITE_CANTOPEN, codes.SQLITE_READONLY,
	codes.SQLITE_NOMEM, codes.SQLITE_PROTOCOL, codes.SQLITE_PERM}

// unavailableState tells PostgreSQL's SQLSTATEs (its manual, appendix A).
func unavailableState(code string) bool {
	switch code {
	case "25006", // read_only_sql_transaction: a standby, or a disk that was full
		"25P03",                            // idle_in_transaction_session_timeout
		"55P03",                            // lock_not_available
		"57014",                            // query_canceled: statement_timeout
		"57P01", "57P02", "57P03", "57P05": // shutting down, crashed, starting, idle for too long
		return true
	}
	return slices.ContainsFunc([]string{
		"08", // connection exception
		"28", // authorization: it did let us in once
		"3D", // the database's name: so it was there
		"40", // transaction rollback, again and again
		"53", // resources: disk full, out of memory, too many connections
		"58", // system error: I/O
	}, func(class string) bool { return strings.HasPrefix(code, class) })
}

// lostRace says that PostgreSQL ended a transaction in favour of another; nothing of it
// remains, and it may run again.
func lostRace(err error) bool {
	var told *pgconn.PgError
	return errors.As(err, &told) && (told.Code == "40001" || told.Code == "40P01") // serialization_failure, deadlock_detected
}

func is(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}
