package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
)

var errNotMeasured = errors.New("memory is read from /proc, which is not there")

// residentMemory is what a process has in memory now, and the most that it ever had.
func residentMemory(pid int) (now, peak int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("%w: %w", errNotMeasured, err)
	}
	field := func(name string) int64 {
		match := regexp.MustCompile(`(?m)^` + name + `:\s+(\d+) kB$`).FindSubmatch(text)
		if match == nil {
			return 0
		}
		n, _ := strconv.ParseInt(string(match[1]), 10, 64) // digits
		return n << 10
	}
	return field("VmRSS"), field("VmHWM"), nil
}

// linearReserve is the address space that V8 takes for each module's memory, so that nothing
// that 32 bits can name lies beyond it: what is used of it, and then guard pages.
const linearReserve = 8 << 30

// linearMemories are the sizes of the modules' memories in a process: what they may write
// to, whether they do or not.
func linearMemories(pid int) ([]int64, error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotMeasured, err)
	}
	defer file.Close()
	var sizes []int64
	var start, end int64 // of the mapping before, where it can be written to
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		from, to, _ := strings.Cut(fields[0], "-")
		first, _ := strconv.ParseInt(from, 16, 64)
		last, _ := strconv.ParseInt(to, 16, 64)
		if fields[1] == "---p" && first == end && last-start == linearReserve {
			sizes = append(sizes, end-start)
		}
		start, end = 0, 0
		if fields[1] == "rw-p" {
			start, end = first, last
		}
	}
	if len(sizes) == 0 {
		return nil, errors.New("no module's memory was found in Envoy: does V8 reserve another size by now?")
	}
	return sizes, nil
}
