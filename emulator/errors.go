package emulator

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// Error is an answer in AzureML's error envelope.
type Error struct {
	Status  int      // HTTP status
	Code    string   // class, like BadArgument
	Message string   // the class's message
	Details []Detail // what happened; may be empty
}

// Detail is one entry of an envelope's details.
type Detail struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Error makes an *Error an error: class and detail codes, no request data.
func (e *Error) Error() string {
	text := strconv.Itoa(e.Status) + " " + e.Code
	for _, d := range e.Details {
		text += " (" + d.Code + ")"
	}
	return text
}

// classes are the envelope's codes: status and message, from azure-docs "web-service-error-codes". The last three are not there:
// they are what HTTP itself needs, and the emulator's own.
var classes = map[string]struct {
	status  int
	message string
}{
	"BadArgument":            {400, "Invalid argument provided."},
	"BadUserArgument":        {400, "Invalid user argument provided."},
	"InvalidOperation":       {400, "The request is invalid in the current context."},
	"LibraryExecutionError":  {400, "Module execution encountered an internal library error."},
	"ModuleExecutionError":   {400, "Module execution encountered an error."},
	"Unauthorized":           {401, "Request is unauthorized to access resource."},
	"NotFound":               {404, "Resource not found."},
	"RequestTimeout":         {408, "The operation could not be completed within the permitted time."},
	"Conflict":               {409, "Resource already exists."},
	"MemoryQuotaViolation":   {413, "The model had exceeded the memory quota assigned to it."},
	"InternalError":          {500, "Execution encountered an internal error."},
	"InitializingContainers": {503, "The request cannot execute as the containers are being initialized."},
	"ServiceUnavailable":     {503, "Service is temporarily unavailable."},
	"GatewayTimeout":         {504, "The operation could not be completed within the permitted time."},
	"MethodNotAllowed":       {405, "The requested resource does not support this HTTP method."},
	"LengthRequired":         {411, "The request must have a Content-Length."},
	"RequestEntityTooLarge":  {413, "The request's body is too large."},
}

