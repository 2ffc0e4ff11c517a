package process

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
)

// Port returns port if nothing listens on it at address, and a free one for 0, each only
// once: two Envoys would share a port, and each get some of its connections, without an
// error. Between this and the use of the port another program may take it.
func Port(address string, port int) (int, error) {
	for {
		free, err := tryPort(address, port)
		if err != nil {
			return 0, fmt.Errorf("trying port %d: %w", port, err)
		}
		if _, given := givenPorts.LoadOrStore(free, true); port != 0 || !given {
			return free, nil
		}
	}
}

var givenPorts sync.Map

func tryPort(address string, port int) (int, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(port)))
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// LastLine is the last line of a log that says something, shortened to one that fits a
// message; empty when there is none.
func LastLine(file string) string {
	const most = 300 // bytes
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	last := strings.TrimSpace(lines[len(lines)-1])
	if len(last) > most {
		last = last[:most] + "..."
	}
	return last
}
