package azurite_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"

	"github.com/tollgate/tollgate/emulator/azurite"
)

func TestStartAnswersAndCloseEndsIt(t *testing.T) {
	dir := t.TempDir()
	const key = "b25lIG9mIGl0cyBvd24="
	for _, run := range []string{"first", "second"} { // the second run finds the first one's container
		p, err := azurite.Start(t.Context(), azurite.Options{Dir: dir, AccountKey: key})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(p.ConnectionString, "AccountKey="+key+";") {
			t.Errorf("connection string %q lacks the key", p.ConnectionString)
		}
		client, err := azblob.NewClientFromConnectionString(p.ConnectionString, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.CreateContainer(t.Context(), "kept", nil)
		if exists := err != nil && strings.Contains(err.Error(), "ContainerAlreadyExists"); exists != (run == "second") {
			t.Errorf("%s run: creating the container: %v", run, err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		select {
		case <-p.Exited():
		default:
			t.Error("Close returned before Azurite had ended")
		}
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p, err := azurite.Start(ctx, azurite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-p.Exited()
}

func TestStartOnATakenPort(t *testing.T) {
	p, err := azurite.Start(t.Context(), azurite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	port := strings.TrimSuffix(p.URL[strings.LastIndex(p.URL, ":")+1:], "/"+azurite.Account)
	n := 0
	for _, c := range port {
		n = 10*n + int(c-'0')
	}
	if second, err := azurite.Start(t.Context(), azurite.Options{Port: n}); err == nil {
		second.Close()
		t.Error("a second Azurite started on the same port")
	}
}

func TestStartSaysWhatToDoWhenAzuriteIsMissing(t *testing.T) {
	t.Run("nowhere", func(t *testing.T) {
		t.Setenv("AZURITE", "")
		t.Setenv("PATH", t.TempDir())
		t.Chdir(t.TempDir())
		_, err := azurite.Start(t.Context(), azurite.Options{})
		if err == nil || !strings.Contains(err.Error(), "npm install") {
			t.Errorf("Start = %v, want an error that says how to install it", err)
		}
	})
	t.Run("wrong AZURITE", func(t *testing.T) {
		t.Setenv("AZURITE", filepath.Join(t.TempDir(), "missing"))
		if _, err := azurite.Start(t.Context(), azurite.Options{}); err == nil || !strings.Contains(err.Error(), "$AZURITE") {
			t.Errorf("Start = %v, want an error that names $AZURITE", err)
		}
	})
	t.Run("not Azurite", func(t *testing.T) {
		bin := filepath.Join(t.TempDir(), "azurite-blob")
		if err := os.WriteFile(bin, []byte("#!/bin/sh\necho wrong program\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := azurite.Start(t.Context(), azurite.Options{Bin: bin}); err == nil || !strings.Contains(err.Error(), "wrong program") {
			t.Errorf("Start = %v, want an error with the program's last words", err)
		}
	})
}
