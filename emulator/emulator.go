// Package emulator is a stand-in for one classic AzureML web service, strict enough to test a gateway against.
//
// It answers RRS (execute), BES (submit, start, status, delete, with real blobs) and swagger.json, runs the feature hashing
// experiment of the azure-docs guide "manage-web-service-endpoints-using-api-management", and speaks the error envelope of
// "web-service-error-codes". What AzureML refuses, it refuses. Beyond AzureML it refuses, loudly, any request that shows a
// gateway's mistake: a consumer's key, a tollgate header or the public path that reached the backend.
//
// Where the contract is not confirmed ([U] in its notes), Config has a switch.
//
// A batch job reads and writes whatever storage account its submit body names, as AzureML does. So a client with the backend key
// can make the emulator send requests to any host it can reach (server side request forgery): run it where that does no harm.
//
// The package imports nothing of the gateway.
package emulator

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Identifiers that the emulated service has when Config names none.
const (
	DefaultWorkspace    = "a1b2c3d4e5f60718293a4b5c6d7e8f90"
	DefaultService      = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
	DefaultSubscription = "5ca1ab1e0ddba11ca55e77e0c0ffee00"
)

// minForbiddenKey is the shortest consumer key, in bytes, that is worth looking for: a shorter one is found everywhere.
const minForbiddenKey = 8

// Config says what the emulated service is. Only PrimaryKey is required; New documents the errors.
type Config struct {
	// Workspace, Service and Subscription are ids of 32 hex digits, for /workspaces/{Workspace}/services/{Service} and the
	// newer /subscriptions/{Subscription}/services/{Service}. Empty means the Default constants. They are GUIDs, so requests
	// may write them in either case.
	Workspace, Service, Subscription string

	// PrimaryKey and SecondaryKey are the endpoint's API keys; either opens it. Take them from the environment or a file.
	// SecondaryKey may be empty.
	PrimaryKey, SecondaryKey string

	// ConsumerKeys are secrets that must not appear in any request's path, query or headers. Server.ForbidKey adds more.
	ConsumerKeys []string

	// Storage is the connection string of the account that takes a job's output when its submit body names none, and
	// StorageContainer a container there that exists. Without it such a submit is refused (MissingOutputOverrideSpecification).
	Storage, StorageContainer string

	// ResultLifetime is how long the read-only SAS of a result is valid; 0 means 24 hours.
	ResultLifetime time.Duration

	// Concurrency is how many RRS calls run at once before 503 RequestThrottled: 0 means 20, AzureML's default, and the most
	// is 200. Jobs is how many batch jobs run at once, the rest is queued: 0 means 40. Negative means no bound, for either.
	Concurrency, Jobs int

	// MaxBodyBytes bounds a request's body, MaxBlobBytes a job's input blob; 0 means 16 MiB and 64 MiB. AzureML's are unknown.
	MaxBodyBytes, MaxBlobBytes int64

	// Running, if set, is called when a job has become Running and before it reads its input; the job stays Running until it
	// returns. RunDuration is added to that. Both end early when ctx does: the job was cancelled or the server closed.
	Running     func(ctx context.Context, job string)
	RunDuration time.Duration

	// Fault, if set, is asked after authorization and before each call is carried out, swagger.json excepted; an error that it
	// returns is the answer. It may block: an execute holds its concurrency slot meanwhile.
	Fault func(*http.Request) *Error

	// StartStatus and DeleteStatus are what a successful start and delete of a job answer: 200 (0 means that) or 204 [U].
	StartStatus, DeleteStatus int
	// UnknownJob is the detail of the 404 for a job that does not exist [U]; nil means code JobNotFound.
	UnknownJob *Detail
	// NoRequestID leaves the x-ms-request-id response header out [U].
	NoRequestID bool
	// FeaturePrefix is the name of the output columns but for their number; empty means "Col2_HashingFeature." [U].
	FeaturePrefix string
	// NumericTokens takes a token of digits as that number instead of hashing it, as Vowpal Wabbit would [U].
	NumericTokens bool

	// Record is how many requests are kept for Server.Requests: 0 means 100, negative none.
	Record int
	// Control makes Server.Control answer. It shows headers as received, credentials included: loopback only.
	Control bool

	// Logger gets one line a request: method, matched route, status, request id and duration. Nil means no log.
	Logger *slog.Logger
}

// Server is the emulated service, an http.Handler that is safe for concurrent use. Close it.
type Server struct {
	config     Config
	keys       [][sha256.Size]byte
	experiment experiment
	slots      chan struct{} // nil: no bound
	storage    *account      // nil: outputs must be named
	jobs       *jobs
	record     *record

	forbiddenMu sync.RWMutex
	forbidden   []string // lower case
}

