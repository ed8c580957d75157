package pace

import (
	"context"
	"log/slog"

	"golang.org/x/time/rate"
)

// NewLineLimiter returns a limiter for the lines of a log: perSecond in a second, and
// as many at once.
func NewLineLimiter(perSecond int) *rate.Limiter {
	return rate.NewLimiter(rate.Limit(perSecond), perSecond)
}

// NewHandler returns a handler that passes perSecond lines in a second on to h, and
// calls refused for each further line, so that no peer can fill a disk.
func NewHandler(h slog.Handler, perSecond int, refused func()) slog.Handler {
	return &handler{h, NewLineLimiter(perSecond), refused}
}

type handler struct {
	slog.Handler
	limiter *rate.Limiter // shared with all handlers made from this one
	refused func()
}

// Handle passes a line on if the limit allows it.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	if !h.limiter.Allow() {
		h.refused()
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs returns a handler that shares the limit.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{h.Handler.WithAttrs(attrs), h.limiter, h.refused}
}

// WithGroup returns a handler that shares the limit.
func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{h.Handler.WithGroup(name), h.limiter, h.refused}
}