// details maps a detail code to its class and message; {0} and {1} are placeholders. Same source as classes.
var details = map[string]struct{ class, message string }{
	"RequestBodyInvalid":                 {"BadArgument", "No request body provided or error in deserializing the request body."},
	"BadVersionCall":                     {"BadArgument", "Invalid version parameter was passed during the API call: {0}. Check the API help page for passing the correct version and try again."},
	"MissingRequestInput":                {"BadArgument", "The web service expects an input, but no input was provided. Ensure valid inputs are provided based on the published input ports in the model and try again."},
	"InvalidInputNames":                  {"BadArgument", "Invalid service input name(s) specified in the request: {0}. Please map the input data to the correct service inputs and try again."},
	"InvalidQueryParameter":              {"BadArgument", "Invalid query parameter '{0}'. {1}"},
	"UnexpectedParameter":                {"BadArgument", "Unexpected parameters provided. Verify all parameter names are spelled correctly, only expected parameters are passed, and try again."},
	"MissingJobId":                       {"BadArgument", "No job Id provided. A job Id is returned when a job was submitted for the first time. Verify the job Id is correct and try again."},
	"BatchJobInputsNotSpecified":         {"BadArgument", "The following required input(s) were not specified with the request: {0}. Please ensure all input data is specified and try again."},
	"DuplicateInputInBatchCall":          {"BadArgument", "The batch request is invalid. Cannot specify both single and multiple input at the same time. Remove one of these items from the request and try again."},
	"InvalidBlob":                        {"BadArgument", "Invalid blob specification for blob: {0}. Verify that connection string / relative path or SAS token specification is correct and try again."},
	"BlobNotFound":                       {"BadArgument", "Unable to access the provided Azure blob - {0}. Azure error message: {1}."},
	"InvalidBlobConnectionString":        {"BadArgument", "The connection string specified for one of the input/output blobs in invalid: {0}. Please correct this and try again."},
	"InvalidBlobExtension":               {"BadArgument", "The blob reference: {0} has an invalid or missing file extension. Supported file extensions for this output type are: \"{1}\"."},
	"InvalidOutputOverrideName":          {"BadArgument", "Invalid output override name: {0}. The service does not have an output node with this name. Please pass in a correct output node name to override (case sensitivity applies)."},
	"MissingOutputOverrideSpecification": {"BadArgument", "The request is missing the blob specification for output override {0}. Please specify a valid blob location with the request, or remove the output specification if no location override is desired."},
	"WebServiceIdInvalid":                {"BadArgument", "Invalid web service id provided. Web service id should be a valid guid."},
	"InputMismatchError":                 {"BadUserArgument", "Input data does not match input port schema."},
	"InputParseError":                    {"BadUserArgument", "Parsing of input vector failed. Verify the input vector has the correct number of columns and data types. Additional details: {0}."},
	"CannotStartJob":                     {"InvalidOperation", "The job cannot be started because it is in {0} state."},
	"TableSchemaColumnCountMismatch":     {"ModuleExecutionError", "The table's column count does not match its schema."},
	"ScoreRequestUnauthorized":           {"Unauthorized", "Invalid credentials provided."},
	"WebServiceNotFound":                 {"NotFound", "Web service not found. Verify the web service Id is correct and try again."},
	"WorkspaceNotFound":                  {"NotFound", "Workspace not found. Verify the workspace Id is correct and try again."},
	"WebServiceIdNotFoundInWorkspace":    {"NotFound", "Web service under this workspace not found. There is a mismatch between the webServiceId and the workspaceId. Verify the web service provided is part of the workspace and try again."},
	"ScoreRequestTimeout":                {"RequestTimeout", "Execution request timed out."},
	"RequestCanceled":                    {"RequestTimeout", "Request was canceled by the client."},
	"ModelOutputMetadataMismatch":        {"Conflict", "Invalid output parameter name. Try using the metadata editor module to rename columns and try again."},
	"OutOfMemoryLimit":                   {"MemoryQuotaViolation", "The model consumed more memory than was appropriated for it. Maximum allowed memory for the model is {0} MB. Please check your model for issues."},
	"RequestThrottled":                   {"ServiceUnavailable", "Request was throttled for {0} endpoint. The maximum concurrency for the endpoint is {1}."},
	"NoMoreResources":                    {"ServiceUnavailable", "No resources available for request."},
	"TooManyConcurrentRequests":          {"ServiceUnavailable", "Too many concurrent requests sent."},
	"TooManyHostsBeingInitialized":       {"ServiceUnavailable", "Too many hosts being initialized at the same time. Consider throttling / retrying."},
	"BackendInitializationTimeout":       {"GatewayTimeout", "The web service initialization could not be completed within the permitted time."},
	"BackendScoreTimeout":                {"GatewayTimeout", "The web service request execution could not be completed within the permitted time."},
}

// NewError is the error of a detail code (RequestThrottled) or of a class without details (InternalError), with args for the
// message's {0}, {1}. An unknown code gives InternalError with the code as its detail.
func NewError(code string, args ...string) *Error {
	if c, ok := classes[code]; ok {
		return &Error{Status: c.status, Code: code, Message: c.message}
	}
	d, ok := details[code]
	if !ok {
		e := NewError("InternalError")
		e.Details = []Detail{{Code: code}}
		return e
	}
	e := NewError(d.class)
	e.Details = []Detail{{Code: code, Message: format(d.message, args)}}
	return e
}

// format replaces {0}, {1} in one pass, so that an argument's own braces stay as they are.
func format(message string, args []string) string {
	pairs := make([]string, 0, 2*len(args))
	for i, arg := range args {
		pairs = append(pairs, fmt.Sprintf("{%d}", i), arg)
	}
	return strings.NewReplacer(pairs...).Replace(message)
}

// response is the envelope: `details` is always there, `[]` when empty, since clients index into it.
func (e *Error) response() response {
	list := e.Details
	if list == nil {
		list = []Detail{}
	}
	return jsonResponse(e.Status, object{{"error", object{{"code", e.Code}, {"message", e.Message}, {"details", list}}}})
}

// leakError is the one error that AzureML does not have.
func leakError(what, place string) *Error {
	message := "The request still carries " + what + " in " + place + "."
	return &Error{
		Status: http.StatusInternalServerError, Code: LeakCode, Message: message,
		Details: []Detail{{Code: LeakCode, Message: message}},
	}
}
