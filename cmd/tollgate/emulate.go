package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/spf13/cobra"

	"github.com/tollgate/tollgate/emulator"
	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/secret"
)

// emulateConfig is what `tollgate emulate azureml` was asked for. Secrets are named, not given.
type emulateConfig struct {
	listen, control        string
	keyFile, secondaryFile string
	container              string
	service                emulator.Config
}

func emulateCommand() *cobra.Command {
	c := &cobra.Command{Use: "emulate", Short: "Stand in for a backend, for demos and tests"}
	c.AddCommand(emulateAzureMLCommand())
	return c
}

func emulateAzureMLCommand() *cobra.Command {
	var e emulateConfig
	c := &cobra.Command{
		Use:   "azureml",
		Short: "Stand in for a classic AzureML web service",
		Long: `Stands in for a classic AzureML web service with the feature hashing experiment: RRS, BES
and swagger.json. A batch job reads and writes whatever storage account its submit body
names: listen where only those can reach it who may do that.

  AZUREML_KEY            the service's key (or --key-file)
  AZUREML_SECONDARY_KEY  a second one (or --secondary-key-file)
  AZUREML_STORAGE        connection string of the storage account for outputs that a
                         submit does not name; without it such a submit is refused
  AZUREML_CONSUMER_KEYS  keys, separated by spaces, that must never arrive here: a
                         request that carries one fails loudly`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return emulateAzureML(ctx, e)
		},
	}
	f := c.Flags()
	f.StringVar(&e.listen, "listen", "127.0.0.1:10080", "address to listen on")
	f.StringVar(&e.control, "control", "", "loopback address for /_emulator/requests, which shows what arrived, keys included")
	f.StringVar(&e.keyFile, "key-file", "", "file with the service's key, instead of AZUREML_KEY")
	f.StringVar(&e.secondaryFile, "secondary-key-file", "", "file with the service's second key, instead of AZUREML_SECONDARY_KEY")
	f.StringVar(&e.container, "container", "experimentoutput", "container for outputs that a submit does not name; created if missing")
	f.StringVar(&e.service.Workspace, "workspace", emulator.DefaultWorkspace, "the workspace's id")
	f.StringVar(&e.service.Service, "service", emulator.DefaultService, "the service's id")
	f.IntVar(&e.service.Concurrency, "concurrency", 0, "RRS calls at once before 503 (0: 20, negative: no bound)")
	f.DurationVar(&e.service.RunDuration, "run-duration", 0, "how long a batch job stays Running")
	return c
}

func emulateAzureML(ctx context.Context, e emulateConfig) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	config, err := e.complete(ctx)
	if err != nil {
		return fmt.Errorf("emulating AzureML: %w", err)
	}
	config.Logger = log
	service, err := emulator.New(config)
	if err != nil {
		return fmt.Errorf("emulating AzureML: %w", err)
	}
	defer service.Close()
	endpoints := []endpoint{{e.listen, service}}
	if e.control != "" {
		if err := loopbackOnly(e.control); err != nil {
			return fmt.Errorf("emulating AzureML: --control %w", err)
		}
		endpoints = append(endpoints, endpoint{e.control, service.Control()})
	}
	return serveAll(ctx, endpoints, func(addresses []string) {
		log.Info("emulating AzureML", "addresses", strings.Join(addresses, " "), "workspace", e.service.Workspace, "service", e.service.Service)
	})
}

// complete reads the secrets.
func (e emulateConfig) complete(ctx context.Context) (emulator.Config, error) {
	config := e.service
	config.Control = e.control != ""
	var r secret.Reader
	read := func(file, env string) (string, error) {
		if file != "" {
			return r.Read(catalog.Secret{File: file})
		}
		return r.Read(catalog.Secret{Env: env})
	}
	var err error
	if config.PrimaryKey, err = read(e.keyFile, "AZUREML_KEY"); err != nil {
		return config, fmt.Errorf("reading the service's key: %w", err)
	}
	if e.secondaryFile != "" || os.Getenv("AZUREML_SECONDARY_KEY") != "" {
		if config.SecondaryKey, err = read(e.secondaryFile, "AZUREML_SECONDARY_KEY"); err != nil {
			return config, fmt.Errorf("reading the service's second key: %w", err)
		}
	}
	config.ConsumerKeys = strings.Fields(os.Getenv("AZUREML_CONSUMER_KEYS"))
	if config.Storage = os.Getenv("AZUREML_STORAGE"); config.Storage != "" {
		config.StorageContainer = e.container
		if err := createContainer(ctx, config.Storage, e.container); err != nil {
			return config, fmt.Errorf("creating the container %s: %w", e.container, err)
		}
	}
	return config, nil
}

// createContainer makes sure that the container exists. The SDK's errors carry no key: they
// show the request's line and the response.
func createContainer(ctx context.Context, connection, container string) error {
	client, err := azblob.NewClientFromConnectionString(connection, nil)
	if err != nil {
		return errors.New("AZUREML_STORAGE is not a connection string with an account key")
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if _, err := client.CreateContainer(ctx, container, nil); err != nil && !bloberror.HasCode(err, bloberror.ContainerAlreadyExists) {
		return err
	}
	return nil
}

func loopbackOnly(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("%s is not a loopback address: it shows keys", address)
	}
	return nil
}
