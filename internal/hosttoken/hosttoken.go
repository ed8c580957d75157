// Package hosttoken derives from a token that many hosts share what is sent to one of them
// instead of it.
package hosttoken

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"strings"
)

// zone is that of a link-local address, which requests do not have.
var zone = regexp.MustCompile(`%[^\]:]*`)

// Derive returns what is sent to a host, perhaps with a port, as a URL has them, instead of
// the token. A host that accepts only what is derived for itself learns nothing from it
// that is of use elsewhere.
func Derive(token, host string) string {
	mac := hmac.New(sha256.New, []byte(token))
	mac.Write([]byte("grasp monitor " + strings.ToLower(zone.ReplaceAllString(host, ""))))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
