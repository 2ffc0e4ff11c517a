package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// connections is how many a sidecar has to PostgreSQL at most.
const connections = 6

// errStalled says that the server did not answer a statement, and did not end it either.
var errStalled = errors.New("the database does not answer")

// postgresEngine is a pool of connections. The statements of a transaction go through pgx's own
// cache of prepared ones, which also sees when a table has changed.
type postgresEngine struct {
	db           *sql.DB
	placeholders placeholders
	turns        chan struct{} // has an element for each transaction that may begin
	closed       chan struct{}
	busy         time.Duration
}

func openPostgres(ctx context.Context, c Config) (_ *postgresEngine, err error) {
	config, err := postgresConfig(c)
	if err != nil {
		return nil, err
	}
	if !c.ReadOnly {
		if err := migratePostgres(ctx, config, c.New); err != nil {
			return nil, err
		}
	}
	db := pool(config, max(c.Busy, time.Millisecond))
	p := &postgresEngine{db: db, busy: c.Busy, turns: make(chan struct{}, connections), closed: make(chan struct{})}
	for range connections {
		p.turns <- struct{}{}
	}
	if err := p.ping(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return p, nil
}

// pool opens connections when they are needed. A statement waits for locks as long as busy
// says; 0: it may take its time.
func pool(config *pgx.ConnConfig, busy time.Duration) *sql.DB {
	settings := settingsOf(busy)
	db := stdlib.OpenDB(*config, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, settings, pgx.QueryExecModeSimpleProtocol); err != nil {
			return errors.Join(err, conn.Close(ctx))
		}
		return nil
	}))
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db
}

// settingsOf is what every session begins with, whatever the server's, the database's or the
// role's settings say. What is committed is on disk; a sidecar that froze within a
// transaction loses its locks.
func settingsOf(busy time.Duration) string {
	return fmt.Sprintf(`SELECT set_config('synchronous_commit', 'on', false)
		 WHERE current_setting('synchronous_commit') <> 'remote_apply';
		SELECT set_config('lock_timeout', '%[1]d', false), set_config('statement_timeout', '%[2]d', false),
		       set_config('idle_in_transaction_session_timeout', '%[2]d', false)`,
		busy.Milliseconds(), 2*busy.Milliseconds())
}

// stall is what a statement and its way may take: more than the server allows it.
func (p *postgresEngine) stall() time.Duration { return 3 * p.busy }

func (p *postgresEngine) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.stall())
	defer cancel()
	return p.db.PingContext(ctx)
}

func (p *postgresEngine) close() error {
	close(p.closed)
	drain(p.turns, p.busy, func(struct{}) {})
	return p.db.Close()
}

// begin begins a transaction on a connection that works: those that broke while the server
// was away show it here, where nothing is lost.
func (p *postgresEngine) begin(ctx context.Context, write bool) (transaction, error) {
	options := &sql.TxOptions{Isolation: sql.LevelReadCommitted}
	if !write {
		options = &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	}
	if _, err := take(ctx, p.turns, p.closed, p.busy); err != nil {
		return nil, err
	}
	t := &postgresTx{engine: p}
	t.ctx, t.cancel = context.WithCancelCause(ctx)
	t.watch = time.AfterFunc(p.stall(), func() { t.cancel(errStalled) })
	var err error
	for range connections + 1 {
		if t.tx, err = p.db.BeginTx(t.ctx, options); err == nil {
			return t, nil
		}
		var gone *pgconn.ConnectError
		if errors.As(err, &gone) || t.ctx.Err() != nil {
			break
		}
	}
	err = t.explain(err)
	t.end()
	return nil, err
}

// postgresTx is a transaction on a connection. Its context ends when a statement, on its way
// there and back, takes longer than the server would have allowed it.
type postgresTx struct {
	engine *postgresEngine
	tx     *sql.Tx
	ctx    context.Context
	cancel context.CancelCauseFunc
	watch  *time.Timer
}

// within is the context for a statement: the transaction's, unless the caller's has ended.
func (t *postgresTx) within(ctx context.Context) context.Context {
	t.watch.Reset(t.engine.stall())
	if ctx.Err() != nil {
		return ctx
	}
	return t.ctx
}

func (t *postgresTx) exec(ctx context.Context, query string, args []any) (sql.Result, error) {
	return t.tx.ExecContext(t.within(ctx), t.engine.placeholders.rewrite(query), args...)
}

func (t *postgresTx) query(ctx context.Context, query string, args []any) (*sql.Rows, error) {
	return t.tx.QueryContext(t.within(ctx), t.engine.placeholders.rewrite(query), args...)
}

func (t *postgresTx) queryRow(ctx context.Context, query string, args []any) *sql.Row {
	return t.tx.QueryRowContext(t.within(ctx), t.engine.placeholders.rewrite(query), args...)
}

func (t *postgresTx) commit() error {
	defer t.end()
	t.watch.Reset(t.engine.stall())
	return t.explain(t.tx.Commit())
}

func (t *postgresTx) rollback() {
	defer t.end()
	t.watch.Reset(t.engine.stall())
	_ = t.tx.Rollback() // what is not committed is lost anyway
}

func (t *postgresTx) end() {
	t.watch.Stop()
	t.cancel(nil)
	t.engine.turns <- struct{}{}
}

// explain says why the context ended, which the driver does not.
func (t *postgresTx) explain(err error) error {
	if err != nil && errors.Is(context.Cause(t.ctx), errStalled) {
		return errors.Join(errStalled, err)
	}
	return err
}
