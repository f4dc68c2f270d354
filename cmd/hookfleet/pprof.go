package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"time"

	"github.com/spf13/pflag"
)

// registerProfiling adds the hidden flag that asks for profiles. It is no setting: profiles are for hookfleet bench and
// for whoever looks into a process of their own, not for a fleet that is in use.
func registerProfiling(fs *pflag.FlagSet, listen *string) {
	const name = "pprof-listen"
	fs.StringVar(listen, name, "", "serve Go's profiles at this address of loopback")
	fs.Lookup(name).Hidden = true
}

// startProfiling serves Go's profiles, on loopback only: they show what lies in memory.
func (f *fleet) startProfiling(ctx context.Context) error {
	if f.pprofListen == "" {
		return nil
	}
	addr, err := netip.ParseAddrPort(f.pprofListen)
	if err != nil || !addr.Addr().IsLoopback() {
		return usagef("--pprof-listen: %q is no address and port of loopback", f.pprofListen)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", f.pprofListen)
	if err != nil {
		return fmt.Errorf("profiles: %w", err)
	}
	f.pprof = l.Addr()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	f.base.run("profiles", func(ctx context.Context) error {
		defer context.AfterFunc(ctx, func() { _ = server.Close() })() // its ends are seen by Serve
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return nil
}
