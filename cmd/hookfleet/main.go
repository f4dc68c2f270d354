// Command hookfleet runs a fleet and talks to a running one.
//
// This file is the table of contents: one line for each subcommand, each in the file of its name. The command is the
// only place where the packages are wired together (serve.go). It promises exit codes that a script can rely on and, on
// SIGINT and SIGTERM, an orderly end. The client commands use the public API and nothing else.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	_ "time/tzdata" // schedules name time zones, and the machine or image may have none

	"github.com/spf13/cobra"
)

// The exit codes.
const (
	exitOK          = 0
	exitFailed      = 1   // what was asked for did not happen, or only in part
	exitUsage       = 2   // the command line or the configuration is wrong; nothing was tried
	exitInterrupted = 130 // ended by a signal before it was through
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks for an orderly end; a second Ctrl-C does not wait for it.
	context.AfterFunc(ctx, func() { signal.Reset(os.Interrupt) })
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run executes one command line and gives its exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	started := false // cobra's own errors are about the command line, and all come before a command runs
	onRun(root, func() { started = true })
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(stderr, "hookfleet:", strings.ReplaceAll(err.Error(), "\n", "\n  "))
	_, usage := errors.AsType[*usageError](err)
	switch {
	case !started || usage:
		return exitUsage
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return exitInterrupted
	default:
		return exitFailed
	}
}

// newRoot is the whole command line.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "hookfleet",
		Short:         "Deliver events to webhooks, at least once, and see what became of them",
		SilenceErrors: true, // run prints them
		SilenceUsage:  true,
	}
	root.AddCommand(
		newServe(),        // the fleet, or a part of it
		newPublish(),      // events into it
		newSubscription(), // who gets what, and how
		newSource(),       // statuses that are asked for
		newDelivery(),     // what became of it
		newDeadLetter(),   // what was given up
		newStatus(),       // how a subject stands
		newReplay(),       // and once more
		newKey(),          // who may call
		newEgress(),       // where it sends from
		newListen(),       // a receiver to try it with
		newDemo(),         // a partner system on the spot
		newHealth(),       // is it up, for health checks
		newBench(),        // how fast it is on this machine
		newBenchSink(),    // its other half
		newVersion(),
	)
	return root
}

// onRun calls f before any command runs.
func onRun(cmd *cobra.Command, f func()) {
	if inner := cmd.RunE; inner != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			f()
			return inner(cmd, args)
		}
	}
	for _, c := range cmd.Commands() {
		onRun(c, f)
	}
}

// group is a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	g.AddCommand(commands...)
	return g
}

// usageError marks an error of the command line that was found by a command itself.
type usageError struct{ err error }

// Error is that of what is wrapped.
func (e *usageError) Error() string { return e.err.Error() }

// Unwrap gives the error itself.
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }
