package embedded

import (
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/rs/zerolog"
)

// What nats-server v2.15 logs when a stream takes no more writes until a restart. It says so nowhere else on a single
// server (its health check covers clusters only). TestFullDisk fails when the words change.
const (
	writeErrorText     = "critical write error"
	outOfResourcesText = "resources, will be DISABLED"
)

// serverLog hands the server's words on. Its notices are ours at debug level: who runs the fleet did not start a server.
type serverLog struct {
	log         zerolog.Logger
	writeFailed func()
	gaveUp      chan string // why the server cannot start, once: it says so nowhere else
	started     atomic.Bool
}

func newServerLog(log zerolog.Logger, writeFailed func()) *serverLog {
	return &serverLog{log: log, writeFailed: writeFailed, gaveUp: make(chan string, 1)}
}

// Noticef implements server.Logger.
func (l *serverLog) Noticef(format string, v ...any) { l.log.Debug().Msgf(format, v...) }

// Warnf implements server.Logger.
func (l *serverLog) Warnf(format string, v ...any) { l.log.Warn().Msgf(format, v...) }

// Fatalf implements server.Logger. The server does not end the process: Run returns what it says while it starts.
func (l *serverLog) Fatalf(format string, v ...any) {
	if !l.started.Load() {
		select {
		case l.gaveUp <- fmt.Sprintf(format, v...):
			return
		default:
		}
	}
	l.log.Error().Msgf(format, v...)
}

// Errorf implements server.Logger.
func (l *serverLog) Errorf(format string, v ...any) {
	if strings.Contains(format, writeErrorText) || strings.Contains(format, outOfResourcesText) {
		l.writeFailed()
	}
	l.log.Error().Msgf(format, v...)
}

// Debugf implements server.Logger.
func (l *serverLog) Debugf(format string, v ...any) { l.log.Trace().Msgf(format, v...) }

// Tracef implements server.Logger.
func (l *serverLog) Tracef(format string, v ...any) { l.log.Trace().Msgf(format, v...) }
