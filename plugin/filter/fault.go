//go:build tollgate_faults

package filter

import "github.com/tollgate/tollgate/internal/gate"

// provoke lets a test bring the filter down: "x-fault: panic" as a mistake in our code
// would, "x-fault: throw" as the runtime does when it gives up, which nothing recovers.
func provoke(head *gate.Head) {
	for _, header := range head.Headers {
		if header[0] != "x-fault" {
			continue
		}
		switch header[1] {
		case "panic":
			panic("provoked")
		case "throw":
			<-make(chan struct{}) // all goroutines are asleep: fatal
		}
	}
}
