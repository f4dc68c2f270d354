package main

import (
	"os/exec"
	"syscall"
)

// dieWithParent makes the kernel kill a child when the bench dies: a fleet that nobody measures any more would only
// be in the way of the next one.
func dieWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