// New returns the service that c describes. It fails when PrimaryKey is empty or holds spaces, an id is not 32 hex digits, a
// consumer key is shorter than 8 bytes or is also the service's own, a status is neither 200 nor 204, Concurrency is above 200,
// or Storage is no connection string with an account key.
func New(c Config) (*Server, error) {
	if err := c.complete(); err != nil {
		return nil, fmt.Errorf("checking the emulator's configuration: %w", err)
	}
	s := &Server{
		config:     c,
		experiment: experiment{prefix: c.FeaturePrefix, hashing: FeatureHashing{Bits: 3, NumericTokens: c.NumericTokens}},
		jobs:       newJobs(c.Jobs),
		record:     newRecord(c.Record),
	}
	for _, key := range []string{c.PrimaryKey, c.SecondaryKey} {
		if key != "" {
			s.keys = append(s.keys, sha256.Sum256([]byte(key)))
		}
	}
	if c.Concurrency > 0 {
		s.slots = make(chan struct{}, c.Concurrency)
	}
	if c.Storage != "" {
		a, err := parseConnectionString(c.Storage)
		if err != nil {
			return nil, fmt.Errorf("reading the emulator's storage connection string: %w", err)
		}
		if _, _, ok := splitLocation(c.StorageContainer + "/x"); !ok {
			return nil, errors.New("reading the emulator's storage: the container's name is missing or not valid")
		}
		s.storage = a
	}
	for _, key := range c.ConsumerKeys {
		if err := s.ForbidKey(key); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// complete fills in the defaults and checks the rest.
func (c *Config) complete() error {
	for name, id := range map[string]*string{"workspace": &c.Workspace, "service": &c.Service, "subscription": &c.Subscription} {
		if *id == "" {
			*id = map[string]string{"workspace": DefaultWorkspace, "service": DefaultService, "subscription": DefaultSubscription}[name]
		}
		if !isID(*id) {
			return fmt.Errorf("the %s id must be 32 hex digits", name)
		}
	}
	if c.PrimaryKey == "" {
		return errors.New("the primary key is empty")
	}
	if strings.ContainsAny(c.PrimaryKey+c.SecondaryKey, " \t\r\n") {
		return errors.New("a service key contains white space")
	}
	for _, status := range []*int{&c.StartStatus, &c.DeleteStatus} {
		if *status == 0 {
			*status = http.StatusOK
		}
		if *status != http.StatusOK && *status != http.StatusNoContent {
			return fmt.Errorf("a start or delete answers 200 or 204, not %d", *status)
		}
	}
	if c.Concurrency > 200 {
		return errors.New("an endpoint has at most 200 concurrent calls")
	}
	setDefault(&c.Concurrency, 20)
	setDefault(&c.Jobs, 40)
	setDefault(&c.Record, 100)
	setDefault(&c.MaxBodyBytes, 16<<20)
	setDefault(&c.MaxBlobBytes, 64<<20)
	setDefault(&c.ResultLifetime, 24*time.Hour)
	setDefault(&c.FeaturePrefix, inputColumn+"_HashingFeature.")
	if c.UnknownJob == nil {
		c.UnknownJob = &Detail{Code: "JobNotFound", Message: "Job not found. Verify the job Id is correct and try again."}
	}
	return nil
}

func setDefault[T comparable](value *T, otherwise T) {
	var zero T
	if *value == zero {
		*value = otherwise
	}
}

// ForbidKey adds a consumer's key that must not reach the service from now on. It fails as New does.
func (s *Server) ForbidKey(key string) error {
	if len(key) < minForbiddenKey {
		return fmt.Errorf("forbidding a consumer key: it is shorter than %d bytes", minForbiddenKey)
	}
	if key == s.config.PrimaryKey || key == s.config.SecondaryKey {
		return errors.New("forbidding a consumer key: it is the service's own key")
	}
	s.forbiddenMu.Lock()
	defer s.forbiddenMu.Unlock()
	s.forbidden = append(s.forbidden, strings.ToLower(key))
	return nil
}

// Close cancels the jobs that run and waits for them. Requests that come later still get answers, but start no job.
func (s *Server) Close() error {
	s.jobs.close()
	return nil
}

// newID is a random id of 32 hex digits, the form of every AzureML id.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return fmt.Sprintf("%x", b)
}

// isID reports whether s is 32 hex digits, no dashes.
func isID(s string) bool {
	if len(s) != 32 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}
