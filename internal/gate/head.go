package gate

import "strings"

// Head is a request's head as the host reads it once.
type Head struct {
	Method, Target, Host string
	// Scheme is x-forwarded-proto's, which Envoy sets itself; "http" where it is missing.
	Scheme            string
	RequestID, Accept string
	// Headers holds what is not a pseudo header, names in lower case, in order.
	Headers [][2]string
	// SourceAddress asks the host for the client's address, when a policy reads it.
	SourceAddress func() string
}

// ReadHead sorts a header map. Envoy gives names in lower case and refuses heads in
// which a pseudo header stands twice.
func ReadHead(pairs [][2]string, sourceAddress func() string) Head {
	h := Head{Scheme: "http", SourceAddress: sourceAddress}
	pseudo := 0
	for _, pair := range pairs {
		switch pair[0] {
		case ":method":
			h.Method = pair[1]
		case ":path":
			h.Target = pair[1]
		case ":scheme": // the client's word, under HTTP/2; see x-forwarded-proto
		case ":authority":
			h.Host = pair[1]
		case "x-forwarded-proto":
			if pair[1] == "https" || pair[1] == "http" {
				h.Scheme = pair[1]
			}
			continue
		case "x-request-id":
			h.RequestID = pair[1]
			continue
		case "accept":
			h.Accept = pair[1]
			continue
		default:
			continue
		}
		pseudo++
	}
	if pseudoFirst(pairs, pseudo) {
		h.Headers = pairs[pseudo:]
		return h
	}
	for _, pair := range pairs {
		if !strings.HasPrefix(pair[0], ":") {
			h.Headers = append(h.Headers, pair)
		}
	}
	return h
}

// pseudoFirst says whether exactly the first n headers are pseudo headers, as HTTP/2
// demands and Envoy does; then no copy is needed.
func pseudoFirst(pairs [][2]string, n int) bool {
	for i := range pairs {
		if strings.HasPrefix(pairs[i][0], ":") != (i < n) {
			return false
		}
	}
	return true
}

// values are those of the header name, in order.
func (h *Head) values(name string) []string {
	var values []string
	for i := range h.Headers {
		if h.Headers[i][0] == name {
			values = append(values, h.Headers[i][1])
		}
	}
	return values
}
