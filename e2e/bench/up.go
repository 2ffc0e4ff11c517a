package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/tollgate/tollgate/cmd/process"
)

// readyLine is what `tollgate up` prints when the gateway's /.tollgate/ready answers 200.
var readyLine = []byte("\nReady after ")

// timeUp runs `tollgate up` in an empty folder until it is ready.
func timeUp(ctx context.Context, root, dir string) (time.Duration, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, err
	}
	log := filepath.Join(dir, "up.log")
	began := time.Now()
	up, err := process.Start(process.Program{Name: "tollgate up", Path: filepath.Join(root, binaryFile), Log: log,
		Args: []string{"up", "--root", root, "--port", "0", "--dir", dir}})
	if err != nil {
		return 0, err
	}
	defer up.Stop(stopGrace + 10*time.Second) // it stops others; SIGTERM is what Ctrl-C is
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		text, err := os.ReadFile(log)
		if err != nil {
			return 0, err
		}
		if bytes.Contains(text, readyLine) {
			return time.Since(began), nil
		}
		select {
		case <-up.Done():
			return 0, errors.New(process.LastLine(log))
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-tick.C:
		}
	}
}
