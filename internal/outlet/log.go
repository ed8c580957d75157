package outlet

import (
	"context"
	"log/slog"
)

// Handler is a [slog.Handler] whose Handle never blocks: it hands the records to
// another handler by an outlet. It calls the other's Enabled directly.
type Handler struct {
	slog.Handler
	out *Outlet[entry] // shared with all handlers made from this one
}

// entry is a record on its way to a handler.
type entry struct {
	ctx    context.Context
	to     slog.Handler
	record slog.Record
}

// NewHandler returns a handler that hands records to h. It calls lost for each
// one that h was too slow for.
func NewHandler(h slog.Handler, lost func()) *Handler {
	return &Handler{h, New(func(e entry) { _ = e.to.Handle(e.ctx, e.record) }, lost)}
}

// Handle hands a record over.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	h.out.Put(entry{context.WithoutCancel(ctx), h.Handler, r.Clone()}, len(r.Message))
	return nil
}

// WithAttrs returns a handler that shares the outlet.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Handler{h.Handler.WithAttrs(attrs), h.out}
}

// WithGroup returns a handler that shares the outlet.
func (h *Handler) WithGroup(name string) slog.Handler {
	return &Handler{h.Handler.WithGroup(name), h.out}
}

// Flush waits like that of [Outlet].
func (h *Handler) Flush(until <-chan struct{}) { h.out.Flush(until) }

// Close ends it like that of [Outlet].
func (h *Handler) Close() { h.out.Close() }
