package emulator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
)

// sasVersion is the storage service version that a result's SAS asks for; any account of today and Azurite know it.
const sasVersion = "2022-11-02"

// What this service reads and writes; .ilearner is for models, and this one has a data set.
var (
	inputExtensions  = []string{".csv", ".tsv"}
	outputExtensions = []string{".csv", ".tsv", ".arff"}
)

// containerName follows "Naming and referencing containers, blobs, and metadata" of the storage documentation.
var containerName = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9]){2,62}$`)

// account is a storage account with its key.
type account struct {
	base       string // service URL with a trailing slash
	credential *azblob.SharedKeyCredential
}

// location is a blob for whoever has no key: base + relative + token is a URL.
type location struct{ base, relative, token string }

// blobRef is a blob that a job reads or writes.
type blobRef struct {
	container, name string
	client          *blockblob.Client
	base            string
	credential      *azblob.SharedKeyCredential // nil: by SAS
	token           string                      // with the question mark; empty: by credential
}

// parseConnectionString takes AccountName and AccountKey, and either BlobEndpoint or DefaultEndpointsProtocol and EndpointSuffix.
// Its errors repeat nothing of it.
func parseConnectionString(text string) (*account, error) {
	fields := map[string]string{}
	for part := range strings.SplitSeq(strings.TrimRight(text, ";"), ";") {
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			return nil, errors.New("a part has no value")
		}
		fields[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	name, key := fields["AccountName"], fields["AccountKey"]
	if name == "" || key == "" {
		return nil, errors.New("AccountName or AccountKey is missing")
	}
	base := fields["BlobEndpoint"]
	if base == "" {
		setDefault(&base, "https")
		if p := fields["DefaultEndpointsProtocol"]; p != "" {
			base = p
		}
		suffix := fields["EndpointSuffix"]
		setDefault(&suffix, "core.windows.net")
		base += "://" + name + ".blob." + suffix
	}
	base, ok := serviceURL(base)
	if !ok {
		return nil, errors.New("the blob endpoint is not an http or https URL")
	}
	credential, err := azblob.NewSharedKeyCredential(name, key)
	if err != nil {
		return nil, errors.New("AccountKey is not base64")
	}
	return &account{base: base, credential: credential}, nil
}

// serviceURL checks a blob service's URL and gives it a trailing slash.
func serviceURL(text string) (string, bool) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", false
	}
	return strings.TrimRight(text, "/") + "/", true
}

// splitLocation cuts a RelativeLocation, with or without its leading slash, into container and blob.
func splitLocation(relative string) (container, name string, ok bool) {
	container, name, _ = strings.Cut(strings.TrimPrefix(relative, "/"), "/")
	plain := name != "" && path.Clean("/"+name) == "/"+name && !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == '\\' || r == '?' || r == '#' })
	return container, name, plain && containerName.MatchString(container)
}

// parseBlob reads one of the two forms of a blob reference, for the input or output called port.
func parseBlob(port string, value json.RawMessage, extensions []string) (*blobRef, *Error) {
	var fields map[string]*string
	if json.Unmarshal(value, &fields) != nil {
		return nil, NewError("RequestBodyInvalid")
	}
	field := func(name string) string {
		if v := fields[name]; v != nil {
			return *v
		}
		return ""
	}
	connection, base, token := field("ConnectionString"), field("BaseLocation"), field("SasBlobToken")
	for name := range fields {
		if !slices.Contains([]string{"ConnectionString", "RelativeLocation", "BaseLocation", "SasBlobToken"}, name) {
			return nil, NewError("UnexpectedParameter")
		}
	}
	container, name, ok := splitLocation(field("RelativeLocation"))
	if !ok || (connection != "") == (base != "" || token != "") {
		return nil, NewError("InvalidBlob", port)
	}
	var ref *blobRef
	if connection != "" {
		a, err := parseConnectionString(connection)
		if err != nil {
			return nil, NewError("InvalidBlobConnectionString", port)
		}
		var e *Error
		if ref, e = a.blob(port, container, name); e != nil {
			return nil, e
		}
	} else {
		service, ok := serviceURL(base)
		if !ok || !validToken(token) {
			return nil, NewError("InvalidBlob", port)
		}
		ref = &blobRef{container: container, name: name, base: service, token: "?" + strings.TrimPrefix(token, "?")}
		client, err := blockblob.NewClientWithNoCredential(ref.url()+ref.token, clientOptions())
		if err != nil {
			return nil, NewError("InvalidBlob", port)
		}
		ref.client = client
	}
	if !slices.Contains(extensions, ref.extension()) {
		return nil, NewError("InvalidBlobExtension", port, strings.Join(extensions, ", "))
	}
	return ref, nil
}

// validToken reports whether a SAS token is a query with a signature.
func validToken(token string) bool {
	query, err := url.ParseQuery(strings.TrimPrefix(token, "?"))
	return err == nil && query.Get("sig") != "" && !strings.Contains(token, "#")
}

// blob refers to a blob of the account.
func (a *account) blob(port, container, name string) (*blobRef, *Error) {
	ref := &blobRef{container: container, name: name, base: a.base, credential: a.credential}
	client, err := blockblob.NewClientWithSharedKeyCredential(ref.url(), a.credential, clientOptions())
	if err != nil {
		return nil, NewError("InvalidBlob", port)
	}
	ref.client = client
	return ref, nil
}

// clientOptions turns the SDK's retries off: a job that fails should fail while its client still waits.
func clientOptions() *blockblob.ClientOptions {
	return &blockblob.ClientOptions{ClientOptions: azcore.ClientOptions{Retry: policy.RetryOptions{MaxRetries: -1}}}
}

func (b *blobRef) url() string { return b.base + b.relative() }

// relative is the escaped path below the service, without a leading slash: base ends in one.
func (b *blobRef) relative() string {
	return (&url.URL{Path: b.container + "/" + b.name}).EscapedPath()
}

func (b *blobRef) extension() string { return strings.ToLower(path.Ext(b.name)) }

func (b *blobRef) exists(ctx context.Context) error {
	_, err := b.client.GetProperties(ctx, nil)
	return err
}

// read returns the blob's bytes; more than limit is an error.
func (b *blobRef) read(ctx context.Context, limit int64) ([]byte, error) {
	got, err := b.client.DownloadStream(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("opening a blob: %w", err)
	}
	defer got.Body.Close()
	data, err := io.ReadAll(io.LimitReader(got.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading a blob: %w", err)
	}
	if int64(len(data)) > limit {
		return nil, errTooLarge
	}
	return data, nil
}

func (b *blobRef) write(ctx context.Context, data []byte) error {
	_, err := b.client.Upload(ctx, streaming.NopCloser(bytes.NewReader(data)), nil)
	return err
}

// result is where a client fetches the blob until expiry, with a read-only SAS. A job whose output was given by SAS gets that SAS
// back: without the account's key there is no other.
func (b *blobRef) result(expiry time.Time) (*location, error) {
	if b.credential == nil {
		return &location{b.base, b.relative(), b.token}, nil
	}
	signed, err := sas.BlobSignatureValues{
		Version: sasVersion, ExpiryTime: expiry.UTC(), Permissions: (&sas.BlobPermissions{Read: true}).String(),
		ContainerName: b.container, BlobName: b.name,
	}.SignWithSharedKey(b.credential)
	if err != nil {
		return nil, fmt.Errorf("signing a result: %w", err)
	}
	return &location{b.base, b.relative(), "?" + signed.Encode()}, nil
}

var errTooLarge = errors.New("blob too large")

// storageCode is what may be said about a storage error: the account's own error code. The SDK's text has URLs with signatures.
func storageCode(err error) string {
	if r, ok := errors.AsType[*azcore.ResponseError](err); ok && r.ErrorCode != "" {
		return r.ErrorCode
	}
	if errors.Is(err, errTooLarge) {
		return "RequestBodyTooLarge"
	}
	return "the storage account did not answer"
}
