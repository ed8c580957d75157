package monitor

import (
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/go-grasp/grasp/internal/hosttoken"
)

// isAskedHere reports whether a request came to the address and port that it names.
// Otherwise a host that was sent a token derived for it could use it at another host, in a
// request that names itself. A name that is not localhost is one of Config.Hosts, and may
// be served at the address of a proxy.
func isAskedHere(r *http.Request) bool {
	host, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		host, port = strings.Trim(r.Host, "[]"), "80"
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	addr, err := netip.ParseAddr(host)
	if err != nil && host != "localhost" {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok || strconv.Itoa(local.Port) != port {
		return false
	}
	at := local.AddrPort().Addr().Unmap().WithZone("")
	return addr.Unmap().WithZone("") == at || host == "localhost" && at.IsLoopback()
}

// guarded has a handler serve only who has a token. A browser that comes with it in the
// URL gets a cookie, and the URL without it.
func (m *Monitor) guarded(token string, next http.Handler) http.Handler {
	cookie := "grasp-monitor-" + m.run[:8] // monitors on other ports of the host have others
	accepts := func(r *http.Request, given string) bool {
		same := func(want string) bool { return subtle.ConstantTimeCompare([]byte(given), []byte(want)) == 1 }
		return same(token) || isAskedHere(r) && same(hosttoken.Derive(token, r.Host))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		query := r.URL.Query().Get("token")
		c, err := r.Cookie(cookie)
		switch {
		case bearer && accepts(r, given), err == nil && accepts(r, c.Value):
		case query != "" && accepts(r, query):
			if strings.HasSuffix(r.URL.Path, "/") || r.URL.Path == "" {
				http.SetCookie(w, &http.Cookie{Name: cookie, Value: query, HttpOnly: true, SameSite: http.SameSiteStrictMode})
				w.Header().Set("Location", "./")
				w.WriteHeader(http.StatusSeeOther)
				return
			}
		default:
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "this monitor is for those who have its token: open the URL that the program printed, or send the token as a bearer token", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// behind returns a handler that serves this monitor to who has a token.
func (m *Monitor) behind(token string) http.Handler {
	next := m.guarded(token, m.handler)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.serve(w, r, next) })
}

// withToken adds a token to the URL of a page.
func withToken(page, token string) string { return page + "?token=" + url.QueryEscape(token) }
