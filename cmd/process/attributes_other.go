//go:build unix && !linux

package process

import "syscall"

// attributes lacks what Linux has: a child outlives us when we are killed outright.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
