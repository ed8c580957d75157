package grasp

import (
	"context"
	"log/slog"

	"golang.org/x/time/rate"
)

// newLogLimiter returns what bounds lines of a log: so many in a second, and
// as many at once.
func newLogLimiter(perSecond int) *rate.Limiter {
	return rate.NewLimiter(rate.Limit(perSecond), perSecond)
}

// limitedHandler is a log of which the lines in a second are bounded: no peer
// can fill a disk.
type limitedHandler struct {
	slog.Handler
	limiter *rate.Limiter // shared by all that were made of it
	refused func()        // called for a line that is beyond
}

func newLimitedHandler(h slog.Handler, perSecond int, refused func()) slog.Handler {
	return &limitedHandler{h, newLogLimiter(perSecond), refused}
}

// Handle passes a line on, or not.
func (h *limitedHandler) Handle(ctx context.Context, r slog.Record) error {
	if !h.limiter.Allow() {
		h.refused()
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs and WithGroup return handlers that share the limit.
func (h *limitedHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &limitedHandler{h.Handler.WithAttrs(attrs), h.limiter, h.refused}
}

// WithGroup: see WithAttrs.
func (h *limitedHandler) WithGroup(name string) slog.Handler {
	return &limitedHandler{h.Handler.WithGroup(name), h.limiter, h.refused}
}
