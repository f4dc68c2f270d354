package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of CPU times in /proc: Linux shows them to programs in hundredths, whatever the kernel counts in.
const clockTick = 10 * time.Millisecond

// benchUsage is what processes have used so far.
type benchUsage struct {
	cpu  time.Duration // user and system
	rss  int64         // bytes resident now
	peak int64         // bytes resident at most
}

// usageOf adds up the usage of processes, as far as they still are there.
func usageOf(pids ...int) benchUsage {
	var sum benchUsage
	for _, pid := range pids {
		sum.cpu += cpuOf(readProc(pid, "stat"))
		status := readProc(pid, "status")
		sum.rss += memoryOf(status, "VmRSS")
		sum.peak += memoryOf(status, "VmHWM")
	}
	return sum
}

func readProc(pid int, file string) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return "" // it has ended
	}
	return string(b)
}

// cpuOf reads /proc/<pid>/stat: the name in brackets may hold anything, so fields count from the last bracket.
func cpuOf(stat string) time.Duration {
	_, rest, ok := strings.Cut(stat[strings.LastIndexByte(stat, ')')+1:], " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0
	}
	const utime, stime = 11, 12 // behind the name
	return ticks(fields[utime]) + ticks(fields[stime])
}

func ticks(text string) time.Duration {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(n) * clockTick
}

// memoryOf reads a line of /proc/<pid>/status, which is in kB.
func memoryOf(status, name string) int64 {
	for line := range strings.Lines(status) {
		value, ok := strings.CutPrefix(line, name+":")
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return 0
		}
		return n << 10
	}
	return 0
}

// machineTimes are the CPU times of all processes of the machine, what the hypervisor took from us included, and what
// nobody wanted.
func machineTimes() (busy, idle time.Duration) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	return timesOf(b)
}

// timesOf reads the first line of /proc/stat: user nice system idle iowait irq softirq steal, then guests, which user has.
func timesOf(stat []byte) (busy, idle time.Duration) {
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	fields := strings.Fields(string(line))
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, 0
	}
	for i, f := range fields[1:9] {
		if i == 3 || i == 4 { // idle, iowait
			idle += ticks(f)
		} else {
			busy += ticks(f)
		}
	}
	return busy, idle
}
