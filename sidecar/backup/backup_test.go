package backup_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/tollgate/tollgate/sidecar/backup"
	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/database/postgrestest"
)

func TestMain(m *testing.M) { os.Exit(postgrestest.Main(m)) }

func TestSmoke(t *testing.T) {
	src := filepath.Join(t.TempDir(), "s.db")
	db, err := database.Open(t.Context(), database.Config{Source: src})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.Transact(t.Context(), "x", func(tx *database.Tx) error {
		tx.Exec(t.Context(), `INSERT INTO meta (one, store, number, fingerprint, pepper) VALUES (1, 'abc', 5, ?, ?)`, []byte{}, []byte{1, 2})
		tx.Exec(t.Context(), `INSERT INTO subscription (id,name,developer,scope_kind,scope_name,state,expires,attributes,revision,removed) VALUES (1,'a','d','all_apis','',1,0,'{}',3,0)`)
		_, err := tx.Exec(t.Context(), `INSERT INTO key VALUES (?, 1, 0, 0, '', 1, 0)`, []byte{9})
		return err
	})
	var b bytes.Buffer
	if err := backup.Write(t.Context(), db, &b); err != nil {
		t.Fatal(err)
	}
	t.Log(b.Len(), b.Bytes()[18:20])
	e, _ := os.ReadDir(filepath.Dir(src))
	t.Log(e)
	for _, target := range []string{filepath.Join(t.TempDir(), "t.db"), postgrestest.Shared(t).Database(t)} {
		s, err := backup.Restore(t.Context(), bytes.NewReader(b.Bytes()), target)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", s)
		to, err := database.Open(t.Context(), database.Config{Source: target})
		if err != nil {
			t.Fatal(err)
		}
		defer to.Close()
		var c bytes.Buffer
		if err := backup.Write(t.Context(), to, &c); err != nil {
			t.Fatal(err)
		}
	}
}
